"""Exports: what was stored comes out again, in little memory, and stops when nobody wants it any more."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
import tracemalloc
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

from decahertz.event import (
    EVENT_TYPES,
    AnyEvent,
    ConnectionState,
    Direction,
    Equity,
    Event,
    Fill,
    Heartbeat,
    Instrument,
    InstrumentKind,
    Log,
    LogLevel,
    News,
    Order,
    OrderState,
    Position,
    Quote,
    Regime,
    Risk,
    Side,
    Signal,
    Tick,
)
from storage.database import Database
from storage.query import export as module
from storage.query import parquet
from storage.query.export import (
    ExportFormat,
    ExportRequest,
    Exports,
    ExportStoppedError,
    TooManyExportsError,
    UnknownColumnError,
    events_request,
    samples_request,
)
from storage.query.parquet import ParquetMissingError
from storage.schema.events import event_columns
from storage.settings import StorageSettings
from tests.storage_examples import (
    BOOK,
    CYCLE_NS,
    RECORDER,
    START_NS,
    Verdict,
    arrival,
    book,
    books,
    until,
    writing,
)
from tests.tables import ensure_tables

MANY = 300_000
WHERE: dict[str, Any] = {"time_ns": START_NS + 1, "venue": "sim", "instrument": "EUR/USD"}
WHO: dict[str, Any] = {**WHERE, "strategy": "trend"}
ONE_OF_EACH: list[AnyEvent] = [
    Quote(**WHERE, bid=0.1, ask=None, bid_size=1e-9, sequence=-5, missed=3),
    Tick(**WHERE, price=1.25, size=0.0, side=Side.SELL, trade_id="a,b"),
    Instrument(**WHERE, kind=InstrumentKind.SPOT, quote_currency="$", multiplier=0.5, aliases=("a,b", "c")),
    Signal(**WHO, signal_id="s", direction=Direction.FLAT, strength=0.3, reason='two\nlines, "quoted"'),
    Order(**WHO, order_id="o", state=OrderState.REJECTED, side=Side.BUY, quantity=2.0, reason="\\N"),
    Fill(**WHO, order_id="o", fill_id="f", side=Side.BUY, price=1.5, quantity=2.0, fee=-0.5),
    Position(**WHO, quantity=-3.5),
    Equity(time_ns=START_NS, strategy="trend", equity=1e6, cash=None),
    Regime(time_ns=START_NS, regime="calm", confidence=0.5),
    Risk(time_ns=START_NS, name="var", value=1.0, limit=0.5, breached=True),
    News(time_ns=START_NS, headline="€", instruments=("A,B", 'C"D'), sentiment=-1.0),
    Log(time_ns=START_NS, component="x", level=LogLevel.WARNING, message="true"),
    Heartbeat(time_ns=START_NS, component="feed", connection=ConnectionState.OPEN),
]
BOTH = pytest.mark.parametrize("form", list(ExportFormat))


async def exported(database: Database, question: ExportRequest, form: ExportFormat) -> bytes:
    pieces: list[bytes] = []

    async def keep(data: bytes) -> None:
        pieces.append(data)

    await Exports(database).run(question, form, keep)
    return b"".join(pieces)


def rows_of(data: bytes, form: ExportFormat, question: ExportRequest) -> list[dict[str, Any]]:
    """The rows of a file, with the types of the question's columns."""
    if form is ExportFormat.PARQUET:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        return rows
    convert: dict[str, Any] = {
        "bigint": int,
        "double precision": float,
        "boolean": lambda text: {"true": True, "false": False}[text],
        "text": str,
    }
    types = {column.name: convert[column.sql_type] for column in question.columns}
    read = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return [{name: types[name](text) if text else None for name, text in row.items()} for row in read]


async def fill_many(database: Database, rows: int = MANY) -> None:
    await ensure_tables(database, [BOOK])
    async with database.query() as connection:
        await connection.execute(
            "INSERT INTO book_samples (time, recorder, venue, instrument, mid, gaps, verdict)"
            " SELECT to_timestamp($1::bigint / 1e9) + n * interval '100 ms',"
            " 'desk', 'sim', n % 9, n, n, 'live'"
            " FROM generate_series(1, $2::bigint) AS n",
            START_NS,
            rows,
        )


async def running_exports(database: Database) -> int:
    async with database.query() as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'decahertz export'"
            " AND datname = current_database()"
        )
    return count


@BOTH
async def test_samples_come_out_as_they_went_in(database: Database, form: ExportFormat) -> None:
    async with writing(database) as bench:
        bench.sample(books(1, book('a,"b"\n', mid=0.1 + 0.2, gaps=2**60, crossed=True)))
        bench.sample(
            books(0, book("b", mid=None, crossed=False, verdict=Verdict.STALE), book("a", mid=1e-300))
        )
    question = samples_request(BOOK)
    rows = rows_of(await exported(database, question, form), form, question)
    first = {"time_ns": START_NS, "recorder": RECORDER, "venue": "sim", "gaps": 0}
    assert rows == [
        {**first, "instrument": "a", "mid": 1e-300, "verdict": "live", "crossed": None},
        {**first, "instrument": "b", "mid": None, "verdict": "stale", "crossed": False},
        {
            "time_ns": START_NS + CYCLE_NS,
            "recorder": RECORDER,
            "venue": "sim",
            "instrument": 'a,"b"\n',
            "mid": 0.1 + 0.2,
            "gaps": 2**60,
            "verdict": "live",
            "crossed": True,
        },
    ]
    columns = "time_ns recorder venue instrument mid gaps verdict crossed"
    assert list(rows[0]) == columns.split()


@BOTH
async def test_events_of_every_type_come_out_as_they_went_in(database: Database, form: ExportFormat) -> None:
    async with writing(database) as bench:
        await bench.append(arrival(1, ONE_OF_EACH), 10.0)
    assert {type(event) for event in ONE_OF_EACH} == set(EVENT_TYPES)
    for sequence, event in enumerate(ONE_OF_EACH, start=1):
        question = events_request(event.table)
        (row,) = rows_of(await exported(database, question, form), form, question)
        assert (row["source"], row["epoch"], row["sequence"]) == ("loop", 7, sequence)
        assert event_in(row, type(event)) == event


def event_in(row: dict[str, Any], event_type: type[Event]) -> AnyEvent:
    values = {one.field: row[one.name] for one in event_columns(event_type)} | {"time_ns": row["time_ns"]}
    for name in ("instruments", "aliases"):
        if isinstance(values.get(name), str):
            values[name] = msgspec.json.decode(values[name])
    event: AnyEvent = msgspec.convert(values, event_type)  # type: ignore[assignment] # one of them
    return event


@BOTH
async def test_fields_keys_and_times_narrow_an_export(database: Database, form: ExportFormat) -> None:
    async with writing(database) as bench:
        for tick in range(6):
            bench.sample(books(tick, *(book(name, gaps=tick) for name in "abc")))
    question = samples_request(
        BOOK,
        ["gaps"],
        {"instrument": ["a", "c"], "venue": ["sim"]},
        START_NS + 2 * CYCLE_NS,
        START_NS + 4 * CYCLE_NS,
    )
    rows = rows_of(await exported(database, question, form), form, question)
    assert [(row["time_ns"], row["instrument"], row["gaps"]) for row in rows] == [
        (START_NS + tick * CYCLE_NS, name, tick) for tick in (2, 3) for name in "ac"
    ]
    assert set(rows[0]) == {"time_ns", "recorder", "venue", "instrument", "gaps"}


async def test_the_times_of_events_are_exact_to_the_nanosecond(database: Database) -> None:
    event = ONE_OF_EACH[0]
    moved = [msgspec.structs.replace(event, time_ns=START_NS + offset) for offset in (0, 1, 2)]
    async with writing(database) as bench:
        await bench.append(arrival(1, moved), 10.0)
    question = events_request(event.table, [], {}, START_NS + 1, START_NS + 2)
    rows = rows_of(await exported(database, question, ExportFormat.CSV), ExportFormat.CSV, question)
    assert [row["time_ns"] for row in rows] == [START_NS + 1]


@BOTH
async def test_nothing_comes_out_as_a_file_with_columns_and_no_rows(
    database: Database, form: ExportFormat
) -> None:
    await ensure_tables(database, [BOOK])
    question = samples_request(BOOK)
    data = await exported(database, question, form)
    assert rows_of(data, form, question) == []
    assert data
    assert await Exports(database).bounds(question) is None


@pytest.mark.parametrize("name", ["nothing", "time", "venue; DROP TABLE quotes"])
def test_a_column_that_is_not_there_is_refused(name: str) -> None:
    narrowed = {name: ["x"]}
    with pytest.raises(UnknownColumnError):
        samples_request(BOOK, [name])
    with pytest.raises(UnknownColumnError):
        samples_request(BOOK, [], narrowed)
    with pytest.raises(UnknownColumnError):
        events_request("news", [name])
    with pytest.raises(UnknownColumnError):
        events_request("news", [], narrowed)


async def test_the_bounds_are_the_times_of_the_first_and_last_row(database: Database) -> None:
    await fill_many(database, 50)
    question = samples_request(BOOK, end_ns=START_NS + 41 * CYCLE_NS)
    assert await Exports(database).bounds(question) == (START_NS + CYCLE_NS, START_NS + 40 * CYCLE_NS)


@BOTH
async def test_memory_does_not_grow_with_the_number_of_rows(
    database: Database, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_OF_A_GROUP", 20_000)
    await fill_many(database)
    question, exports = samples_request(BOOK), Exports(database)
    total = 0

    async def forget(data: bytes) -> None:
        nonlocal total
        total += len(data)

    reached: list[int] = []
    await exports.run(
        samples_request(BOOK, end_ns=START_NS + 100 * CYCLE_NS), form, forget
    )  # imports, caches
    arrow_before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        await exports.run(question, form, forget, reached.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert pyarrow.total_allocated_bytes() - arrow_before < 16 * 2**20
    assert total > MANY * 2
    assert reached[-1] == START_NS + MANY * CYCLE_NS
    assert reached == sorted(reached)


@BOTH
async def test_a_slow_reader_slows_the_query_and_is_not_read_ahead_of(
    database: Database, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_OF_A_GROUP", 20_000)
    await fill_many(database)
    taken = asyncio.Semaphore(0)
    waiting = asyncio.Event()

    async def slow(_: bytes) -> None:
        waiting.set()
        await taken.acquire()

    work = asyncio.create_task(Exports(database).run(samples_request(BOOK), form, slow))
    await waiting.wait()

    async def is_held_up() -> bool:
        async with database.query() as connection:
            state = await connection.fetchval(
                "SELECT coalesce(wait_event, state) FROM pg_stat_activity"
                " WHERE application_name = 'decahertz export' AND datname = current_database()"
            )
        return bool(state == ("ClientWrite" if form is ExportFormat.CSV else "ClientRead"))

    await until(is_held_up)
    assert not work.done()
    for _ in range(10_000):
        taken.release()
    await asyncio.wait_for(work, 30)


@BOTH
async def test_a_reader_that_fails_stops_the_query(database: Database, form: ExportFormat) -> None:
    await fill_many(database)

    async def fail(_: bytes) -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(ExportStoppedError) as stopped:
        await Exports(database).run(samples_request(BOOK), form, fail)
    assert isinstance(stopped.value.__cause__, ConnectionResetError)
    await until(lambda: none_runs(database))


@BOTH
async def test_an_export_that_is_cancelled_stops_the_query(database: Database, form: ExportFormat) -> None:
    await fill_many(database)
    waiting = asyncio.Event()

    async def never(_: bytes) -> None:
        waiting.set()
        await asyncio.Event().wait()

    work = asyncio.create_task(Exports(database).run(samples_request(BOOK), form, never))
    await waiting.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await until(lambda: none_runs(database))


async def none_runs(database: Database) -> bool:
    return await running_exports(database) == 0


async def test_an_export_may_take_longer_than_other_statements(migrated_url: str, database: Database) -> None:
    await fill_many(database)
    hasty = Database(migrated_url, StorageSettings(statement_timeout_seconds=0.2))
    await hasty.open()
    pieces = 0

    async def slow(_: bytes) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            async with database.query() as connection:
                await connection.execute("SELECT pg_sleep(0.5)")

    await Exports(hasty).run(samples_request(BOOK), ExportFormat.CSV, slow)
    await hasty.close()
    assert pieces > 2


async def test_only_some_exports_run_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 1)
    await fill_many(database, 10)
    exports, waiting, go = Exports(database), asyncio.Event(), asyncio.Event()

    async def hold(_: bytes) -> None:
        waiting.set()
        await go.wait()

    async def drop(_: bytes) -> None:
        pass

    first = asyncio.create_task(exports.run(samples_request(BOOK), ExportFormat.CSV, hold))
    await waiting.wait()
    with pytest.raises(TooManyExportsError):
        await exports.run(samples_request(BOOK), ExportFormat.CSV, drop)
    go.set()
    await first
    await exports.run(samples_request(BOOK), ExportFormat.CSV, drop)


async def test_without_pyarrow_parquet_is_refused_and_csv_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_many(database, 10)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ParquetMissingError, match="extra"):
        await exported(database, samples_request(BOOK), ExportFormat.PARQUET)
    assert await exported(database, samples_request(BOOK), ExportFormat.CSV)
