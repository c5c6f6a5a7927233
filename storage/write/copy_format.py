"""PostgreSQL's binary COPY format, written directly.

A driver that takes rows as tuples converts every value. Here a row is joined from encoded pieces: keys are
cached, a batch has one time, and one :class:`struct.Struct` per combination of types and nulls packs all
numbers (:mod:`storage.write.copy_codegen`).

Format: https://www.postgresql.org/docs/current/sql-copy.html, section "Binary Format".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception class
from typing import Any, TypeAlias

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Header of a COPY: signature, no flags, no extension."""
TRAILER = b"\xff\xff"
"""Trailer of a COPY."""
NULL = b"\xff\xff\xff\xff"

_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts from 2000-01-01."""
_EIGHT = (8).to_bytes(4, "big")
_TRUE = (1).to_bytes(4, "big") + b"\x01"
_FALSE = (1).to_bytes(4, "big") + b"\x00"
_TEXT_OID = 25
_CACHED_PIECES = 65_536
_BIGINT = Struct(">4sq")
_DOUBLE = Struct(">4sd")

ENCODING_ERRORS = (ValueError, TypeError, AttributeError, OverflowError, StructError)
"""Raised for a value that does not fit its column."""
Number: TypeAlias = "int | float | None"


class NotFiniteError(ValueError):
    """A number is NaN or infinite."""


def check_finite(values: Iterable[Number]) -> None:
    """Raises :class:`NotFiniteError` when one of them is NaN or infinite."""
    if not all(value is None or math.isfinite(value) for value in values):
        raise NotFiniteError("a number that is not finite")


def timestamp(time_ns: int) -> bytes:
    """A ``timestamptz``: whole microseconds, rounded down."""
    return _BIGINT.pack(_EIGHT, microseconds(time_ns))


def bigint(value: int) -> bytes:
    """A ``bigint``. Raises ``struct.error`` beyond 64 bits and for a value that is not an integer."""
    return _BIGINT.pack(_EIGHT, value)


def microseconds(time_ns: int) -> int:
    """A time as ``timestamptz`` stores it: microseconds since 2000."""
    return time_ns // 1000 - _EPOCH_US


def double(value: float) -> bytes:
    """A ``double precision``."""
    return _DOUBLE.pack(_EIGHT, value)


def text(value: str | None) -> bytes:
    """A ``text``. Raises ``ValueError`` for NUL and lone surrogates, which PostgreSQL refuses."""
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
    """Header of a row: its number of columns."""
    return columns.to_bytes(2, "big")


class PieceCache(dict[Any, bytes]):
    """Cache of encoded pieces of rows, for values that repeat (keys, venues, states).

    Looked up by the value, or by the tuple of values when it is made for several columns.
    """

    def __init__(self, encoders: Sequence[Callable[[Any], bytes]], before: bytes = b"") -> None:
        """``encoders`` has one for each column; every piece starts with ``before``."""
        super().__init__()
        self._encoders = encoders
        self._before = before

    def __missing__(self, values: Any) -> bytes:  # noqa: ANN401 - a value or a tuple of them
        """Encodes it, once."""
        if len(self) >= _CACHED_PIECES:
            self.clear()
        row = values if len(self._encoders) != 1 else (values,)
        parts = (encode(value) for encode, value in zip(self._encoders, row, strict=True))
        piece = self[values] = self._before + b"".join(parts)
        return piece


def lay_out(codes: str, present: Sequence[bool]) -> tuple[Struct, list[bytes]]:
    """The struct that packs numbers of these types, some of which are null, and its constants.

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
    """A function that reads attributes: one value for one name, a tuple for several, ``()`` for none."""
    return attrgetter(*names) if names else lambda _: ()
