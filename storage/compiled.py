"""The inner loop of the sample encoder, written out for one type of sample.

It runs for every sample of every instant. Reading the fields by name and handing them to one ``struct`` call
takes less than half the time of the same loop over a list of fields, so the source of that loop is put
together from the declaration and compiled once. The only texts in it are field names, which the declaration
has checked to be plain identifiers (:mod:`decahertz.sample`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

from decahertz.sample import Sample
from storage.encoding import PieceCache, lay_out

Loop: TypeAlias = Callable[[Sequence[Sample], bytes], tuple[list[bytes], float]]
"""(samples, encoded instant) → (pieces of the rows, sum of all floating-point numbers).

The sum is not finite when a number is not, and hardly ever else: one look at it replaces one at each number.
"""

_CACHED_LAYOUTS = 4_096
_LOOP = """
def encode(rows, moment, {locals}):
    data = []
    total = 0.0
    for row in rows:
        {read}
        if {some_missing}:
            packed, part = layouts[{missing}]({values})
            total += part
        else:
            packed = pack({arguments})
            total += {sum}
        data += (keys[{key}], moment, packed, states[{state}])
    return data, total
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
        gone = iter(missing)
        present = [not (number.optional and next(gone)) for number in self._numbers]
        scope, arguments, total = _packing(self._numbers, present)
        values = ", ".join(_values(self._numbers))
        source = _ROW.format(values=values, arguments=arguments, sum=total)
        layout: Callable[..., tuple[bytes, float]] = eval(source, scope)  # noqa: S307 - our own names only
        if len(self) >= _CACHED_LAYOUTS:
            self.clear()
        self[missing] = layout
        return layout


def compile_loop(
    key: Sequence[str],
    numbers: Sequence[Number],
    others: Sequence[str],
    keys: PieceCache,
    states: PieceCache,
) -> Loop:
    """The loop for samples with these fields.

    ``keys`` and ``states`` encode the key fields and the ``others``. What the loop raises is one of
    :data:`storage.encoding.ENCODING_ERRORS`, also for a value that is missing where it may not be.
    """
    values = _values(numbers)
    missing = [f"{v} is None" for v, number in zip(values, numbers, strict=True) if number.optional]
    scope, arguments, total = _packing(numbers, [True] * len(numbers))
    scope |= {"keys": keys, "states": states, "layouts": _Layouts(numbers)}
    source = _LOOP.format(
        locals=", ".join(f"{name}={name}" for name in scope),  # found quicker than what is global
        read="; ".join(f"{v} = row.{n.name}" for v, n in zip(values, numbers, strict=True)) or "pass",
        some_missing=" or ".join(missing) or "False",
        missing="".join(f"{one}, " for one in missing) or "()",
        values=", ".join(values),
        arguments=arguments,
        sum=total,
        key=_subscript(key),
        state=_subscript(others),
    )
    exec(compile(source, __file__, "exec"), scope)  # noqa: S102 - only checked identifiers are in it
    loop: Loop = scope["encode"]
    return loop


def _values(numbers: Sequence[Number]) -> list[str]:
    return [f"v{position}" for position in range(len(numbers))]


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
