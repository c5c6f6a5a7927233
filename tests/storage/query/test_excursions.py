"""The excursion of a stored round trip is that of its fills at every mid, one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest

from decahertz.clock import CYCLE_NS, NS_PER_SECOND, to_datetime
from decahertz.event import Fill, FillKind, Side
from decahertz.fakes import ManualClock
from decahertz.round_trip import OpenRoundTrip, trade_id
from storage.database import Database
from storage.query.queries import Queries, RoundTripFilter, StoredRoundTrip
from storage.schema.excursions import NO_MIDS, NO_RATE, NOT_YET
from storage.write.round_trip_worker import RoundTripWorker
from tests.storage_examples import RECORDER, START_NS, Bench, arrival, fill

_MARKET = """
CREATE TABLE market_samples (
    time timestamptz, recorder text, venue text, instrument text, mid double precision
)
"""


@pytest.fixture
async def market(database: Database) -> AsyncIterator[Database]:
    """The database with a table for the samples of the market."""
    async with database.query() as connection:
        await connection.execute(_MARKET)
    yield database
    async with database.query() as connection:
        await connection.execute("DROP TABLE market_samples")


async def record(database: Database, mids: Sequence[tuple[int, float]]) -> None:
    rows = [(to_datetime(at), RECORDER, "sim", "EUR/USD", mid) for at, mid in mids]
    async with database.query() as connection:
        await connection.copy_records_to_table("market_samples", records=rows)


async def details(database: Database) -> list[StoredRoundTrip]:
    """All round trips, the first one first; as the worker stores them they are what a query computes."""
    queries = Queries(database)
    page = await queries.trades(RoundTripFilter(), limit=1000)
    assert {row["excursion_reason"] for row in page.items} == {NOT_YET}
    found = [await queries.trade(row["trade_id"]) for row in page.items]
    worker = RoundTripWorker(database, RECORDER, ManualClock(at(1_000_000)), lambda: 0.0)
    assert await worker.run_once() == len(found)
    page = await queries.trades(RoundTripFilter(), limit=1000)
    names = ("trade_id", "mae", "mfe", "mids", "excursion_reason")
    stored = [tuple(row[name] for name in names) for row in page.items]
    assert stored == [tuple(getattr(one, name) for name in names) for one in found]
    return [one for one in found[::-1] if one is not None]


def at(seconds: float) -> int:
    return START_NS + round(seconds * NS_PER_SECOND)


async def test_each_interval_counts_with_its_position_and_nothing_outside(
    bench: Bench, market: Database
) -> None:
    sides = [Side.BUY, Side.BUY, Side.SELL, Side.BUY]
    numbers = [(1, 2.0, 100.0), (3, 1.0, 110.0), (5, 4.0, 120.0), (8, 1.0, 115.0)]
    fills = [
        fill(n, side, quantity, price, time_ns=at(seconds), fee=float(n == 0))
        for n, (side, (seconds, quantity, price)) in enumerate(zip(sides, numbers, strict=True))
    ]
    # A fill that is annulled after the close was never part of it.
    wrong = fill(9, Side.BUY, 100.0, 100.0, time_ns=at(2))
    bust = fill(9, Side.BUY, 100.0, 100.0, time_ns=at(9), kind=FillKind.BUST)
    await bench.append(arrival(1, [*fills, wrong, bust]))
    seconds = (0.5, 1.1, 2.0, 3.5, 4.9, 5.5, 7.0, 8.5)
    await record(market, list(zip(map(at, seconds), (50.0, 90, 105, 80, 130, 125, 100, 10), strict=True)))
    bought, sold = await details(market)
    assert (bought.mae, bought.mfe, bought.mids, bought.excursion_reason) == (-71.0, 79.0, 4, None)
    assert (sold.mae, sold.mfe, sold.mids, sold.held_seconds) == (-5.0, 20.0, 2, 3.0)
    assert (sold.side, sold.source, sold.regime) == (Side.SELL, "loop", None)


async def test_without_mids_or_a_rate_there_is_a_reason(bench: Bench, market: Database) -> None:
    fills = [fill(1, Side.BUY, 1.0, 10.0, time_ns=at(1)), fill(2, Side.SELL, 1.0, 11.0, time_ns=at(2))]
    foreign = [
        fill(3, Side.BUY, 1.0, 10.0, time_ns=at(3), currency="JPY"),
        fill(4, Side.SELL, 1.0, 11.0, time_ns=at(4), currency="JPY"),
    ]
    await bench.append(arrival(1, [*fills, *foreign]))
    await record(market, [(at(3.5), 12.0)])
    one, other = await details(market)
    assert (one.mae, one.mfe, one.mids, one.excursion_reason) == (None, None, 0, NO_MIDS)
    assert (other.mae, other.mfe, other.excursion_reason) == (None, None, NO_RATE)


async def test_it_waits_for_the_samples_and_a_late_fill_has_it_computed_again(
    bench: Bench, market: Database
) -> None:
    fills = [fill(1, Side.BUY, 1.0, 10.0, time_ns=at(1)), fill(2, Side.SELL, 1.0, 11.0, time_ns=at(20))]
    await bench.append(arrival(1, fills))
    await record(market, [(at(2), 8.0), (at(6), 13.0)])
    behind = 5.0
    worker = RoundTripWorker(market, RECORDER, ManualClock(at(25)), lambda: behind)
    assert await worker.run_once() == 0  # samples of its last seconds may be in the spool
    behind = 2.0
    changed: list[str] = []
    worker.on_stored = changed.extend
    assert (await worker.run_once(), changed) == (1, ["trades"])
    found = "SELECT mae, mfe, mids, excursion_due_ns FROM trades"
    assert [tuple(row) for row in await bench.rows(found)] == [(-2.0, 3.0, 2, None)]
    assert await worker.run_once() == 0
    await bench.append(arrival(2, [fill(3, Side.BUY, 1.0, 9.0, time_ns=at(5))], epoch=2))
    await bench.append(arrival(2, [fill(4, Side.SELL, 1.0, 11.0, time_ns=at(20))], epoch=3))
    assert await worker.run_once() == 1
    assert [tuple(row) for row in await bench.rows(found)] == [(-2.0, 7.0, 2, None)]


async def test_many_round_trips_have_the_extremes_of_all_their_cycles(bench: Bench, market: Database) -> None:
    random = Random(12)
    fills: list[Fill] = []
    position = 0.0
    for number in range(600):  # two checkpoints of the fold
        quantity = float(random.randint(1, 3))
        side = Side.SELL if (position > 0) == (random.random() < 0.8) else Side.BUY
        position += quantity if side is Side.BUY else -quantity
        time_ns = at(1 + number * 0.37)
        fills.append(fill(number, side, quantity, 90.0 + random.randint(0, 20), time_ns=time_ns, fee=0.25))
    mids = [(START_NS + n * CYCLE_NS, 90.0 + random.random() * 20) for n in range(2_300)]
    await bench.append(arrival(1, fills))
    await record(market, mids)
    expected: dict[str, list[float]] = {}
    trip, place = OpenRoundTrip(), 0
    for time_ns, mid in mids:
        while place < len(fills) and fills[place].time_ns <= time_ns:
            trip.book(fills[place])
            place += 1
        realised, unrealised = trip.realised(), trip.unrealised(mid)
        if trip.opening is not None:
            assert realised is not None
            assert unrealised is not None
            expected.setdefault(trade_id(trip.opening), []).append(realised + unrealised)
    found = await details(market)
    assert len(found) > 50
    for one in found:
        pnls = expected.get(one.trade_id, [])
        assert one.mids == len(pnls)
        assert one.mae == (pytest.approx(min(pnls)) if pnls else None)
        assert one.mfe == (pytest.approx(max(pnls)) if pnls else None)
