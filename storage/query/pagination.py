"""Keyset pagination from the newest row backwards.

A page begins after the last row of the previous one, whatever was inserted meanwhile.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from decahertz.clock import to_datetime
from storage.schema.samples import TIME, quoted, storable

if TYPE_CHECKING:
    from storage.database import Reads

Place: TypeAlias = tuple[int, str, int, int]
"""(time_ns, source, epoch, sequence) of a row, or as much of it, then zeros, as is unique in the list."""

Filter: TypeAlias = Struct | Mapping[str, Any]
"""Values by column, and ``start_ns`` and ``end_ns``; ``None`` does not restrict, a list allows several."""

_LARGEST = 2**63 - 1
_TIMES: Final = {"start_ns": ">=", "end_ns": "<"}


class Row(Struct, frozen=True, gc=False):
    """One row as the database has it, ready to be encoded; subclasses have the columns as fields."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - of any column
        return getattr(self, name)


class RowPage(Struct, frozen=True, kw_only=True):
    """One page of a list, as the database has it."""

    items: list[Any]
    """Rows, each a :class:`Row`."""
    next_cursor: str | None = None
    """Opaque; leads to the next page. ``None``: this is the last page."""


class CursorError(ValueError):
    """Raised for a cursor that this list did not return."""


class Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page begins, and the range of its list."""

    table: str
    place: Place
    start_ns: int | None = None
    """The range of the first page: one relative to now would have moved since."""
    end_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
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
    by_time: bool = False
    """Whether rows are found by the column ``time``, the time column as a timestamp, rounded down: an index
    on ``time`` or partitions of it serve the list, and no index of its own is needed."""
    between: bool = False
    """Whether a range of ``time`` is read from the function ``{table}_between`` (packed events)."""
    array_columns: Mapping[str, str] = field(default_factory=dict)
    """Filters by one element of an array: name of the filter, and the column."""
    derived: Mapping[str, str] = field(default_factory=dict)
    """Fields and filters that are not columns: name, and the expression in SQL."""

    def statement(
        self, which: Filter, limit: int, cursor: str | None, *, own_range: bool = False
    ) -> tuple[str, list[Any]]:
        """The query for one page and one row more, and its parameters. Raises :class:`CursorError`.

        Every value of ``which`` that is not ``None`` restricts the column of its name. After the first page
        the range is that of the cursor; with ``own_range`` it is that of ``which``.
        """
        begin = self._begin(cursor)
        values: list[Any] = []
        terms = []
        if self.between:
            times = _in_range(which, None if own_range else begin)
            end_ns = min(
                _LARGEST if times.get("end_ns") is None else times["end_ns"],
                _LARGEST if begin is None else begin.place[0],
            )
            range_ns = (times.get("start_ns") or 0, end_ns)
            values += [to_datetime(max(0, min(time_ns, _LARGEST))) for time_ns in range_ns]
        for name, value in _in_range(which, None if own_range else begin).items():
            if value is None:
                continue
            if isinstance(value, str) and not storable(value):
                terms.append("false")
                continue
            terms.append(self._term(name, value))
            if name in _TIMES:
                time_ns = max(0, min(value, _LARGEST))
                values.append(time_ns)
                if self.by_time:
                    terms.append(f"{quoted(TIME)} {'>=' if name == 'start_ns' else '<='} {{}}")
                    values.append(to_datetime(time_ns))
            else:
                values.append(value)
        if begin is not None:
            place = begin.place[: len(self.columns)]
            types = ("bigint", "text", "bigint", "bigint")[: len(self.columns)]
            terms.append(f"({self._ordered()}) < ({', '.join(f'{{}}::{type_}' for type_ in types)})")
            values += place
            if self.by_time:
                terms.append(f"{quoted(TIME)} <= {{}}")
                values.append(to_datetime(begin.place[0]))
        return self._text(tuple(terms), limit), values

    async def rows(self, database: Reads, which: Filter, limit: int, cursor: str | None) -> RowPage:
        """One page. Raises :class:`CursorError` and the errors of the database."""
        statement, values = self.statement(which, limit, cursor)
        return self.page(await database.fetch(statement, values), which, limit, cursor)

    def page(self, records: list[Any], which: Filter, limit: int, cursor: str | None) -> RowPage:
        """The page of these records, of which one more than ``limit`` says that there are others."""
        next_cursor = None
        if len(records) > limit:
            del records[limit:]
            next_cursor = self.cursor_after(records[-1], which, cursor)
        if self.item is None:
            raise TypeError(f"the rows of {self.table} have no columns of their own")
        row, length = _row_type(self.item), len(self.names)
        # The record has the columns of the place last.
        items = [row(*record[:length]) for record in records]
        return RowPage(items=items, next_cursor=next_cursor)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a row, in order; empty for all columns."""
        return self.item.__struct_fields__ if self.item is not None else ()

    @lru_cache(maxsize=1024)  # noqa: B019 - the lists of this program live as long as it does
    def _text(self, terms: tuple[str, ...], limit: int) -> str:
        """The statement with these terms, which have ``{}`` for each parameter.

        The limit is a part of the text: only with a number does PostgreSQL keep its plan.
        """
        condition = " AND ".join(terms)
        first = 3 if self.between else 1
        numbers = (f"${number}" for number in range(first, condition.count("{}") + first))
        where = f" WHERE {condition.format(*numbers)}" if terms else ""
        names = [*self.names, *(name for name in self.columns if name not in self.names)]
        selected = ", ".join(map(self._selected, names)) if self.names else "*"
        order = self._ordered(" DESC")
        if self.by_time:
            order = f"{quoted(TIME)} DESC, {order}"
        relation = f"{self.table}_between($1, $2) AS {self.table}" if self.between else self.table
        # Names come from this program, values are parameters.
        return f"SELECT {selected} FROM {relation}{where} ORDER BY {order} LIMIT {limit + 1:d}"  # noqa: S608 - names of our own

    def cursor_after(self, row: Any, which: Filter, cursor: str | None) -> str:  # noqa: ANN401 - a record
        """The cursor of the page that begins after this row; ``cursor`` is that of the row's own page."""
        time_ns, source, epoch, sequence = [*(row[name] for name in self.columns), 0, 0][:4]
        range_ = self.range_of(which, cursor)
        return encode_cursor(self.table, (time_ns, source, epoch, sequence), *range_)

    def range_of(self, which: Filter, cursor: str | None) -> tuple[int | None, int | None]:
        """The range of a list, ``[start_ns, end_ns)``. Raises :class:`CursorError`."""
        values = _in_range(which, self._begin(cursor))
        return values.get("start_ns"), values.get("end_ns")

    def place_of(self, cursor: str | None) -> Place | None:
        """The place that a page begins after; ``None`` for the first page. Raises :class:`CursorError`."""
        begin = self._begin(cursor)
        return begin.place if begin is not None else None

    def _begin(self, cursor: str | None) -> Cursor | None:
        return None if cursor is None else decode_cursor(self.table, cursor)

    def _term(self, name: str, value: object) -> str:
        if name == "start_ns" and self.ends_column:
            return f"coalesce({quoted(self.ends_column)}, {_LARGEST}) > {{}}"
        if name in _TIMES:
            return f"{quoted(self.time_column)} {_TIMES[name]} {{}}"
        if name in self.array_columns:
            return f"{{}} = ANY({quoted(self.array_columns[name])})"
        if name in self.derived:
            return f"{self.derived[name]} = {{}}"
        if isinstance(value, list):
            return f"{quoted(name)} = ANY({{}}::text[])"
        return f"{quoted(name)} = {{}}"

    def _selected(self, name: str) -> str:
        return f"{self.derived[name]} AS {quoted(name)}" if name in self.derived else quoted(name)

    def _ordered(self, suffix: str = "") -> str:
        return ", ".join(f"{name}{suffix}" for name in self.columns)


@cache
def _row_type(item: type[Struct]) -> type[Row]:
    """The type of rows with the columns of ``item``: without checks, a third of the cost of a dictionary."""
    fields = [(name, Any) for name in item.__struct_fields__]
    made = msgspec.defstruct(item.__name__, fields, bases=(Row,), frozen=True, gc=False)
    return cast("type[Row]", made)


def _in_range(which: Filter, begin: Cursor | None) -> Mapping[str, Any]:
    """The filter by column, with the range of the first page."""
    values = which if isinstance(which, Mapping) else asdict(which)
    return values if begin is None else {**values, "start_ns": begin.start_ns, "end_ns": begin.end_ns}


def encode_cursor(table: str, place: Place, start_ns: int | None = None, end_ns: int | None = None) -> str:
    """The cursor for the page that begins after the row at this place, in this range."""
    packed = msgspec.msgpack.encode(Cursor(table, place, start_ns, end_ns))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(table: str, text: str) -> Cursor:
    """The place of the row that a page begins after, and its range. Raises :class:`CursorError`."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(raw, type=Cursor)
    except (ValueError, msgspec.DecodeError) as error:
        raise CursorError("not a cursor of this list") from error
    numbers = (cursor.place[0], cursor.place[2], cursor.place[3], cursor.start_ns or 0, cursor.end_ns or 0)
    if cursor.table != table or any(not 0 <= number <= _LARGEST for number in numbers):
        raise CursorError("this cursor belongs to another list")
    if not storable(cursor.place[1]):
        raise CursorError("not a cursor of this list")
    return cursor
