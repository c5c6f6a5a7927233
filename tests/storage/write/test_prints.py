"""Prints are stored once, whatever source they came from."""

from __future__ import annotations

import asyncio

import pytest

from decahertz.bar import Bar
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import Tick
from storage.database import Database
from storage.entry import entry_of
from storage.query.bars import BarFilter
from storage.query.queries import Queries
from storage.write.result import DUPLICATE
from storage.write.stored_rows import range_groups
from storage.write.transaction import EntryWriter
from tests.storage_examples import START_NS, arrival, store

DAY_NS = 86_400 * NS_PER_SECOND


def tick(trade_id: str | None, time_ns: int = START_NS, price: float = 1.0, venue: str = "sim") -> Tick:
    return Tick(time_ns=time_ns, venue=venue, instrument="EUR/USD", price=price, size=1.0, trade_id=trade_id)


async def stored(database: Database) -> list[tuple[str, str]]:
    rows = await database.fetch("SELECT source, trade_id FROM ticks ORDER BY time_ns, trade_id, source")
    return [tuple(row) for row in rows]


async def bars_of(database: Database, width_ns: int) -> list[Bar]:
    """The newest first."""
    which = BarFilter(instrument="EUR/USD", timeframe_ns=width_ns)
    return (await Queries(database).bars(which, limit=9)).items


async def test_a_print_of_two_sources_is_stored_once_and_counted_as_a_duplicate(database: Database) -> None:
    await store(database, arrival(1, [tick(name) for name in "132"], source="feed-coinbase"))
    (ack,) = await store(database, arrival(1, [tick(name) for name in "52343"], source="capture"))
    assert ack.stored == 2
    assert ack.dropped == {DUPLICATE: 3}
    assert await stored(database) == [
        ("feed-coinbase", "1"),
        ("feed-coinbase", "2"),
        ("feed-coinbase", "3"),
        ("capture", "4"),
        ("capture", "5"),
    ]
    (bar,) = (
        await Queries(database).bars(BarFilter(instrument="EUR/USD", timeframe_ns=DAY_NS), limit=9)
    ).items
    assert (bar.trades, bar.volume) == (5, 5.0)


async def test_sources_round_the_time_of_a_print_differently(database: Database) -> None:
    await store(database, arrival(1, [tick("1", START_NS + 999_999_999)], source="a"))
    await store(database, arrival(1, [tick("1", START_NS)], source="b"))
    assert len(await stored(database)) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(tick("1", START_NS + DAY_NS), id="ids that begin again every day"),
        pytest.param(tick("1", venue="other"), id="another venue"),
        pytest.param(tick("01"), id="an id is a text"),
    ],
)
async def test_another_print_is_stored(database: Database, other: Tick) -> None:
    await store(database, arrival(1, [tick("1")], source="a"))
    await store(database, arrival(1, [other], source="b"))
    assert len(await stored(database)) == 2


async def test_prints_without_an_id_are_all_stored(database: Database) -> None:
    await store(database, arrival(1, [tick(None), tick(None)], source="a"))
    await store(database, arrival(1, [tick(None)], source="b"))
    assert len(await stored(database)) == 3


async def test_every_recorder_has_all_prints_that_it_was_sent(database: Database) -> None:
    for recorder in ("paris", "tokyo"):
        writer = EntryWriter(database, recorder, SystemClock())
        async with database.query() as connection:
            for source in ("a", "b"):
                await writer.write(connection, [entry_of(arrival(1, [tick("1")], source=source + recorder))])
    assert len(await stored(database)) == 2


async def test_writers_of_one_venue_wait_for_each_other(database: Database) -> None:
    venues = [f"venue {number}" for number in range(20)]
    prints = [tick(str(number), venue=venue) for venue in venues for number in range(10)]
    orders = (prints, prints[::-1])
    acks = await asyncio.gather(
        *(
            store(database, arrival(1, prints, source=f"source {number}"))
            for number, prints in enumerate(orders * 3)
        )
    )
    assert sum(ack.stored for (ack,) in acks) == len(prints)
    assert len(await stored(database)) == len(prints)


async def test_prints_over_many_days_are_recognised(database: Database) -> None:
    prints = [tick(str(number), START_NS + number * DAY_NS) for number in range(0, 2_000, 7)]
    await store(database, arrival(1, prints, source="a"))
    (ack,) = await store(database, arrival(1, prints[::-1], source="b"))
    assert ack.dropped == {DUPLICATE: len(prints)}


def test_a_query_spans_only_the_days_that_have_prints() -> None:
    days = [0, 1, 1, 2, 500, 501, *range(1_000, 1_100)]
    groups = list(range_groups([tick(None, START_NS + day * DAY_NS) for day in reversed(days)]))
    spans = [(max(high for *_, high in group) - group[0][2]) // DAY_NS for group in groups]
    assert spans[:2] == [2, 1]
    assert max(spans) <= 30
    assert sum(map(len, groups)) == len(days) - 1  # the two of day 1 are one range


async def test_bars_hold_a_print_that_arrived_late_although_the_writer_was_killed(database: Database) -> None:
    writer = EntryWriter(database, "desk", SystemClock())
    async with database.query() as connection:
        late = [tick("2", START_NS + 100 * NS_PER_SECOND, 2.0)], [tick("1", START_NS + 50 * NS_PER_SECOND)]
        for number, ticks in enumerate(late, start=1):
            await writer.write(connection, [entry_of(arrival(number, ticks))])
    # Without writer.finish(): that is where a killed process ends.
    bars = (
        await Queries(database).bars(BarFilter(instrument="EUR/USD", timeframe_ns=NS_PER_SECOND), limit=9)
    ).items
    assert [bar.close for bar in bars] == [2.0, 1.0]


async def test_ticks_of_one_time_are_in_the_order_of_their_ids(database: Database) -> None:
    prints = [tick(str(number), price=float(number)) for number in (10, 9, 8)]
    await store(database, arrival(1, prints))
    (bar,) = (
        await Queries(database).bars(BarFilter(instrument="EUR/USD", timeframe_ns=DAY_NS), limit=9)
    ).items
    assert (bar.open, bar.close) == (8.0, 10.0)
