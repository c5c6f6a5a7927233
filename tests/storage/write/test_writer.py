from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from decahertz.clock import to_datetime
from decahertz.event import Fill, Instrument, InstrumentKind, Order, OrderState, Quote, Side
from decahertz.health import Health
from decahertz.ingest import NotDurableError
from storage.database import Database
from storage.query.instruments import InstrumentDefinition, InstrumentInfo
from storage.query.queries import Queries
from storage.schema.emitters import recently_stored_events
from storage.write.lease import RecorderLease
from tests.storage_examples import (
    CYCLE_NS,
    START_NS,
    Bench,
    arrival,
    book,
    books,
    fill,
    quote,
    quotes,
    until,
    writing,
)


async def test_samples_end_up_in_their_table(bench: Bench) -> None:
    for tick in range(20):
        bench.sample(books(tick, book("a", gaps=tick), book("b", gaps=-tick)))
    await bench.drained()
    rows = await bench.rows(
        "SELECT (extract(epoch FROM time) * 1000000000)::bigint, instrument, gaps FROM book_samples"
        " ORDER BY time, instrument"
    )
    assert bench.writer.samples_stored == 40
    expected = [(START_NS + t * CYCLE_NS, i, g) for t in range(20) for i, g in (("a", t), ("b", -t))]
    assert [tuple(row) for row in rows] == expected


async def test_times_are_kept_to_the_nanosecond(bench: Bench) -> None:
    event = Quote(time_ns=START_NS + 123_456_789, venue="sim", instrument="x", bid=1.0)
    await bench.append(arrival(1, [event]))
    row = (await bench.rows("SELECT time_ns, received_ns, time::text FROM quotes"))[0]
    assert tuple(row) == (START_NS + 123_456_789, START_NS + 1, "2023-11-14 22:13:20.123456+00")


async def test_batches_that_overlap_in_one_transaction_are_stored_once(bench: Bench) -> None:
    receipts = await asyncio.gather(
        *(bench.append(quotes(first, last)) for first, last in [(1, 5), (3, 8), (2, 4), (7, 9)])
    )
    assert await bench.stored_quotes() == list(range(1, 10))
    assert sum(receipt.accepted for receipt in receipts) == 9


async def test_batches_may_arrive_again_and_in_any_order_and_epochs_are_told_apart(bench: Bench) -> None:
    for accepted, duplicates in ((3, 0), (0, 3)):
        receipt = await bench.append(quotes(1, 3))
        assert (receipt.accepted, receipt.duplicates, receipt.durable_sequence) == (accepted, duplicates, 3)
        assert await bench.stored_quotes() == [1, 2, 3]
    for first, last in [(8, 9), (5, 6), (1, 10)]:
        receipt = await bench.append(quotes(first, last))
    assert await bench.stored_quotes() == list(range(1, 11))
    assert (receipt.accepted, receipt.duplicates) == (3, 7)
    assert await bench.value("SELECT sequences::text FROM emitters") == "{[1,11)}"
    for source, epoch in [("a", 1), ("a", 2), ("b", 1)]:
        receipt = await bench.append(quotes(1, 2, source, epoch))
        assert receipt.accepted == 2


async def test_what_was_stored_is_known_after_a_restart_even_without_the_spool(database: Database) -> None:
    async with writing(database) as bench:
        await bench.append(quotes(1, 3))
        await bench.append(quotes(6, 6))
    async with writing(database) as bench:
        assert {key: list(known) for key, known in bench.spool.known().items()} == {
            ("loop", 7): [(1, 3), (6, 6)]
        }
        receipt = await bench.append(quotes(1, 6))
    assert (receipt.accepted, receipt.duplicates) == (2, 4)


async def test_two_pipelines_on_one_database_store_an_event_once(database: Database) -> None:
    lease = RecorderLease(database, "other", uuid.uuid4())
    async with writing(database) as one, writing(database, lease=lease) as other:
        await asyncio.gather(*(bench.append(quotes(1, 200)) for bench in (one, other)))
        assert await one.value("SELECT count(*) FROM quotes") == 200
        accounts = sorted(bench.account("events:loop")[1:] for bench in (one, other))
    assert accounts == [(0, 0, {"duplicate": 200}), (200, 0, {})]


async def test_losses_of_an_emitter_and_events_of_a_feed_are_stored(bench: Bench) -> None:
    for lost in ({"ring_full": 5}, {"ring_full": 3, "too_large": 1}):
        receipt = await bench.append(arrival(1, [], dropped=lost))
    rows = await bench.rows("SELECT source, reason, events FROM emitter_drops ORDER BY reason")
    assert receipt.durable_sequence == 0
    assert [tuple(row) for row in rows] == [("loop", "ring_full", 5), ("loop", "too_large", 1)]
    await bench.spool.enqueue(quotes(1, 4))
    await bench.drained()
    assert await bench.stored_quotes() == [1, 2, 3, 4]


async def test_the_log_tells_refusals_once_while_bad_rows_keep_coming(bench: Bench) -> None:
    bad = Quote(time_ns=START_NS, venue="sim", instrument="x\0y")
    with capture_logs() as logs:
        for sequence in range(1, 9, 2):
            await bench.append(arrival(sequence, [bad]))
            await bench.append(quotes(sequence + 1, sequence + 1))
            await bench.stored_quotes()
    assert [log["event"] for log in logs if log["event"].startswith("rows_refused")] == ["rows_refused"]
    assert bench.writer.status().health is Health.OK


LETTERS = (
    "SELECT stream, kind, reason, source, epoch, sequence, row_time_ns, payload FROM dead_letters ORDER BY id"
)


async def test_an_event_that_fits_no_table_goes_to_the_dead_letters_and_the_rest_goes_on(
    bench: Bench,
) -> None:
    bad = Quote(time_ns=START_NS, venue="sim", instrument="x\0y")
    await asyncio.gather(
        bench.append(quotes(1, 2)),
        bench.append(arrival(3, [quote(3), bad])),
        bench.append(quotes(5, 6)),
    )
    assert await bench.stored_quotes() == [1, 2, 3, 5, 6]
    (letter,) = await bench.rows(LETTERS)
    assert bench.account("events:loop") == (6, 5, 0, {"dead_letter": 1})
    assert bench.counted("storage_dead_letters_total") == 1
    assert (await bench.append(arrival(4, [bad]))).duplicates == 1
    assert tuple(letter)[:7] == (
        *("events:loop", "event", "ValueError: a text with the character NUL"),
        *("loop", 7, 4, START_NS),
    )
    assert msgspec.msgpack.decode(letter["payload"])["instrument"] == "x\0y"


async def test_rows_that_the_database_refuses_are_found_among_the_others(bench: Bench) -> None:
    await bench.rows("ALTER TABLE book_samples ADD CONSTRAINT positive CHECK (gaps >= 0)")
    await bench.rows("ALTER TABLE quotes ADD CONSTRAINT cheap CHECK (bid <> 38)")
    for tick in range(3):
        bench.sample(books(tick, *(book(f"i{n}", gaps=n if (tick, n) != (1, 13) else -1) for n in range(40))))
    await bench.append(quotes(1, 100))
    assert await bench.value("SELECT count(*) FROM book_samples") == 119
    assert await bench.stored_quotes() == [n for n in range(1, 101) if n != 37]
    letters = await bench.rows(LETTERS)
    assert bench.account("samples:book") == (120, 119, 0, {"dead_letter": 1})
    assert bench.account("events:loop") == (100, 99, 0, {"dead_letter": 1})
    by_stream = {letter["stream"]: letter for letter in letters}
    assert len(letters) == len(by_stream) == 2
    assert "positive" in by_stream["samples:book"]["reason"]
    sample = msgspec.msgpack.decode(by_stream["samples:book"]["payload"])
    assert (sample["instrument"], sample["gaps"]) == ("i13", -1)
    assert by_stream["samples:book"]["row_time_ns"] == START_NS + CYCLE_NS
    assert by_stream["events:loop"]["sequence"] == 37


@pytest.mark.parametrize(
    ("damage", "repair", "reason"),
    [
        ("REVOKE INSERT ON quotes FROM recorder", "GRANT INSERT ON quotes TO recorder", "permission denied"),
        ("ALTER TABLE quotes RENAME TO gone", "ALTER TABLE gone RENAME TO quotes", "Undefined"),
    ],
    ids=["right", "table"],
)
async def test_what_is_missing_for_every_row_is_waited_for(
    database: Database, damage: str, repair: str, reason: str
) -> None:
    async with database.session("test") as owner:  # before the role is that of each session
        name = await owner.fetchval("SELECT current_database()")
        await owner.execute(
            "CREATE ROLE recorder; GRANT ALL ON ALL TABLES IN SCHEMA public TO recorder;"
            " GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO recorder;"
            f" ALTER DATABASE {name} SET role = 'recorder'"
        )
        try:
            async with writing(database) as bench:
                await bench.append(quotes(1, 2))
                await owner.execute(damage)
                await bench.spool.append(quotes(3, 4), 10)
                await until(lambda: bench.writer.status().health is Health.DEGRADED)
                assert reason in bench.writer.status().detail
                assert bench.writer.is_database_lost
                await owner.execute(repair)
                await bench.drained()
                assert bench.writer.status().health is Health.OK
                assert bench.account("events:loop") == (4, 4, 0, {})
                assert await owner.fetchval("SELECT count(*) FROM quotes") == 4
                assert await owner.fetchval("SELECT count(*) FROM dead_letters") == 0
        finally:
            await owner.execute(
                f"ALTER DATABASE {name} RESET role; DROP OWNED BY recorder; DROP ROLE recorder"
            )


async def test_a_writer_that_fails_releases_what_it_had_and_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0

    def fail(_: object) -> None:
        nonlocal failures
        failures += 1
        raise KeyError("injected")

    with monkeypatch.context() as patched:
        patched.setattr(bench.writer, "_record", fail)
        await bench.spool.append(quotes(1, 5), 10)
        await until(lambda: failures >= 2)
    await bench.drained()
    assert await bench.stored_quotes() == [1, 2, 3, 4, 5]
    assert bench.account("events:loop") == (5, 5, 0, {})
    assert bench.writer.status().health is Health.OK


async def test_where_not_even_dead_letters_can_be_written_everything_waits(bench: Bench) -> None:
    await bench.rows("ALTER TABLE dead_letters RENAME TO letters")
    await bench.rows("ALTER TABLE book_samples RENAME TO books")
    bench.sample(books(0, book("a"), book("b")))
    await until(lambda: bench.writer.status().health is Health.DEGRADED)
    assert bench.account("samples:book") == (2, 0, 2, {})
    await bench.spool.append(quotes(1, 1), 10)
    await bench.rows("ALTER TABLE books RENAME TO book_samples")
    await bench.drained()
    assert bench.account("samples:book") == (2, 2, 0, {})
    assert bench.account("events:loop") == (1, 1, 0, {})


async def test_stopping_stores_what_is_queued_and_takes_nothing_more(database: Database) -> None:
    async with writing(database) as bench:
        for tick in range(100):
            bench.sample(books(tick))
        await bench.spool.enqueue(quotes(1, 50))
    with pytest.raises(NotDurableError, match="not open"):
        await bench.spool.append(quotes(1, 1), 10)
    await bench.stop()
    assert bench.writer.status().health is Health.FAILED
    assert bench.spool.status().health is Health.FAILED
    async with database.query() as connection:
        assert await connection.fetchval("SELECT count(*) FROM book_samples") == 100
        assert await connection.fetchval("SELECT count(*) FROM quotes") == 50


async def test_the_list_of_instruments_follows_the_market(database: Database) -> None:
    async with writing(database) as bench:
        await bench.append(arrival(1, [quote(5, "b"), quote(3, "a")]))
        await bench.append(arrival(3, [quote(9, "a"), quote(1, "a")]))
    async with database.query() as connection:
        rows = await connection.fetch(
            "SELECT time, venue, instrument, first_ns, last_ns, kind, defined_ns"
            " FROM instruments ORDER BY instrument"
        )
    assert [tuple(row) for row in rows] == [
        (to_datetime(START_NS + 9), "sim", "a", START_NS + 1, START_NS + 9, None, None),
        (to_datetime(START_NS + 5), "sim", "b", START_NS + 5, START_NS + 5, None, None),
    ]


DEFINITION: dict[str, Any] = {
    "kind": InstrumentKind.PERPETUAL,
    "base_currency": "BTC",
    "quote_currency": "USD",
    "settlement_currency": "BTC",
    "multiplier": 10.0,
    "inverse": True,
    "lot_size": None,
}


def defined(offset_ns: int, name: str, tick_size: float) -> Instrument:
    return Instrument(
        time_ns=START_NS + offset_ns,
        venue="sim",
        instrument=name,
        tick_size=tick_size,
        aliases=("XBT", "x"),
        **DEFINITION,
    )


async def test_the_newest_definition_of_an_instrument_counts_in_whatever_order_they_arrive(
    database: Database,
) -> None:
    async with writing(database) as bench:
        await bench.append(arrival(1, [defined(2, "a", 0.2), quote(5, "a"), defined(1, "a", 0.1)]))
        await bench.append(arrival(4, [defined(4, "b", 0.4)]))
        await bench.append(arrival(5, [defined(3, "b", 0.3), quote(1, "a"), quote(2, "c")]))
    definition = InstrumentDefinition(
        defined_ns=START_NS + 2, tick_size=0.2, aliases=["XBT", "x"], **DEFINITION
    )
    other = replace(definition, defined_ns=START_NS + 4, tick_size=0.4)
    assert await Queries(database).instruments() == [
        InstrumentInfo(
            venue="sim",
            instrument="a",
            first_ns=START_NS + 1,
            last_ns=START_NS + 5,
            definition=definition,
        ),
        InstrumentInfo(venue="sim", instrument="b", definition=other),
        InstrumentInfo(venue="sim", instrument="c", first_ns=START_NS + 2, last_ns=START_NS + 2),
    ]
    async with database.query() as connection:
        assert await connection.fetchval("SELECT count(*) FROM instrument_events") == 4


async def test_fills_become_trades_and_orders_have_a_state(bench: Bench) -> None:
    order = Order(
        time_ns=START_NS,
        strategy="trend",
        venue="sim",
        instrument="EUR/USD",
        order_id="o1",
        state=OrderState.FILLED,
        side=Side.BUY,
        quantity=2.0,
    )
    events: list[Order | Fill] = [order, fill(1, Side.BUY, 2.0, 10.0), fill(2, Side.SELL, 2.0, 11.0, fee=0.5)]
    await bench.append(arrival(1, events))
    trades = await bench.rows("SELECT side, quantity, pnl, opened_ns, closed_ns, fills FROM trades")
    orders = await bench.rows("SELECT order_id, state, is_final FROM orders")
    assert [tuple(row) for row in trades] == [("buy", 2.0, 1.5, START_NS + 1, START_NS + 2, 2)]
    assert [tuple(row) for row in orders] == [("o1", "filled", True)]


async def test_what_is_counted_is_what_is_in_the_tables(bench: Bench) -> None:
    assert bench.counted("storage_rows_total", table="quotes") == 0
    bench.sample(books(0, book(mid=float("nan")), book("x")))
    await bench.append(quotes(1, 5))
    await bench.drained()
    assert bench.counted("storage_rows_total", table="quotes") == 5
    assert bench.counted("storage_rows_total", table="book_samples") == 2
    assert bench.counted("storage_not_finite_total", table="book_samples") == 1
    assert bench.counted("storage_queue_rows") == 0
    assert (bench.counted("storage_flush_seconds_count") or 0) >= 1


async def test_the_notes_of_settled_transactions_do_not_pile_up(bench: Bench) -> None:
    """They stay as long as an older state of the spool's file could bring an entry back, and go then."""
    for first in range(1, 3001, 600):
        await asyncio.gather(*(bench.spool.append(quotes(n, n), 10) for n in range(first, first + 600)))
        await bench.drained()
    assert await bench.value("SELECT count(*) FROM stored_batches") < 1_700


async def test_what_a_forgotten_emitter_sends_again_is_counted_and_not_stored_twice(
    database: Database, tmp_path: Path
) -> None:
    async with writing(database, tmp_path) as bench:
        await bench.append(quotes(1, 10))
        assert list(await recently_stored_events(database)) == [("loop", 7)]
        await bench.rows("UPDATE emitters SET time = time - interval '8 days'")
        assert await recently_stored_events(database) == {}
    with closing(sqlite3.connect(tmp_path / "spool.sqlite", isolation_level=None)) as file:
        file.execute("UPDATE emitters SET last_seen_ns = last_seen_ns - 8 * 24 * 3600 * 1000000000")
    async with writing(database, tmp_path) as bench:
        assert bench.spool.known() == {}
        receipt = await bench.append(quotes(5, 12))
        assert receipt.accepted == 8
        assert bench.account("events:loop") == (18, 12, 0, {"duplicate": 6})
        assert await bench.stored_quotes() == list(range(1, 13))
        assert {key: list(taken) for key, taken in (await recently_stored_events(database)).items()} == {
            ("loop", 7): [(1, 12)]
        }
