"""Keyset pagination from the newest row backwards.

A page begins after the last row of the previous one, whatever was inserted meanwhile.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from storage.schema.samples import quoted, storable

if TYPE_CHECKING:
    from storage.database import Database

Place: TypeAlias = tuple[int, str, int, int]
"""(time_ns, source, epoch, sequence) of a row, or as much of it, then zeros, as is unique in the list."""

_LARGEST = 2**63 - 1


class RowPage(Struct, frozen=True, kw_only=True):
    """One page of a list, as the database has it."""

    items: list[dict[str, Any]]
    """Rows: values by name of the column, ready to be encoded."""
    next_cursor: str | None = None
    """Opaque; leads to the next page. ``None``: this is the last page."""


class CursorError(ValueError):
    """Raised for a cursor that this list did not return."""


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    table: str
    place: Place


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """Lists the rows of a table in descending order of ``columns``."""

    table: str
    time_column: str
    """The column that ``start_ns`` and ``end_ns`` of a filter restrict."""
    columns: tuple[str, str] | tuple[str, str, str, str]
    """The columns of the row's place."""
    ends_column: str = ""
    """End of rows that last, null while they do: ``start_ns`` of a filter selects those that end after it."""
    item: type[Struct] | None = None
    """The struct whose fields are the columns to read, in order; ``None``: all columns."""

    def statement(self, which: Struct, limit: int, cursor: str | None) -> tuple[str, list[Any]]:
        """The query for one page and one row more, and its parameters. Raises :class:`CursorError`.

        Every field of ``which`` that is not ``None`` restricts the column of its name.
        """
        values: list[Any] = []
        restricted = []
        for name in which.__struct_fields__:
            value = getattr(which, name)
            if value is None:
                continue
            if isinstance(value, str) and not storable(value):
                restricted.append("")
                continue
            values.append(max(0, min(value, _LARGEST)) if isinstance(value, int) else value)
            restricted.append(name)
        if cursor is not None:
            values += decode_cursor(self.table, cursor)[: len(self.columns)]
        return self._text(tuple(restricted), limit, has_cursor=cursor is not None), values

    async def rows(self, database: Database, which: Struct, limit: int, cursor: str | None) -> RowPage:
        """One page. Raises :class:`CursorError` and the errors of the database."""
        statement, values = self.statement(which, limit, cursor)
        records = await database.fetch(statement, values)
        next_cursor = None
        if len(records) > limit:
            del records[limit:]
            next_cursor = self.cursor_after(records[-1])
        names = self.names
        # The record has the columns of the place last; zip leaves them out.
        return RowPage(
            items=[dict(zip(names, record, strict=False)) for record in records], next_cursor=next_cursor
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a row, in order; empty for all columns."""
        return self.item.__struct_fields__ if self.item is not None else ()

    @lru_cache(maxsize=1024)  # noqa: B019 - the lists of this program live as long as it does
    def _text(self, restricted: tuple[str, ...], limit: int, *, has_cursor: bool) -> str:
        """The statement that restricts the columns of these names; an empty name is a value that no row has.

        The limit is a part of the text: only with a number does PostgreSQL keep its plan.
        """
        conditions = []
        number = 0
        for name in restricted:
            number += bool(name)
            conditions.append(f"{self._compared(name)} ${number}" if name else "false")
        if has_cursor:
            types = ("bigint", "text", "bigint", "bigint")[: len(self.columns)]
            places = ", ".join(f"${place}::{type_}" for place, type_ in enumerate(types, number + 1))
            conditions.append(f"({self._ordered()}) < ({places})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        names = [*self.names, *(name for name in self.columns if name not in self.names)]
        selected = ", ".join(map(quoted, names)) if self.names else "*"
        order = self._ordered(" DESC")
        # Names come from this program, values are parameters.
        return f"SELECT {selected} FROM {self.table}{where} ORDER BY {order} LIMIT {limit + 1:d}"  # noqa: S608 - names of our own

    def cursor_after(self, row: Any) -> str:  # noqa: ANN401 - a record, by column name
        """The cursor of the page that begins after this row."""
        time_ns, source, epoch, sequence = [*(row[name] for name in self.columns), 0, 0][:4]
        return encode_cursor(self.table, (time_ns, source, epoch, sequence))

    def _compared(self, name: str) -> str:
        if name == "start_ns" and self.ends_column:
            return f"coalesce({quoted(self.ends_column)}, {_LARGEST}) >"
        if name == "start_ns":
            return f"{quoted(self.time_column)} >="
        if name == "end_ns":
            return f"{quoted(self.time_column)} <"
        return f"{quoted(name)} ="

    def _ordered(self, suffix: str = "") -> str:
        return ", ".join(f"{name}{suffix}" for name in self.columns)


def encode_cursor(table: str, place: Place) -> str:
    """The cursor for the page that begins after the row at this place."""
    packed = msgspec.msgpack.encode(_Cursor(table, place))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(table: str, text: str) -> Place:
    """The place of the row that a page begins after. Raises :class:`CursorError`."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(raw, type=_Cursor)
    except (ValueError, msgspec.DecodeError) as error:
        raise CursorError("not a cursor of this list") from error
    numbers = (cursor.place[0], cursor.place[2], cursor.place[3])
    if cursor.table != table or any(not 0 <= number <= _LARGEST for number in numbers):
        raise CursorError("this cursor belongs to another list")
    if not storable(cursor.place[1]):
        raise CursorError("not a cursor of this list")
    return cursor.place
