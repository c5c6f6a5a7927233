"""Exports: what was stored comes out again."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from decahertz.event import (
    EVENT_TYPES,
    AnyEvent,
    Cash,
    CashKind,
    ConnectionState,
    Direction,
    Equity,
    Event,
    Fill,
    Gap,
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
from storage.query.export import (
    Exports,
    TooManyExportsError,
    UnknownColumnError,
    events_request,
    samples_request,
)
from storage.query.export_format import ExportFormat
from storage.query.parquet import ParquetMissingError
from storage.schema.events import event_columns
from tests.storage.query.exports import BOTH, SlowReader, exported, fill_books, rows_of
from tests.storage_examples import BOOK, CYCLE_NS, RECORDER, START_NS, Verdict, arrival, book, books, store

WHERE: dict[str, Any] = {"time_ns": START_NS + 1, "venue": "sim", "instrument": "EUR/USD"}
WHO: dict[str, Any] = {**WHERE, "strategy": "trend"}
ONE_OF_EACH: list[AnyEvent] = [
    Quote(**WHERE, bid=0.1, ask=None, bid_size=1e-9, sequence=-5, missed=3),
    Tick(**WHERE, price=1.25, size=0.0, side=Side.SELL, trade_id="a,b"),
    Gap(**WHERE, numbering="ticks", from_sequence=-(2**63), to_sequence=2, from_ns=1, to_ns=2, missing=2),
    Instrument(**WHERE, kind=InstrumentKind.SPOT, quote_currency="$", multiplier=0.5, aliases=("a,b", "c")),
    Signal(**WHO, signal_id="s", direction=Direction.FLAT, strength=0.3, reason='two\nlines, "quoted"'),
    Order(**WHO, order_id="o", state=OrderState.REJECTED, side=Side.BUY, quantity=2.0, reason="\\N"),
    Fill(**WHO, order_id="o", fill_id="f", side=Side.BUY, price=1.5, quantity=2.0, fee=-0.5),
    Position(**WHO, quantity=-3.5),
    Cash(time_ns=START_NS, strategy="trend", cash_id="c", kind=CashKind.FUNDING, amount=-0.5, rate=1.1),
    Equity(time_ns=START_NS, strategy="trend", equity=1e6, cash=None),
    Regime(time_ns=START_NS, regime="calm", confidence=0.5),
    Risk(time_ns=START_NS, name="var", value=1.0, limit=0.5, breached=True),
    News(time_ns=START_NS, headline="€", instruments=("A,B", 'C"D'), sentiment=-1.0),
    Log(time_ns=START_NS, component="x", level=LogLevel.WARNING, message="true"),
    Heartbeat(time_ns=START_NS, component="feed", connection=ConnectionState.OPEN),
]


@BOTH
async def test_samples_come_out_as_they_went_in(database: Database, form: ExportFormat) -> None:
    await store(
        database,
        books(1, book('a,"b"\n', mid=0.1 + 0.2, gaps=2**60, crossed=True)),
        books(0, book("b", mid=None, crossed=False, verdict=Verdict.STALE), book("a", mid=1e-300)),
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
    await store(database, arrival(1, ONE_OF_EACH))
    assert {type(event) for event in ONE_OF_EACH} == set(EVENT_TYPES)
    for sequence, event in enumerate(ONE_OF_EACH, start=1):
        question = events_request(event.table)
        (row,) = rows_of(await exported(database, question, form), form, question)
        assert (row["source"], row["epoch"], row["sequence"]) == ("loop", 7, sequence)
        assert event_in(row, type(event)) == event


def event_in(row: dict[str, Any], event_type: type[Event]) -> AnyEvent:
    values = {one.field: row[one.name] for one in event_columns(event_type)} | {"time_ns": row["time_ns"]}
    if "account" in values:
        values["account"] = values["account"] or ""  # CSV does not tell the empty text from null
    for name in ("instruments", "aliases"):
        if isinstance(values.get(name), str):
            values[name] = msgspec.json.decode(values[name])
    event: AnyEvent = msgspec.convert(values, event_type)  # type: ignore[assignment] # one of them
    return event


@BOTH
async def test_fields_keys_and_times_narrow_an_export(database: Database, form: ExportFormat) -> None:
    ticks = (books(tick, *(book(name, gaps=tick) for name in "abc")) for tick in range(6))
    await store(database, *ticks)
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
    await store(database, arrival(1, moved))
    question = events_request(event.table, [], {}, START_NS + 1, START_NS + 2)
    rows = rows_of(await exported(database, question, ExportFormat.CSV), ExportFormat.CSV, question)
    assert [row["time_ns"] for row in rows] == [START_NS + 1]


@BOTH
async def test_nothing_comes_out_as_a_file_with_columns_and_no_rows(
    database: Database, form: ExportFormat
) -> None:
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
    await fill_books(database, 50)
    question = samples_request(BOOK, end_ns=START_NS + 41 * CYCLE_NS)
    assert await Exports(database).bounds(question) == (START_NS + CYCLE_NS, START_NS + 40 * CYCLE_NS)


async def test_only_some_exports_run_at_once(database: Database) -> None:
    await fill_books(database, 10)
    exports, reader = Exports(database, most_at_once=1), SlowReader()
    work = asyncio.create_task(exports.run(samples_request(BOOK), ExportFormat.CSV, reader))
    await reader.waiting.wait()
    with pytest.raises(TooManyExportsError):
        await exports.run(samples_request(BOOK), ExportFormat.CSV, reader)
    reader.go.set()
    await work
    await exports.run(samples_request(BOOK), ExportFormat.CSV, reader)


async def test_without_pyarrow_parquet_is_refused_and_csv_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_books(database, 10)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ParquetMissingError, match="extra"):
        await exported(database, samples_request(BOOK), ExportFormat.PARQUET)
    assert await exported(database, samples_request(BOOK), ExportFormat.CSV)
