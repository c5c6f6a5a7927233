"""Samples and events out, as CSV or Parquet, however many there are, in constant memory.

CSV is what PostgreSQL itself writes (``COPY … TO``); Parquet is made of a cursor's rows, a row group at a
time. Either way nothing is read from the server before the last piece was taken, so a slow reader slows the
query and does not fill memory. Rows come in order of time.

Every table begins with ``time_ns``. Nothing is lost on the way: numbers keep all their digits, in CSV a null
is an empty field and an empty text is ``""``, truth values are ``true`` and ``false``, a list is JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from decahertz.clock import from_datetime, to_datetime
from decahertz.event import EVENT_BY_TABLE, Event
from decahertz.sample import SampleSchema
from storage.query.parquet import ParquetPieces
from storage.query.samples import MICROSECONDS, key_conditions
from storage.schema.events import event_columns
from storage.schema.samples import TIME, quoted, sql_type_of, table_of

if TYPE_CHECKING:
    from storage.database import Connection, Database

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes the next piece; returns when there is room for another."""
Reached: TypeAlias = Callable[[int], None]
"""Is told the time of the newest row that was written, in nanoseconds."""

MOST_AT_ONCE: Final = 4
_ROWS_AT_ONCE: Final = 5_000
_LONGEST_SECONDS: Final = 7 * 86_400.0
_LATEST_NS: Final = 2**63 - 1
_MICROSECOND_NS: Final = 1000
_TEXT: Final = "text"


class ExportFormat(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """The media type of a file of it."""
        return "text/csv" if self is ExportFormat.CSV else "application/vnd.apache.parquet"


class TooManyExportsError(RuntimeError):
    """As many exports as are allowed at once are under way."""


class ExportStoppedError(RuntimeError):
    """What was exported could not be written; the cause says why."""


class UnknownColumnError(ValueError):
    """An export was asked for a column, or narrowed by one, that is not there."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        """``known`` are the names that there are."""
        super().__init__(f"{name!r} is not known; there are: {', '.join(sorted(known))}")
        self.name = name


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of the export."""

    name: str
    sql_type: str
    """``bigint``, ``double precision``, ``boolean`` or ``text``."""
    expression: str = ""
    """How it is selected, where that is not just its name."""

    def selected(self, *, as_text: bool) -> str:
        """As it stands in ``SELECT``; ``as_text`` for CSV."""
        expression = self.expression or quoted(self.name)
        if as_text and self.sql_type == "boolean":
            expression = f"({expression})::text"
        return f"{expression} AS {quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export. Make it with :func:`samples_request` or :func:`events_request`."""

    table: str
    columns: tuple[ExportColumn, ...]
    key_filter: Mapping[str, Sequence[str]] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = _LATEST_NS
    order: tuple[str, ...] = (TIME,)
    exact: bool = False
    """Whether the table has the exact ``time_ns`` beside ``time``, which is rounded down."""

    def statement(self, *, as_text: bool) -> tuple[str, list[Any]]:
        """The request and its parameters."""
        where, values = self.narrowed(self.key_filter)
        selected = ", ".join(column.selected(as_text=as_text) for column in self.columns)
        order = ", ".join(quoted(name) for name in self.order)
        # The names are those of declarations, quoted; all values are parameters.
        return f"SELECT {selected} FROM {quoted(self.table)} {where} ORDER BY {order}", values  # noqa: S608

    def narrowed(self, key_filter: Mapping[str, Sequence[str]]) -> tuple[str, list[Any]]:
        """The condition on time and keys, and its parameters."""
        start_ns, end_ns = max(0, self.start_ns), min(self.end_ns, _LATEST_NS)
        if self.exact:
            conditions = [f"{TIME} >= $1", f"{TIME} <= $2", "time_ns >= $3", "time_ns < $4"]
            values: list[Any] = [to_datetime(start_ns), to_datetime(end_ns), start_ns, end_ns]
        else:  # a start between two microseconds begins with the later one
            conditions = [f"{TIME} >= $1", f"{TIME} < $2"]
            values = [to_datetime(time_ns + _MICROSECOND_NS - 1) for time_ns in (start_ns, end_ns)]
        on_keys, more = key_conditions(key_filter, first=len(values) + 1)
        return "WHERE " + " AND ".join((*conditions, *on_keys)), [*values, *more]


def samples_request(
    schema: SampleSchema,
    fields: Sequence[str] = (),
    key_filter: Mapping[str, Sequence[str]] | None = None,
    start_ns: int = 0,
    end_ns: int = _LATEST_NS,
) -> ExportRequest:
    """All samples of a collector in the range: time, key and the fields (none named: all).

    Raises :class:`UnknownColumnError`.
    """
    metrics = {metric.name: ExportColumn(metric.name, sql_type_of(metric)) for metric in schema.metrics}
    time = ExportColumn("time_ns", "bigint", f"{MICROSECONDS.format(TIME)} * 1000")
    keys = tuple(ExportColumn(name, _TEXT) for name in schema.key)
    _check(key_filter or {}, schema.key)
    columns = (time, *keys, *_chosen(metrics, fields))
    order = (TIME, *schema.key)
    return ExportRequest(table_of(schema), columns, key_filter or {}, start_ns, end_ns, order)


def events_request(
    table: str,
    fields: Sequence[str] = (),
    key_filter: Mapping[str, Sequence[str]] | None = None,
    start_ns: int = 0,
    end_ns: int = _LATEST_NS,
) -> ExportRequest:
    """All events of a table in the range: time and the columns (none named: all).

    Narrowed by any column of texts. Raises :class:`UnknownColumnError`.
    """
    event_type = EVENT_BY_TABLE[table]
    columns = _event_columns(event_type)
    texts = [column.name for column in columns.values() if column.sql_type == _TEXT and not column.expression]
    _check(key_filter or {}, texts)
    time = ExportColumn("time_ns", "bigint")
    order = ("time", "time_ns", "source", "epoch", "sequence")
    chosen = (time, *_chosen(columns, fields))
    return ExportRequest(table, chosen, key_filter or {}, start_ns, end_ns, order, exact=True)


def _event_columns(event_type: type[Event]) -> dict[str, ExportColumn]:
    columns = {}
    for one in event_columns(event_type):
        if one.sql_type == "text[]":
            columns[one.name] = ExportColumn(one.name, _TEXT, f"array_to_json({quoted(one.name)})::text")
        else:
            columns[one.name] = ExportColumn(one.name, one.sql_type)
    for name, sql_type in (
        ("received_ns", "bigint"),
        ("source", _TEXT),
        ("epoch", "bigint"),
        ("sequence", "bigint"),
    ):
        columns[name] = ExportColumn(name, sql_type)
    return columns


def _chosen(columns: Mapping[str, ExportColumn], names: Sequence[str]) -> list[ExportColumn]:
    _check(names, list(columns))
    return [columns[name] for name in dict.fromkeys(names)] if names else list(columns.values())


def _check(names: Sequence[str] | Mapping[str, object], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownColumnError(name, known)


class Exports:
    """Runs exports, a few at once, each on a connection of its own."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database
        self._running = 0

    async def run(
        self,
        request: ExportRequest,
        form: ExportFormat,
        write: Write,
        reached: Reached = lambda _: None,
    ) -> None:
        """Write all rows; when it is cancelled, or ``write`` raises, the query is stopped as well.

        Raises :class:`TooManyExportsError`, :class:`~storage.query.parquet.ParquetMissingError`,
        :class:`~storage.database.DatabaseUnavailableError` and, for what ``write`` raised,
        :class:`ExportStoppedError`.
        """

        async def guarded(data: bytes) -> None:
            try:
                await write(data)
            except Exception as error:  # it must not be taken for one of the database
                raise ExportStoppedError from error

        pieces: ParquetPieces | None = None
        if form is ExportFormat.PARQUET:  # the first time this loads a large library
            pieces = await asyncio.to_thread(ParquetPieces, request.columns)
        async with self._connection() as connection:
            if pieces is None:
                await _csv(connection, request, guarded, reached)
            else:
                await _parquet(connection, request, pieces, guarded, reached)

    async def bounds(self, request: ExportRequest) -> tuple[int, int] | None:
        """The times of the first and last row of the table in the range, whatever their key."""
        where, values = request.narrowed({})
        text = f"SELECT min({TIME}), max({TIME}) FROM {quoted(request.table)} {where}"  # noqa: S608 - as above
        async with self._database.query() as connection:
            row = await connection.fetchrow(text, *values)
        if row is None or row[0] is None:
            return None
        return from_datetime(row[0]), from_datetime(row[1])

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self._running >= MOST_AT_ONCE:
            raise TooManyExportsError(f"{MOST_AT_ONCE} exports are under way")
        self._running += 1
        try:
            connection = await self._database.connect("export")
            try:
                with self._database.errors():
                    await connection.execute("SET statement_timeout = 0")
                    yield connection
            finally:
                await self._database.disconnect(connection)  # what still runs on the server ends with it
        finally:
            self._running -= 1


async def _csv(connection: Connection, request: ExportRequest, write: Write, reached: Reached) -> None:
    async def take(data: bytes) -> None:
        await write(data)
        first, _, _ = data[data.rfind(b"\n", 0, -1) + 1 :].partition(b",")
        if first.isdigit():  # else a text with a line break stands there
            reached(int(first))

    statement, values = request.statement(as_text=True)
    await connection.copy_from_query(
        statement, *values, output=take, format="csv", header=True, timeout=_LONGEST_SECONDS
    )


async def _parquet(
    connection: Connection, request: ExportRequest, pieces: ParquetPieces, write: Write, reached: Reached
) -> None:
    statement, values = request.statement(as_text=False)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cursor = await connection.cursor(statement, *values)
        while records := await cursor.fetch(_ROWS_AT_ONCE):
            data = await pieces.add(records)
            if data:
                await write(data)
            reached(records[-1][0])
    await write(await pieces.finish())
