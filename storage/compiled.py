"""The inner loop of the sample encoder, written out for one type of sample.

It runs for every sample of every instant. Reading the fields by name and handing them to one ``struct`` call
takes less than half the time of the same loop over a list of fields, so the source of that loop is put
together from the declaration and compiled once. The only texts in it are field names, which the declaration
has checked to be plain identifiers (:mod:`decahertz.sample`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeAlias

from decahertz.sample import Sample
from storage.encoding import PieceCache

Loop: TypeAlias = Callable[[Sequence[Sample], bytes], tuple[list[bytes], float]]
"""(samples, encoded instant) → (pieces of the rows, sum of all numbers).

The sum is not finite when a number is not, and hardly ever else: one look at it replaces one at each number.
"""

_CACHED_LAYOUTS = 4_096
_LOOP = """
def encode(rows, moment):
    data = []
    total = 0.0
    for row in rows:
        {read}
        if {some_missing}:
            packed, part = layouts[{missing}]({values})
        else:
            packed = pack({lengths_and_values})
            part = {sum}
        total += part
        data += (keys[{key}], moment, packed, states[{state}])
    return data, total
"""
_ROW = "lambda {values}: (pack({lengths_and_values}), {sum})"


@dataclass(frozen=True, slots=True)
class Number:
    """A column of numbers."""

    name: str
    code: str
    """``q`` for ``bigint``, ``d`` for ``double precision``."""
    optional: bool


class _Layouts(dict[int, Callable[..., tuple[bytes, float]]]):
    """How to pack the numbers of a row of which some are missing, by the set of those as bits."""

    def __init__(self, numbers: Sequence[Number]) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, missing: int) -> Callable[..., tuple[bytes, float]]:
        absent = [bool(missing >> position & 1) for position in range(len(self._numbers))]
        code = "".join("i" if gone else f"i{n.code}" for n, gone in zip(self._numbers, absent, strict=True))
        present = [f"v{position}" for position, gone in enumerate(absent) if not gone]
        source = _ROW.format(
            values=", ".join(f"v{position}" for position in range(len(absent))),
            lengths_and_values=", ".join("-1" if gone else f"8, v{p}" for p, gone in enumerate(absent)),
            sum=" + ".join(present) or "0.0",
        )
        layout: Callable[..., tuple[bytes, float]] = eval(  # noqa: S307 - there are only numbers in it
            source, {"pack": Struct(f">{code}").pack}
        )
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
    values = [f"v{position}" for position in range(len(numbers))]
    optional = [(position, v) for position, v in enumerate(values) if numbers[position].optional]
    source = _LOOP.format(
        read="; ".join(f"{v} = row.{n.name}" for v, n in zip(values, numbers, strict=True)) or "pass",
        some_missing=" or ".join(f"{v} is None" for _, v in optional) or "False",
        missing=" | ".join(f"({v} is None) << {position}" for position, v in optional) or "0",
        values=", ".join(values),
        lengths_and_values=", ".join(f"8, {v}" for v in values),
        sum=" + ".join(values) or "0.0",
        key=_subscript(key),
        state=_subscript(others),
    )
    scope: dict[str, Any] = {
        "keys": keys,
        "states": states,
        "layouts": _Layouts(numbers),
        "pack": Struct(">" + "".join(f"i{number.code}" for number in numbers)).pack,
    }
    exec(compile(source, __file__, "exec"), scope)  # noqa: S102 - only checked identifiers are in it
    loop: Loop = scope["encode"]
    return loop


def _subscript(names: Sequence[str]) -> str:
    return ", ".join(f"row.{name}" for name in names) or "()"
