from __future__ import annotations

import itertools
from contextlib import aclosing
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from decahertz.clock import CYCLE_NS, SystemClock
from decahertz.event import (
    EVENT_TYPES,
    AnyEvent,
    Arrival,
    EventBatch,
    Fill,
    Order,
    Position,
    Quote,
    Side,
    Tick,
)
from storage.database import Database
from storage.query.event_history import EventHistory, newest_sample_ns
from storage.schema.emitters import recently_stored_events
from tests.event_examples import events
from tests.properties import examples
from tests.storage_examples import (
    BOOK,
    MACHINE,
    RECORDER,
    START_NS,
    arrival,
    books,
    fill,
    opened_spool,
    quote,
    quotes,
    store,
    writing,
)

_epochs = itertools.count(1)


async def collected(
    database: Database, types: tuple[type, ...] = EVENT_TYPES, since_ns: int = 0
) -> list[tuple[AnyEvent, int]]:
    """The events with their times of receipt."""
    return [
        (event, received_ns)
        async for event, received_ns, _ in EventHistory(database, RECORDER)(types, since_ns)
    ]


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given_events=st.lists(events, min_size=1, max_size=12))
async def test_every_event_comes_back_as_it_was_and_in_order(
    database: Database, given_events: list[AnyEvent]
) -> None:
    since_ns = START_NS + next(_epochs) * 1_000_000
    given_events = [
        # A print that is stored already is no second one, from whatever source it comes.
        structs.replace(event, trade_id=f"{since_ns}-{number}") if isinstance(event, Tick) else event
        for number, event in enumerate(given_events)
    ]
    batch = EventBatch(source="loop", epoch=since_ns, first_sequence=1, events=tuple(given_events))
    (ack,) = await store(database, Arrival(batch=batch, received_ns=since_ns))
    assert ack.stored == len(given_events)
    assert await collected(database, since_ns=since_ns) == [(event, since_ns) for event in given_events]


async def test_only_the_types_asked_for_and_from_then_on(database: Database) -> None:
    await store(database, arrival(1, [quote(1), fill(2, Side.BUY, 1.0, 1.0)]))
    await store(database, arrival(3, [quote(3), fill(4, Side.SELL, 1.0, 1.0)]))
    found = await collected(database, (Fill, Order, Position), START_NS + 2)
    assert found == [(fill(4, Side.SELL, 1.0, 1.0), START_NS + 3)]


async def test_a_long_history_comes_in_the_order_of_receipt(database: Database) -> None:
    for first in (2001, 1, 4001):  # the order of storing is not the order of receipt
        await store(database, quotes(first, first + 1999, "loop"))
    found = await collected(database, (Quote,))
    assert [event.time_ns - START_NS for event, _ in found] == list(range(1, 6001))


async def test_whoever_stops_reading_early_leaves_the_connection_usable(database: Database) -> None:
    await store(database, quotes(1, 3000))
    for _ in range(20):  # more often than the pool has connections
        replay = EventHistory(database, RECORDER)((Quote,), 0)
        async with aclosing(replay):
            async for _event in replay:
                break


async def test_what_waits_in_the_spool_alone_belongs_to_the_past_too(
    database: Database, tmp_path: Path
) -> None:
    async with writing(database, tmp_path) as bench:
        await bench.append(quotes(1, 100))
        await bench.append(quotes(6001, 6100))  # after an outage the newest is stored first
        await bench.writer.stop()
        await bench.spool.append(quotes(50, 150), 10)  # half of it is known already
        for first in range(151, 6001, 650):
            await bench.spool.append(quotes(first, first + 649), 10)
    stored = await recently_stored_events(database)
    async with opened_spool(tmp_path, clock=SystemClock(), stored=stored) as spool:
        history = EventHistory(database, RECORDER, spool)
        found = [pair async for pair in history((Quote,), 0)]
        later = [event async for event, _, _ in history((Quote, Fill), START_NS + 6001)]
        assert [pair async for pair in history((Fill,), 0)] == []
        assert {origin[0] for _, _, origin in found} == {quotes(1, 1).batch.source}
        assert sum(one.spooled for one in spool.ledger()) == 5900  # it still waits
    assert [event.time_ns - START_NS for event, _, _ in found] == list(range(1, 6101))
    assert [received_ns for _, received_ns, _ in found] == sorted(received_ns for _, received_ns, _ in found)
    assert [event.time_ns - START_NS for event in later] == list(range(6001, 6101))


async def test_what_waits_of_an_emitter_that_was_silent_for_long_is_no_past_twice(
    database: Database, tmp_path: Path
) -> None:
    await store(database, quotes(1, 30))
    async with database.query() as connection:
        await connection.execute("UPDATE emitters SET time = time - interval '30 days'")
    assert await recently_stored_events(database) == {}
    async with opened_spool(tmp_path, clock=SystemClock()) as spool:
        await spool.append(quotes(1, 50), 10)
        found = [event async for event, _, _ in EventHistory(database, RECORDER, spool)((Quote,), 0)]
    assert [event.time_ns - START_NS for event in found] == list(range(1, 51))


async def test_until_when_it_was_sampled_is_known_at_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    async with writing(database, tmp_path) as bench:
        assert bench.spool.newest_sample_ns is None
        assert await newest_sample_ns(database, [BOOK, MACHINE], RECORDER, START_NS) is None
        bench.sample(books(2))
        bench.sample(books(1))
        await bench.drained()
        assert (
            await newest_sample_ns(database, [BOOK, MACHINE], RECORDER, START_NS) == START_NS + 2 * CYCLE_NS
        )
        await bench.writer.stop()
        bench.sample(books(9))
        bench.sample(books(8))
        await bench.spool.flush()
    async with writing(database, tmp_path) as bench:
        assert bench.spool.newest_sample_ns == START_NS + 9 * CYCLE_NS
