"""Trades are those of the sorted fills, however the fills come in."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from collectors.strategy.state import StrategyState
from decahertz.accounting import CostMethod
from decahertz.clock import SystemClock
from decahertz.event import Fill, FillKind, Side
from decahertz.executions import FillId, Place, Report, corrected, executions, fill_id
from decahertz.key_budget import KeyBudget
from decahertz.round_trip import OpenRoundTrip, RoundTrip
from storage.database import Database
from storage.query.queries import FillFilter, Queries, RoundTripFilter
from storage.write import round_trips
from storage.write.round_trip_worker import RoundTripWorker
from storage.write.round_trips import fold_due
from tests.properties import examples
from tests.storage_examples import RECORDER, START_NS, Bench, arrival, fill, store, writing

_epochs = itertools.count(1)


@dataclass(frozen=True)
class Sent:
    """A fill with its identity."""

    source: str
    epoch: int
    sequence: int
    fill: Fill

    @property
    def place(self) -> tuple[int, str, int, int]:
        return (self.fill.time_ns, self.source, self.epoch, self.sequence)


def folded(sent: list[Sent]) -> list[RoundTrip]:
    """The trades of each key, by folding its sorted executions; the last closed first."""
    trips: dict[tuple[str, str], OpenRoundTrip] = {}
    trades = []
    for one in executed(sent):
        trip = trips.setdefault((one.account, one.instrument), OpenRoundTrip())
        trade = trip.add(one)
        if trade is not None:
            trades.append(trade)
    return trades[::-1]


def executed(sent: list[Sent]) -> list[Fill]:
    """The executions of one strategy in order."""
    groups: dict[FillId, dict[Place, Fill]] = {}
    for report in sent:
        groups.setdefault(fill_id(report.fill), {})[report.place] = report.fill
    found: list[tuple[Place, Fill]] = []
    for fills in groups.values():
        reports = [Report(place, f.kind, f.side, f.price, f.quantity) for place, f in fills.items()]
        for place, content in executions(reports).items():
            one, other = fills[place], fills[content]
            found.append((place, one if content == place else corrected(one, other, place[0])))
    return [one for _, one in sorted(found, key=lambda placed: placed[0])]


async def stored(database: Database, strategy: str = "trend") -> list[RoundTrip]:
    page = await Queries(database).trades(RoundTripFilter(strategy=strategy), limit=10_000)
    return [
        msgspec.convert({name: one[name] for name in RoundTrip.__struct_fields__}, RoundTrip)
        for one in page.items
    ]


async def test_fills_become_a_trade(bench: Bench) -> None:
    fills = [
        fill(1, Side.BUY, 2.0, 10.0, fee=0.1, risk=2.0),
        fill(2, Side.BUY, 1.0, 13.0, fee=0.1),
        fill(3, Side.SELL, 3.0, 12.0, fee=0.1),
    ]
    await bench.append(arrival(1, fills))
    (trade,) = await stored(bench.database)
    assert trade.side is Side.BUY
    assert (trade.quantity, trade.entry_price, trade.exit_price, trade.fills) == (3.0, 11.0, 12.0, 3)
    assert (trade.pnl, trade.fees, trade.r_multiple) == (2.7, 0.3, 1.35)


async def test_an_open_position_goes_on_after_a_restart(database: Database) -> None:
    async with writing(database) as bench:
        await bench.append(arrival(1, [fill(1, Side.BUY, 1.0, 10.0)]))
        assert await stored(bench.database) == []
    async with writing(database) as bench:
        await bench.append(arrival(2, [fill(2, Side.SELL, 1.0, 11.0)]))
        assert [trade.pnl for trade in await stored(bench.database)] == [1.0]


async def test_a_late_fill_changes_the_trades_after_it_and_no_others(bench: Bench) -> None:
    early = [fill(1, Side.BUY, 1.0, 10.0), fill(2, Side.SELL, 1.0, 11.0)]
    later = [fill(5, Side.BUY, 1.0, 20.0), fill(6, Side.SELL, 1.0, 21.0)]
    await bench.append(arrival(1, early + later))
    before = await stored(bench.database)
    rows = await bench.rows("SELECT ctid::text FROM trades WHERE closed_ns % 1000 = 2")
    await bench.append(arrival(5, [fill(4, Side.SELL, 1.0, 30.0)]))
    after = await stored(bench.database)
    assert [trade.side for trade in before] == [Side.BUY, Side.BUY]
    # Sold first now: bought back by the next fill, and the last one opens anew.
    assert [(trade.side, trade.pnl) for trade in after] == [(Side.SELL, 10.0), (Side.BUY, 1.0)]
    # The trade before the late fill was not even touched.
    assert await bench.rows("SELECT ctid::text FROM trades WHERE closed_ns % 1000 = 2") == rows
    assert await bench.value("SELECT position FROM open_round_trips") == -1.0


async def test_a_late_fill_after_a_turn_starts_from_the_last_flat_point(bench: Bench) -> None:
    in_order = [
        fill(1, Side.BUY, 1.0, 10.0),
        fill(2, Side.SELL, 3.0, 11.0),  # closes the long trade and opens a short one
        fill(6, Side.BUY, 1.0, 8.0),
    ]
    await bench.append(arrival(1, in_order))
    await bench.append(arrival(4, [fill(4, Side.BUY, 1.0, 9.0)]))
    trades = await stored(bench.database)
    assert [(trade.side, trade.quantity, trade.pnl) for trade in trades] == [
        (Side.SELL, 2.0, 5.0),
        (Side.BUY, 1.0, 1.0),
    ]


async def test_a_refused_transaction_leaves_the_trades_as_they_were(bench: Bench) -> None:
    await bench.append(arrival(1, [fill(1, Side.BUY, 1.0, 10.0)]))
    await bench.rows("ALTER TABLE emitter_drops ADD CONSTRAINT few CHECK (events <= 2)")
    await bench.append(arrival(2, [fill(2, Side.SELL, 1.0, 11.0)], dropped={"ring_full": 3}))
    assert await stored(bench.database) == []
    assert bench.account("events:loop")[3] == {"client_ring_full": 3, "dead_letter": 1}
    await bench.append(arrival(3, [fill(3, Side.SELL, 1.0, 12.0)]))
    assert [trade.pnl for trade in await stored(bench.database)] == [2.0]


async def test_money_beyond_all_numbers_makes_no_trade_and_stops_nothing(bench: Bench) -> None:
    for sequence, side, price in [
        (1, Side.BUY, 1e299),
        (2, Side.SELL, 9e298),
        (3, Side.BUY, 10.0),
        (4, Side.SELL, 11.0),
    ]:
        quantity = 1e299 if price > 100 else 1.0
        await bench.append(arrival(sequence, [fill(sequence, side, quantity, price)]))
    assert [trade.pnl for trade in await stored(bench.database)] == [1.0]


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Sent]]:
    """Fills of two instruments from two sources, some repeated, permuted and cut into batches."""
    strategy = f"s{next(_epochs)}"
    count = draw(st.integers(1, 12))
    sent = [
        Sent(
            draw(st.sampled_from(["a", "b"])),
            next(_epochs),  # each an emitter of its own, so that every order of arrival is possible
            1,
            fill(
                draw(st.integers(1, 100)),
                draw(st.sampled_from(Side)),
                float(draw(st.integers(1, 3))),
                float(draw(st.integers(1, 9))),
                strategy=strategy,
                instrument=draw(st.sampled_from("xxxy")),
                order_id=f"o{number}",
                risk=draw(st.sampled_from([None, 2.0])),
                account=draw(st.sampled_from(["", "", "margin"])),
            ),
        )
        for number in range(count)
    ]
    for one in draw(st.lists(st.sampled_from(sent), max_size=6)):
        # Mostly the same report again; also one whose time was set anew, before or after the first.
        time_ns = draw(st.sampled_from([one.fill.time_ns, START_NS + draw(st.integers(1, 100))]))
        kind = draw(st.sampled_from([FillKind.TRADE, FillKind.TRADE, FillKind.BUST, FillKind.CORRECTION]))
        # An id that begins again, or a correction.
        price = one.fill.price + draw(st.sampled_from([0.0, 1.0]))
        again = structs.replace(one.fill, time_ns=time_ns, kind=kind, price=price)
        sent.append(Sent(draw(st.sampled_from(["a", "b"])), next(_epochs), 1, again))
    count = len(sent)
    shuffled = draw(st.permutations(sent))
    if draw(st.booleans()):
        cuts = list(range(1, count))  # one by one
    else:
        cuts = sorted(draw(st.lists(st.integers(0, count), max_size=5)))
    return [shuffled[a:b] for a, b in itertools.pairwise([0, *cuts, count]) if a < b]


@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=deliveries(),
    restart=st.booleans(),
    at_once=st.sampled_from([1, 3, 1000]),
    slices=st.lists(st.integers(0, 3), min_size=30, max_size=30),
)
async def test_any_order_of_arrival_ends_in_the_trades_of_the_sorted_fills(
    bench: Bench,
    batches: list[list[Sent]],
    restart: bool,  # noqa: FBT001 - a drawn value
    at_once: int,
    slices: list[int],
) -> None:
    """However little a transaction folds again, and however much of the rest is done between batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_trips, "_REFOLDED_AT_ONCE", at_once)
        patch.setattr(round_trips, "_CHECKPOINT_FILLS", 4)
        for batch, count in zip(batches, slices, strict=False):
            arrivals = [arrival(1, [one.fill], one.source, one.epoch) for one in batch]
            if restart:  # a writer of its own for each batch
                await store(bench.database, *arrivals)
            else:
                for one in arrivals:
                    await bench.spool.enqueue(one)
                await bench.drained()
            for _ in range(count):
                await fold_some(bench.database)
        while await fold_some(bench.database):
            pass
    everything = [one for batch in batches for one in batch]
    found = await stored(bench.database, everything[0].fill.strategy)
    assert sorted(found, key=_order) == sorted(folded(everything), key=_order)


async def fold_some(database: Database) -> int:
    """One transaction of the worker."""
    async with database.session("test") as connection, connection.transaction():
        return await fold_due(connection, RECORDER, CostMethod.AVERAGE)


async def test_executions_replayed_after_a_restart_count_once(database: Database) -> None:
    fills = [
        fill(1, Side.BUY, 2.0, 10.0),
        fill(2, Side.SELL, 2.0, 11.0),
        fill(3, Side.SELL, 1.0, 12.0),
    ]
    async with writing(database) as bench:
        await bench.append(arrival(1, fills, epoch=1))
        before = await bench.rows("SELECT ctid::text, * FROM trades")
    async with writing(database) as bench:
        await bench.append(arrival(1, fills, epoch=2))
        assert await bench.rows("SELECT ctid::text, * FROM trades") == before
        assert await bench.value("SELECT position FROM open_round_trips") == -1.0
        everything = await Queries(bench.database).fills(FillFilter(), limit=10)
        assert len(everything.items) == 6  # what was reported stays on record


async def test_the_same_ids_elsewhere_are_another_execution(bench: Bench) -> None:
    first = fill(1, Side.BUY, 1.0, 10.0)
    others = [
        structs.replace(first, **{name: "other"})
        for name in ("strategy", "venue", "instrument", "order_id", "fill_id")
    ]
    await bench.append(arrival(1, [first, *others]))
    positions = await bench.rows("SELECT position FROM open_round_trips ORDER BY position")
    assert [row["position"] for row in positions] == [1.0, 1.0, 1.0, 3.0]


async def test_storage_and_the_strategy_collector_count_the_same_executions(bench: Bench) -> None:
    generator = random.Random(11)
    account = StrategyState.appearing("trend", START_NS, KeyBudget("positions", 10, 10))
    original = [
        Sent(
            "loop",
            1,
            number,
            fill(number, generator.choice(list(Side)), float(generator.randint(1, 3)), 10.0 + number % 7),
        )
        for number in range(1, 201)
    ]
    replayed = [replace(one, epoch=2) for one in original[120:]]
    stream = [*original[:160], *replayed[:30], *original[160:], *replayed[30:]]
    for one in stream:
        await bench.spool.enqueue(arrival(one.sequence, [one.fill], one.source, one.epoch))
        account.add_fill(one.fill, one.fill.time_ns, (one.source, one.epoch, one.sequence))
    await bench.drained()
    account.settle()
    trades = await stored(bench.database)
    position = await bench.value("SELECT position FROM open_round_trips")
    (book,) = account.holdings.values()
    assert account.duplicate_fills == len(replayed)
    assert account.statistics.trades == len(trades)
    assert book.trip.position == position
    realised = sum(trade.pnl or 0.0 for trade in trades) + (book.trip.realised() or 0.0)
    assert account.realised == pytest.approx(realised)


def _order(trade: RoundTrip) -> tuple[str, int, str]:
    return trade.instrument, trade.closed_ns, trade.trade_id


async def test_a_long_history_is_folded_anew_in_chunks(bench: Bench) -> None:
    generator = random.Random(5)
    sent = [
        Sent("loop", 7, number, fill(number + 1, side, quantity, 10.0 + number % 7))
        for number in range(1, 3001)
        for side, quantity in [(generator.choice(list(Side)), generator.choice([0.1, 0.2, 0.7]))]
    ]
    late = Sent("late", 1, 1, fill(1, Side.BUY, 0.5, 9.0))
    await bench.append(arrival(1, [one.fill for one in sent]), 20)
    assert await stored(bench.database) == folded(sent)
    await bench.append(arrival(1, [late.fill], "late", 1), 20)
    while await fold_some(bench.database):
        pass
    assert await stored(bench.database) == folded([late, *sent])


async def test_a_very_late_fill_does_not_hold_up_the_writer(database: Database) -> None:
    generator = random.Random(5)
    sent = [
        Sent("loop", 7, n, fill(10 * n, generator.choice(list(Side)), 1.0 + n % 3, 10.0 + n % 7))
        for n in range(1, 3001)
    ]
    late = Sent("late", 1, 1, fill(5, Side.BUY, 0.5, 9.0))
    next_one = Sent("loop", 7, 3001, fill(30_010, Side.SELL, 3.5, 11.0))
    # In the part that is folded again by then, and in the part that is not.
    others = [Sent("late", n, 1, fill(place, Side.BUY, 0.5, 9.0)) for n, place in ((2, 7), (3, 29_995))]
    async with writing(database) as bench:
        await bench.append(arrival(1, [one.fill for one in sent]), 20)
        assert await stored(database) == folded(sent)
        await bench.append(arrival(1, [late.fill], "late", 1))
        folded_again = "SELECT count(*) FROM fills WHERE time_ns <= (SELECT last_ns FROM open_round_trips)"
        assert await bench.value(folded_again) == 1000
        # Until their turn, the former ones stay where they were.
        former = [one for one in folded(sent) if one.closed_ns > late.fill.time_ns + 10_010]
        assert former
        assert (await stored(database))[: len(former)] == former
        for one in (next_one, *others):
            await bench.append(arrival(one.sequence, [one.fill], one.source, one.epoch))
        assert await bench.value(folded_again) == 1001
    worker = RoundTripWorker(database, RECORDER, SystemClock(), lambda: 0.0)  # of the next process
    await worker.run_once()
    assert await stored(database) == folded([late, *sent, next_one, *others])
    async with database.query() as connection:
        due = "SELECT count(*) FROM open_round_trips WHERE behind OR changed_ns IS NOT NULL"
        assert await connection.fetchval(due) == 0
        assert await connection.fetchval("SELECT count(*) FROM round_trip_checkpoints") == 3004 // 256


async def test_a_late_fill_costs_what_is_late_and_not_the_history(bench: Bench) -> None:
    """C14 of the faults: a position that was never flat."""
    count = 2_000
    sent = [Sent("loop", 7, n, fill(10 * n, Side.BUY, 1.0 + n % 2, 10.0)) for n in range(1, count + 1)]
    for start in range(0, count, 500):
        await bench.append(arrival(start + 1, [one.fill for one in sent[start : start + 500]]), 20)
    assert await bench.value("SELECT count(*) FROM round_trip_checkpoints") == count // 256
    before = await bench.rows("SELECT xmin::text, * FROM round_trip_checkpoints ORDER BY last_ns")
    late = fill(10 * count - 5, Side.SELL, 0.5, 11.0)
    await bench.append(arrival(1, [late], "late", 1))
    after = await bench.rows("SELECT xmin::text, * FROM round_trip_checkpoints ORDER BY last_ns")
    assert after == before  # all of them precede it
    assert await bench.value("SELECT uncovered_fills FROM open_round_trips") == count % 256 + 1
    assert await bench.value("SELECT position FROM open_round_trips") == count * 1.5 - 0.5
    # One that precedes some checkpoints replaces those.
    await bench.append(arrival(1, [fill(10 * 700, Side.SELL, 0.5, 11.0)], "late", 2))
    assert await fold_some(bench.database) == 1
    again = await bench.rows("SELECT xmin::text, * FROM round_trip_checkpoints ORDER BY last_ns")
    assert again[:2] == before[:2]
    assert len(again) == len(before)
    assert all(row not in before for row in again[2:])


async def test_a_bust_annuls_a_fill_and_a_correction_changes_it(bench: Bench) -> None:
    opened, closed = fill(1, Side.BUY, 1.0, 10.0), fill(3, Side.SELL, 1.0, 12.0)
    await bench.append(arrival(1, [opened, closed]))
    assert [trade.pnl for trade in await stored(bench.database)] == [2.0]
    correction = structs.replace(closed, time_ns=START_NS + 9, price=11.5, kind=FillKind.CORRECTION)
    await bench.append(arrival(3, [correction]))
    (trade,) = await stored(bench.database)
    assert (trade.pnl, trade.closed_ns) == (1.5, closed.time_ns)
    await bench.append(arrival(4, [structs.replace(closed, time_ns=START_NS + 10, kind=FillKind.BUST)]))
    assert await stored(bench.database) == []
    assert await bench.value("SELECT position FROM open_round_trips") == 1.0


async def test_two_writers_fold_one_after_the_other(database: Database) -> None:
    sent = [
        Sent(source, 1, number, fill(2 * number + (source == "b"), side, 1.0, float(number)))
        for number in range(1, 21)
        for source, side in (("a", Side.BUY), ("b", Side.SELL))
    ]
    async with writing(database) as one, writing(database, lease=one.lease) as other:
        for source, bench in (("a", one), ("b", other)):
            for item in sent:
                if item.source == source:
                    await bench.spool.enqueue(arrival(item.sequence, [item.fill], source, 1))
        await one.drained()
        await other.drained()
        assert await stored(one.database) == folded(sent)
