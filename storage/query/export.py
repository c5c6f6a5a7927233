"""Exports samples and events as CSV or Parquet, any number of rows in constant memory.

PostgreSQL itself writes the CSV (``COPY … TO``); Parquet is built from a cursor's rows, one row group at a
time. Nothing is read from the server before the previous piece was written, so a slow reader slows the query
and does not fill memory. Rows come in order of time.

Every export begins with ``time_ns`` and ``recorder``. Values are exact: numbers keep all their digits; in CSV
a null is an empty field and an empty text is ``""``, booleans are ``true`` and ``false``, a list is JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from decahertz.clock import from_datetime, to_datetime
from decahertz.event import EVENT_BY_TABLE, Event
from decahertz.sample import SampleSchema
from storage.database import within
from storage.query.export_format import ExportFormat
from storage.query.history.raw_samples import MICROSECONDS, key_conditions
from storage.query.parquet import ParquetPieces
from storage.schema.events import event_columns, rows_between
from storage.schema.samples import (
    RECORDER,
    TIME,
    key_columns,
    packed_of,
    quoted,
    recent_of,
    sql_type_of,
    table_of,
)
from storage.tiers.plain.packed import PackedTable, has_packed, packed_table
from storage.tiers.plain.partitions import Partitioned, is_partitioned, stored_range

if TYPE_CHECKING:
    from storage.database import Connection, Database

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Writes the next piece; returns when there is room for another."""
Reached: TypeAlias = Callable[[int], None]
"""Called with the time of the newest row that was written, in nanoseconds."""

_ROWS_AT_ONCE: Final = 5_000
_LONGEST_SECONDS: Final = 7 * 86_400.0
_LATEST_NS: Final = 2**63 - 1
_MICROSECOND_NS: Final = 1000
_TEXT: Final = "text"


class TooManyExportsError(RuntimeError):
    """Raised when the limit of concurrent exports is reached."""


class ExportStoppedError(RuntimeError):
    """Raised when an export could not be written; see its cause."""


class UnknownColumnError(ValueError):
    """Raised for an unknown column to export or to filter by."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        """``known``: the names that exist."""
        super().__init__(f"{name!r} is not known; known are: {', '.join(sorted(known))}")
        self.name = name


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an export."""

    name: str
    sql_type: str
    """``bigint``, ``double precision``, ``boolean`` or ``text``."""
    expression: str = ""
    """SQL to select it, if not just its name."""

    def selected(self, *, as_text: bool) -> str:
        """Its item in ``SELECT``; ``as_text`` for CSV."""
        expression = self.expression or quoted(self.name)
        if as_text and self.sql_type == "boolean":
            expression = f"({expression})::text"
        return f"{expression} AS {quoted(self.name)}"


CYCLE: Final = ExportColumn("time_ns", "bigint", f"{MICROSECONDS.format(TIME)} * 1000")
"""The cycle of a sample, which is stored in microseconds."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The rows and columns to export. See :func:`samples_request` and :func:`events_request`."""

    table: str
    columns: tuple[ExportColumn, ...]
    key_filter: Mapping[str, Sequence[str]] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = _LATEST_NS
    order: tuple[str, ...] = (TIME,)
    packed: PackedTable | None = None
    """The samples as a database that packs them stores them; ``None``: events."""
    exact: bool = False
    """Whether the table has the exact ``time_ns`` besides ``time``, which is rounded down."""

    def slices(self, width_ns: int) -> Iterator[ExportRequest]:
        """The same rows as several requests, one after the other, so that PostgreSQL sorts fewer at once."""
        for start_ns in range(self.start_ns, self.end_ns, width_ns):
            yield replace(self, start_ns=start_ns, end_ns=min(start_ns + width_ns, self.end_ns))

    def statement(self, *, as_text: bool, packed: bool = False) -> tuple[str, list[Any]]:
        """The SQL and its parameters. ``packed``: the database packs samples that are old enough."""
        where, values = self.condition(self.key_filter)
        selected = ", ".join(column.selected(as_text=as_text) for column in self.columns)
        order = ", ".join(quoted(name) for name in self.order)
        source = quoted(self.table)
        if self.exact:
            source = rows_between(EVENT_BY_TABLE[self.table], "$1", "$2")
        if packed and self.packed is not None:
            names = [column.name for column in self.columns if not column.expression]
            minutes = self.packed.by_minute("$1::timestamptz", "$2::timestamptz", [TIME, *names])
            source, order = f"({minutes}) AS samples", f"_minute, {order}"
        # The names are those of declarations, quoted; all values are parameters.
        return f"SELECT {selected} FROM {source} {where} ORDER BY {order}", values  # noqa: S608

    def condition(self, key_filter: Mapping[str, Sequence[str]]) -> tuple[str, list[Any]]:
        """The ``WHERE`` clause on time and keys, and its parameters."""
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
    """Samples of a collector in the range: time, recorder, key, and the fields (none named: all).

    ``key_filter`` restricts the recorder and the key.

    Raises :class:`UnknownColumnError`.
    """
    metrics = {metric.name: ExportColumn(metric.name, sql_type_of(metric)) for metric in schema.metrics}
    keys = tuple(ExportColumn(name, _TEXT) for name in key_columns(schema))
    _check(key_filter or {}, key_columns(schema))
    columns = (CYCLE, *keys, *_chosen(metrics, fields))
    order = (TIME, *key_columns(schema))
    packed = packed_table(schema)
    return ExportRequest(table_of(schema), columns, key_filter or {}, start_ns, end_ns, order, packed)


def events_request(
    table: str,
    fields: Sequence[str] = (),
    key_filter: Mapping[str, Sequence[str]] | None = None,
    start_ns: int = 0,
    end_ns: int = _LATEST_NS,
) -> ExportRequest:
    """Events of a table in the range: time, recorder, and the columns (none named: all).

    ``key_filter`` restricts any text column. Raises :class:`UnknownColumnError`.
    """
    event_type = EVENT_BY_TABLE[table]
    columns = _event_columns(event_type)
    texts = [column.name for column in columns.values() if column.sql_type == _TEXT and not column.expression]
    _check(key_filter or {}, [RECORDER, *texts])
    time, recorder = ExportColumn("time_ns", "bigint"), ExportColumn(RECORDER, _TEXT)
    order = ("time", "time_ns", "source", "epoch", "sequence")
    chosen = (time, recorder, *_chosen(columns, fields))
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
    """Runs a limited number of exports at once, each on a connection of its own."""

    def __init__(self, database: Database, *, most_at_once: int = 4) -> None:
        self._database = database
        self._most_at_once = most_at_once
        self._running = 0

    async def run(
        self,
        request: ExportRequest,
        form: ExportFormat,
        write: Write,
        reached: Reached = lambda _: None,
        *,
        slice_ns: int = _LATEST_NS,
    ) -> int:
        """Writes all rows; returns their number. Cancelling it, or an error of ``write``, stops the query.

        A Parquet file is read from one snapshot, in slices of ``slice_ns``.

        Raises :class:`TooManyExportsError`, :class:`~storage.query.parquet.ParquetMissingError`,
        :class:`~storage.database.DatabaseUnavailableError` and, for what ``write`` raised,
        :class:`ExportStoppedError`.
        """

        async def guarded(data: bytes) -> None:
            try:
                await write(data)
            except Exception as error:  # it must not look like an error of the database
                raise ExportStoppedError from error

        pieces: ParquetPieces | None = None
        if form is ExportFormat.PARQUET:  # the first time it loads a large library
            columns = {column.name: column.sql_type for column in request.columns}
            pieces = await asyncio.to_thread(ParquetPieces, columns)
        async with self._connection() as connection:
            packed = request.packed is not None and await has_packed(connection, request.table)
            if pieces is None:
                statement, values = request.statement(as_text=True, packed=packed)
                return await _csv(connection, statement, values, guarded, reached)
            slices = [one.statement(as_text=False, packed=packed) for one in request.slices(slice_ns)]
            return await _parquet(connection, slices, pieces, guarded, reached)

    async def bounds(self, request: ExportRequest) -> tuple[int, int] | None:
        """The times of the first and last row of the table in the range, of any key.

        Of packed samples, the starts of their minutes; of events in partitions, the bounds of these.
        """
        where, values = request.condition({})
        tables = [request.table]
        times: list[datetime] = []
        async with self._database.query() as connection:
            if request.packed is not None and await has_packed(connection, request.table):
                tables = [request.packed.recent.name, request.packed.packed.name]
            elif request.packed is None:
                stored = [request.table, recent_of(request.table), packed_of(request.table)]
                for table in stored:
                    if await is_partitioned(connection, table):
                        times += await stored_range(connection, Partitioned(table), *values[:2]) or ()
                        tables = []
            for table in tables:
                text = f"SELECT min({TIME}), max({TIME}) FROM {quoted(table)} {where}"  # noqa: S608 - as above
                row = await connection.fetchrow(text, *values)
                times += [time for time in row or () if time is not None]
        return (from_datetime(min(times)), from_datetime(max(times))) if times else None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self._running >= self._most_at_once:
            raise TooManyExportsError(f"{self._running} exports are running already (storage.max_exports)")
        self._running += 1
        try:
            connection = await within(
                self._database.settings.read_timeout_seconds,
                self._connected(),
                lambda connection: connection.terminate(),
            )
            try:
                with self._database.errors():
                    yield connection
            finally:
                await self._database.disconnect(connection)  # it ends a query on the server
        finally:
            self._running -= 1

    async def _connected(self) -> Connection:
        connection = await self._database.connect("export")
        try:
            with self._database.errors():
                await self._database.lift_statement_timeout(connection)
        except BaseException:
            await self._database.disconnect(connection)
            raise
        return connection


async def _csv(
    connection: Connection, statement: str, values: Sequence[Any], write: Write, reached: Reached
) -> int:
    async def take(data: bytes) -> None:
        await write(data)
        first, _, _ = data[data.rfind(b"\n", 0, -1) + 1 :].partition(b",")
        if first.isdigit():  # else the line is part of a text with line breaks
            reached(int(first))

    done = await connection.copy_from_query(
        statement, *values, output=take, format="csv", header=True, timeout=_LONGEST_SECONDS
    )
    return int(done.rpartition(" ")[2])  # COPY 123


async def _parquet(
    connection: Connection,
    slices: Sequence[tuple[str, Sequence[Any]]],
    pieces: ParquetPieces,
    write: Write,
    reached: Reached,
) -> int:
    rows = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for statement, values in slices:
            cursor = await connection.cursor(statement, *values)
            while records := await cursor.fetch(_ROWS_AT_ONCE):
                data = await pieces.add(records)
                if data:
                    await write(data)
                rows += len(records)
                reached(records[-1][0])
    await write(await pieces.finish())
    return rows
