"""Generates the encoders of samples and events, one for each type.

They run for every sample of every cycle and for every event. Generated source that reads the fields by name
and passes them to one ``struct`` call takes less than half the time of a loop over the fields, so it is
compiled once from the declaration. The source contains no texts but field names, which are plain identifiers:
:mod:`decahertz.sample` checks those of samples, those of events are our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

from decahertz.sample import Sample
from storage.write.copy_format import PieceCache, check_finite, lay_out, microseconds

EventEncoder: TypeAlias = Callable[[Any, int, int, bytes], tuple[bytes, ...]]
"""(event, its sequence, its event number, first piece of its batch) → pieces of the row."""

SampleEncoder: TypeAlias = Callable[[Sequence[Sample], bytes], tuple[list[bytes], float]]
"""(samples, their encoded time) → pieces of the rows, and the sum of all floating-point numbers.

The sum is not finite when a number is not, and hardly ever otherwise: one check of it replaces one of each
number.
"""

_CACHED_LAYOUTS = 4_096
_SAMPLES = """
def encode(rows, time, {locals}):
    data = []
    total = 0.0
    for row in rows:
        {read}
        if {some_missing}:
            packed, part = layouts[{missing}]({values})
        else:
            packed = pack({arguments})
            part = {sum}
        total += part
        data += (keys[{key}], time, packed, states[{state}])
    return data, total
"""
_EVENT = """
def encode(row, sequence, number, origin, {locals}):
    v1 = row.time_ns
    v0 = microseconds(v1)
    v2 = sequence
    v3 = number
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
    """Functions that pack the numbers of a row, by which of the optional ones are missing."""

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


def compile_samples(
    key: Sequence[str],
    numbers: Sequence[Number],
    others: Sequence[str],
    keys: PieceCache,
    states: PieceCache,
) -> SampleEncoder:
    """The encoder of samples with these fields: ``keys`` encodes the key fields, ``states`` the ``others``.

    It raises one of :data:`storage.write.copy_format.ENCODING_ERRORS`, also for a required value that is
    missing.
    """
    scope, parts = _numbers_of(numbers)
    parts |= {"read": _reads(numbers) or "pass", "key": _subscript(key), "state": _subscript(others)}
    encoder: SampleEncoder = _compiled(_SAMPLES, scope | {"keys": keys, "states": states}, parts)
    return encoder


def compile_event(
    numbers: Sequence[str],
    codes: str,
    repeated: Sequence[str],
    pieces: PieceCache,
    direct: Sequence[tuple[str, Callable[[Any], bytes]]],
) -> EventEncoder:
    """The encoder of events with these fields.

    First come the time, the time in nanoseconds, the sequence and the event number, then ``numbers``, of
    which ``codes`` has a letter for each, then the fields that ``pieces`` encodes, then the ``direct`` ones
    with their encoders. The encoder raises one of :data:`storage.write.copy_format.ENCODING_ERRORS`.
    """
    fields = [Number(name, code, optional=True) for name, code in zip(numbers, codes, strict=True)]
    always = [Number(name, "q", optional=False) for name in ("time", "time_ns", "sequence", "event_number")]
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
    names = ", ".join(f"{name}={name}" for name in scope)  # locals are faster than globals
    source = template.format(locals=names, **parts)
    exec(compile(source, __file__, "exec"), scope)  # noqa: S102 - only checked identifiers are in it
    return scope["encode"]


def _values(numbers: Sequence[Number]) -> list[str]:
    return [f"v{position}" for position in range(len(numbers))]


def _present(numbers: Sequence[Number], missing: Sequence[bool]) -> list[bool]:
    """Which numbers are present; ``missing`` has a flag for each optional one."""
    gone = iter(missing)
    return [not (number.optional and next(gone)) for number in numbers]


def _packing(numbers: Sequence[Number], present: Sequence[bool]) -> tuple[dict[str, Any], str, str]:
    """Names for the source, the arguments of ``pack``, and the sum of the floating-point numbers."""
    there = [(v, n) for v, n, is_there in zip(_values(numbers), numbers, present, strict=True) if is_there]
    packer, constants = lay_out("".join(number.code for number in numbers), present)
    scope: dict[str, Any] = {"pack": packer.pack}
    arguments: list[str] = []
    for constant, value in zip_longest(constants, (v for v, _ in there)):
        name = f"c{constant.hex()}"
        scope[name] = constant
        arguments += [name] if value is None else [name, value]
    # pack refuses a NaN in a bigint column.
    return scope, ", ".join(arguments), " + ".join(v for v, number in there if number.code == "d") or "0.0"


def _subscript(names: Sequence[str]) -> str:
    return ", ".join(f"row.{name}" for name in names) or "()"
