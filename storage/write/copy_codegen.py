"""Generates the encoders of samples and events, one for each type.

They run for every sample of every cycle and for every event. Reading the fields by name and handing them
to one ``struct`` call takes less than half the time of the same over a list of fields, so the source is put
together from the declaration and compiled once. The only texts in it are field names: those of samples the
declaration has checked to be plain identifiers (:mod:`decahertz.sample`), those of events are our own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

from decahertz.sample import Sample
from storage.write.copy_format import PieceCache, check_finite, lay_out, microseconds

EventEncoder: TypeAlias = Callable[[Any, int, bytes], tuple[bytes, ...]]
"""(event, its sequence, what its batch begins with) → pieces of the row."""

_CACHED_LAYOUTS = 4_096
_FREQUENT_LAYOUTS = 8
_FREQUENT_ROWS = 100
_REWRITES = 32
_LOOP = """
def encode(rows, moment, {locals}):
    data = []
    total = 0.0
    apart = []
    for row in rows:
        {read}
        {branches}
        else:
            missing = ({missing})
            apart.append(missing)
            packed, part = layouts[missing]({values})
            total += part
        data += (keys[{key}], moment, packed, states[{state}])
    return data, total, apart
"""
_BRANCH = """if {condition}:
            packed = {pack}({arguments})
            total += {sum}
        """
_EVENT = """
def encode(row, sequence, origin, {locals}):
    v1 = row.time_ns
    v0 = microseconds(v1)
    v2 = sequence
    {read}
    if {some_missing}:
        packed, total = layouts[{missing}]({values})
    else:
        packed = pack({arguments})
        total = {sum}
    if not isfinite(total):
        check_finite(({values}))
    return (origin, packed, pieces[{repeated}], {direct})
"""
_ROW = "lambda {values}: (pack({arguments}), {sum})"


@dataclass(frozen=True, slots=True)
class Number:
    """A column of numbers."""

    name: str
    code: str
    """``q`` for ``bigint``, ``d`` for ``double precision``."""
    optional: bool


class _Layouts(dict[tuple[bool, ...], Callable[..., tuple[bytes, float]]]):
    """How to pack the numbers of a row, by which of the optional ones are missing."""

    def __init__(self, numbers: Sequence[Number]) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, missing: tuple[bool, ...]) -> Callable[..., tuple[bytes, float]]:
        scope, arguments, total = _packing(self._numbers, _present(self._numbers, missing))
        values = ", ".join(_values(self._numbers))
        source = _ROW.format(values=values, arguments=arguments, sum=total)
        layout: Callable[..., tuple[bytes, float]] = eval(source, scope)  # noqa: S307 - our own names only
        if len(self) >= _CACHED_LAYOUTS:
            self.clear()
        self[missing] = layout
        return layout


class SampleLoop:
    """The loop for samples with these fields.

    Which numbers are missing is often the same for many rows. Rows with nulls first go a way that suits all
    of them; when many rows of a batch have the same nulls, the loop is generated again with a branch for
    these. That takes about a millisecond and is done a limited number of times.
    """

    def __init__(
        self,
        key: Sequence[str],
        numbers: Sequence[Number],
        others: Sequence[str],
        keys: PieceCache,
        states: PieceCache,
    ) -> None:
        """``keys`` and ``states`` encode the key fields and the ``others``."""
        self._numbers = numbers
        self._scope, self._parts = _numbers_of(numbers)
        self._scope |= {"keys": keys, "states": states}
        self._parts |= {"key": _subscript(key), "state": _subscript(others)}
        self._parts["read"] = _reads(numbers) or "pass"
        self._frequent: list[tuple[bool, ...]] = []
        self._rewrites = 0
        self._encode = self._write()

    def __call__(self, samples: Sequence[Sample], moment: bytes) -> tuple[list[bytes], float]:
        """(samples, encoded time) → (pieces of the rows, sum of all floating-point numbers).

        The sum is not finite when a number is not, and hardly ever else: one look at it replaces one at each
        number. Raises one of :data:`storage.write.copy_format.ENCODING_ERRORS`, also for a value that
        is missing where it may not be.
        """
        data, total, apart = self._encode(samples, moment)
        if len(apart) > max(_FREQUENT_ROWS, len(samples) // 4) and self._rewrites < _REWRITES:
            self._rewrites += 1
            ((missing, _),) = Counter(apart).most_common(1)
            self._frequent = [missing, *self._frequent][:_FREQUENT_LAYOUTS]
            self._encode = self._write()
        return data, total

    def _write(
        self,
    ) -> Callable[[Sequence[Sample], bytes], tuple[list[bytes], float, list[tuple[bool, ...]]]]:
        scope, branches = dict(self._scope), []
        optional = [v for v, n in zip(_values(self._numbers), self._numbers, strict=True) if n.optional]
        for place, missing in enumerate(((False,) * len(optional), *self._frequent)):
            names, arguments, total = _packing(self._numbers, _present(self._numbers, missing))
            pack = f"pack{place}"
            scope |= names | {pack: names["pack"]}
            conditions = [f"{v} is None" for v, gone in zip(optional, missing, strict=True) if gone]
            conditions += [f"{v} is not None" for v, gone in zip(optional, missing, strict=True) if not gone]
            condition = " and ".join(conditions) or "True"
            branches.append(_BRANCH.format(condition=condition, pack=pack, arguments=arguments, sum=total))
        return _compiled(_LOOP, scope, self._parts | {"branches": "el".join(branches).rstrip()})  # type: ignore[no-any-return]


def compile_event(
    numbers: Sequence[str],
    codes: str,
    repeated: Sequence[str],
    pieces: PieceCache,
    direct: Sequence[tuple[str, Callable[[Any], bytes]]],
) -> EventEncoder:
    """The encoder of events with these fields.

    First come the time, the time in nanoseconds and the sequence, then ``numbers``, of which ``codes`` has a
    letter for each, then the fields that ``pieces`` encodes, then the ``direct`` ones with their encoders.
    The encoder raises one of :data:`storage.write.copy_format.ENCODING_ERRORS`.
    """
    fields = [Number(name, code, optional=True) for name, code in zip(numbers, codes, strict=True)]
    always = [Number(name, "q", optional=False) for name in ("time", "time_ns", "sequence")]
    scope, parts = _numbers_of([*always, *fields])
    encoders = {f"encode{place}": encode for place, (_, encode) in enumerate(direct)}
    scope |= {"pieces": pieces, "microseconds": microseconds, "isfinite": math.isfinite}
    scope |= {"check_finite": check_finite, **encoders}
    parts |= {
        "read": _reads(fields, len(always)) or "pass",
        "repeated": _subscript(repeated),
        "direct": ", ".join(f"encode{place}(row.{name})" for place, (name, _) in enumerate(direct)),
    }
    encoder: EventEncoder = _compiled(_EVENT, scope, parts)
    return encoder


def _numbers_of(numbers: Sequence[Number]) -> tuple[dict[str, Any], dict[str, str]]:
    """Names and parts that both sources share."""
    values = _values(numbers)
    missing = [f"{v} is None" for v, number in zip(values, numbers, strict=True) if number.optional]
    scope, arguments, total = _packing(numbers, [True] * len(numbers))
    parts = {
        "some_missing": " or ".join(missing) or "False",
        "missing": "".join(f"{one}, " for one in missing) or "()",
        "values": ", ".join(values),
        "arguments": arguments,
        "sum": total,
    }
    return scope | {"layouts": _Layouts(numbers)}, parts


def _reads(numbers: Sequence[Number], first: int = 0) -> str:
    return "; ".join(f"v{place} = row.{number.name}" for place, number in enumerate(numbers, first))


def _compiled(template: str, scope: dict[str, Any], parts: dict[str, str]) -> Any:  # noqa: ANN401 - its own type
    names = ", ".join(f"{name}={name}" for name in scope)  # as locals they are found quicker
    source = template.format(locals=names, **parts)
    exec(compile(source, __file__, "exec"), scope)  # noqa: S102 - only checked identifiers are in it
    return scope["encode"]


def _values(numbers: Sequence[Number]) -> list[str]:
    return [f"v{position}" for position in range(len(numbers))]


def _present(numbers: Sequence[Number], missing: Sequence[bool]) -> list[bool]:
    """Which numbers are there; ``missing`` is about the optional ones."""
    gone = iter(missing)
    return [not (number.optional and next(gone)) for number in numbers]


def _packing(numbers: Sequence[Number], present: Sequence[bool]) -> tuple[dict[str, Any], str, str]:
    """Names for the source, the arguments of ``pack`` and the sum of the numbers that may be not finite."""
    there = [(v, n) for v, n, is_there in zip(_values(numbers), numbers, present, strict=True) if is_there]
    packer, constants = lay_out("".join(number.code for number in numbers), present)
    scope: dict[str, Any] = {"pack": packer.pack}
    arguments: list[str] = []
    for constant, value in zip_longest(constants, (v for v, _ in there)):
        name = f"c{constant.hex()}"
        scope[name] = constant
        arguments += [name] if value is None else [name, value]
    # A bigint of a NaN is refused by pack.
    return scope, ", ".join(arguments), " + ".join(v for v, number in there if number.code == "d") or "0.0"


def _subscript(names: Sequence[str]) -> str:
    return ", ".join(f"row.{name}" for name in names) or "()"
