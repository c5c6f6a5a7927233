"""PostgreSQL's binary COPY format, written directly.

A driver that gets rows as tuples looks at every value. Here a row is put together from pieces that are
known beforehand: the key is the same each time, the instant is shared by a batch, and the numbers go into
one :class:`struct.Struct` that is made once for each combination of types and nulls.

Format: https://www.postgresql.org/docs/current/sql-copy.html, section "Binary Format".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception class
from typing import Any, TypeAlias

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What a COPY begins with: signature, no flags, no extension."""
TRAILER = b"\xff\xff"
"""What a COPY ends with."""
NULL = b"\xff\xff\xff\xff"

_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts from 2000-01-01."""
_EIGHT = (8).to_bytes(4, "big")
_TRUE = (1).to_bytes(4, "big") + b"\x01"
_FALSE = (1).to_bytes(4, "big") + b"\x00"
_TEXT_OID = 25
_CACHED_PIECES = 65_536
_CACHED_LAYOUTS = 4_096
_BIGINT = Struct(">4sq")
_DOUBLE = Struct(">4sd")
_NoneType = type(None)

ENCODING_ERRORS = (ValueError, TypeError, AttributeError, OverflowError, StructError)
"""What a value that does not fit its column raises here."""
Number: TypeAlias = "int | float | None"


class NotFiniteError(ValueError):
    """A number is NaN or infinite."""


def timestamp(time_ns: int) -> bytes:
    """A ``timestamptz``: whole microseconds, rounded down."""
    return _BIGINT.pack(_EIGHT, microseconds(time_ns))


def bigint(value: int) -> bytes:
    """A ``bigint``. Raises ``struct.error`` beyond 64 bits."""
    return _BIGINT.pack(_EIGHT, value)


def microseconds(time_ns: int) -> int:
    """The number that stands for a time in a ``timestamptz``."""
    return time_ns // 1000 - _EPOCH_US


def double(value: float) -> bytes:
    """A ``double precision``."""
    return _DOUBLE.pack(_EIGHT, value)


def text(value: str | None) -> bytes:
    """A ``text``. Raises ``ValueError`` for what PostgreSQL cannot hold: NUL and lone surrogates."""
    if value is None:
        return NULL
    raw = value.encode()
    if b"\0" in raw:
        raise ValueError("a text with the character NUL")
    return len(raw).to_bytes(4, "big") + raw


def boolean(value: bool | None) -> bytes:  # noqa: FBT001 - it is the value
    """A ``boolean``."""
    return NULL if value is None else _TRUE if value else _FALSE


def text_array(values: Sequence[str]) -> bytes:
    """A ``text[]``."""
    items = b"".join(map(text, values))
    dimensions = Struct(">iiI").pack(1 if values else 0, 0, _TEXT_OID)
    if values:
        dimensions += Struct(">ii").pack(len(values), 1)
    return (len(dimensions) + len(items)).to_bytes(4, "big") + dimensions + items


def field_count(columns: int) -> bytes:
    """What a row begins with."""
    return columns.to_bytes(2, "big")


class PieceCache(dict[Any, bytes]):
    """Encoded pieces of rows, for values that come again and again (keys, venues, states).

    Looked up by the value, or by the tuple of values when it is made for several columns.
    """

    def __init__(self, encoders: Sequence[Callable[[Any], bytes]], before: bytes = b"") -> None:
        """One encoder for each column; ``before`` stands in front of every piece."""
        super().__init__()
        self._encoders = encoders
        self._before = before

    def __missing__(self, values: Any) -> bytes:  # noqa: ANN401 - a value or a tuple of them
        """Encode it, once."""
        if len(self) >= _CACHED_PIECES:
            self.clear()
        row = values if len(self._encoders) != 1 else (values,)
        parts = (encode(value) for encode, value in zip(self._encoders, row, strict=True))
        piece = self[values] = self._before + b"".join(parts)
        return piece


@dataclass(slots=True)
class _Layout:
    """How numbers of certain types are packed: lengths and nulls as constants between the values."""

    pack: Callable[..., bytes]
    arguments: list[Any]
    """Constant, value, constant, value …; the values are put in anew for each row."""
    end: int
    present: tuple[bool, ...] | None
    """Which values are there; ``None``: all of them."""


class NumberPacker:
    """Packs a fixed row of ``bigint`` (``q``) and ``double precision`` (``d``) columns, with nulls."""

    def __init__(self, codes: str) -> None:
        """``codes`` has a letter for each column."""
        self._codes = codes
        self._layouts: dict[tuple[type, ...], _Layout] = {}

    def __call__(self, values: tuple[Number, ...]) -> bytes:
        """The columns, encoded.

        Raises :class:`NotFiniteError` for NaN and infinities, ``struct.error`` for what is no number,
        and ``OverflowError`` for what is too large.
        """
        types = tuple(map(type, values))
        layout = self._layouts.get(types)
        if layout is None:
            layout = self._remember(types)
        if layout.present is not None:
            values = tuple(compress(values, layout.present))
        # One look at the sum instead of one at each value; a sum can overflow without cause.
        if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):  # type: ignore[arg-type]
            raise NotFiniteError("a number that is not finite")
        layout.arguments[1 : layout.end : 2] = values
        return layout.pack(*layout.arguments)

    def _remember(self, types: tuple[type, ...]) -> _Layout:
        if len(self._layouts) >= _CACHED_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts[types] = self._lay_out(types)
        return layout

    def _lay_out(self, types: tuple[type, ...]) -> _Layout:
        present = tuple(kind is not _NoneType for kind in types)
        packer, constants = lay_out(self._codes, present)
        arguments: list[Any] = [argument for constant in constants for argument in (constant, None)]
        end = 2 * sum(present)
        del arguments[end + len(constants) - sum(present) :]  # a constant at the end has no value after it
        return _Layout(packer.pack, arguments, end, None if all(present) else present)


def lay_out(codes: str, present: Sequence[bool]) -> tuple[Struct, list[bytes]]:
    """How numbers of these types are packed, of which some are null.

    A ``struct`` with a constant in front of each number that is there, and the constants; there is one more
    where the last number is null. The length of a number and the nulls before it are one constant: that is
    quicker than to have each of them converted.
    """
    layout = ">"
    constants: list[bytes] = []
    constant = b""
    for code, there in zip(codes, present, strict=True):
        if there:
            constant += _EIGHT
            layout += f"{len(constant)}s{code}"
            constants.append(constant)
            constant = b""
        else:
            constant += NULL
    if constant:
        layout += f"{len(constant)}s"
        constants.append(constant)
    return Struct(layout), constants


def reader(names: Sequence[str]) -> Callable[[Any], Any]:
    """Reads attributes: the value of a single one, the tuple of several, ``()`` of none."""
    return attrgetter(*names) if names else lambda _: ()


def tuple_reader(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads attributes into a tuple, however many there are."""
    read = reader(names)
    return (lambda row: (read(row),)) if len(names) == 1 else read
