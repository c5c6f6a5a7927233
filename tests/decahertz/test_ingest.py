"""Ingest checks batches as a whole, and publishes and stores each event once, however often it is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.bus import EVENTS, LocalBus, Message
from decahertz.event import Arrival, Event, EventBatch, Fill, Order, OrderState, Side, Tick
from decahertz.event_times import BatchRefusedError
from decahertz.health import Health
from decahertz.ingest import MAX_RANGES, Ingest, NotDurableError, Receipt, part_of
from decahertz.sequences import SequenceSet
from decahertz.testing import START_NS, ManualClock

SECOND = 1_000_000_000


class Sink:
    """Storage in memory; out of order on demand."""

    def __init__(self) -> None:
        self.appended: list[Arrival] = []
        self.enqueued: list[Arrival] = []
        self.timeouts: list[float] = []
        self.is_away = False
        self._stored: dict[tuple[str, int], SequenceSet] = {}

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        self.timeouts.append(timeout_seconds)
        await asyncio.sleep(0)
        if self.is_away:
            raise NotDurableError("away")
        self.appended.append(arrival)
        batch = arrival.batch
        stored = self._stored.setdefault((batch.source, batch.epoch), SequenceSet())
        before = len(stored)
        stored.add(batch.first_sequence, batch.last_sequence)
        new = len(stored) - before
        return Receipt(
            source=batch.source,
            epoch=batch.epoch,
            durable_sequence=stored.highest,
            accepted=new,
            duplicates=len(batch.events) - new,
        )

    async def enqueue(self, arrival: Arrival) -> None:
        self.enqueued.append(arrival)


class Desk:
    """An ingest with everything around it."""

    def __init__(self, known: dict[tuple[str, int], SequenceSet] | None = None) -> None:
        self.clock = ManualClock(START_NS)
        self.sink = Sink()
        self.bus = LocalBus()
        self.shown: list[tuple[str, int, int]] = []
        self.arrivals: list[Arrival] = []
        self.bus.subscribe(EVENTS, self._show)
        self.ingest = Ingest(
            self.bus,
            self.sink,
            self.clock,
            max_future_ns=60 * SECOND,
            timeout_seconds=7.0,
            known=known,
        )

    def _show(self, message: Message) -> None:
        assert isinstance(message, Arrival)
        self.arrivals.append(message)
        batch = message.batch
        for sequence, event in enumerate(batch.events, batch.first_sequence):
            if isinstance(event, Tick):
                assert int(event.price) == sequence, "an event was shown under another number"
            self.shown.append((batch.source, batch.epoch, sequence))


def ticks(
    first: int, count: int, *, source: str = "s", epoch: int = 1, time_ns: int = START_NS
) -> EventBatch:
    """A batch whose prices are its sequence numbers."""
    events = tuple(
        Tick(time_ns=time_ns, venue="v", instrument="i", price=float(n), size=1.0)
        for n in range(first, first + count)
    )
    return EventBatch(source=source, epoch=epoch, first_sequence=first, events=events)


async def test_a_batch_is_shown_stored_and_answered_and_once_more_only_answered() -> None:
    desk = Desk()
    receipt = await desk.ingest.submit(ticks(1, 3))
    assert desk.shown == [("s", 1, 1), ("s", 1, 2), ("s", 1, 3)]
    assert desk.arrivals[0].received_ns == desk.clock.time_ns()
    assert [arrival.batch for arrival in desk.sink.appended] == [ticks(1, 3)]
    assert desk.sink.timeouts == [7.0]
    assert receipt == Receipt(source="s", epoch=1, durable_sequence=3, accepted=3, duplicates=0)
    assert desk.ingest.events == 3
    receipt = await desk.ingest.submit(ticks(1, 3))
    assert len(desk.shown) == 3
    assert receipt == Receipt(source="s", epoch=1, durable_sequence=3, accepted=0, duplicates=3)
    assert desk.ingest.events == 3
    receipt = await desk.ingest.submit(ticks(4, 0))
    assert (receipt.durable_sequence, receipt.accepted, receipt.duplicates) == (3, 0, 0)
    assert len(desk.arrivals) == 1, "an empty batch is answered and not shown"


async def test_a_batch_that_could_not_be_made_durable_was_shown_and_is_stored_when_it_comes_again() -> None:
    desk = Desk()
    desk.sink.is_away = True
    with pytest.raises(NotDurableError):
        await desk.ingest.submit(ticks(1, 3))
    assert len(desk.shown) == 3
    desk.sink.is_away = False
    receipt = await desk.ingest.submit(ticks(1, 3))
    assert len(desk.shown) == 3
    assert receipt.accepted == 3


async def test_only_the_new_events_of_an_overlapping_batch_are_published() -> None:
    desk = Desk()
    await desk.ingest.submit(ticks(3, 2))
    await desk.ingest.submit(ticks(1, 7))
    assert [sequence for _, _, sequence in desk.shown] == [3, 4, 1, 2, 5, 6, 7]
    assert [len(arrival.batch.events) for arrival in desk.arrivals] == [2, 2, 3]


async def test_emitters_and_their_epochs_have_numbers_of_their_own() -> None:
    desk = Desk()
    for source, epoch in (("a", 1), ("b", 1), ("a", 2)):
        await desk.ingest.submit(ticks(1, 1, source=source, epoch=epoch))
    assert desk.shown == [("a", 1, 1), ("b", 1, 1), ("a", 2, 1)]


async def test_events_stored_before_the_start_are_not_published_again() -> None:
    known = {("s", 1): SequenceSet([(1, 5)])}
    desk = Desk(known)
    await desk.ingest.submit(ticks(4, 4))
    assert [sequence for _, _, sequence in desk.shown] == [6, 7]
    assert list(known["s", 1]) == [(1, 5)], "what was handed in is not changed"


async def test_an_event_too_far_ahead_has_the_whole_batch_refused_and_is_named() -> None:
    desk = Desk()
    good, late = ticks(1, 4), ticks(1, 4, time_ns=START_NS + 60 * SECOND + 1)
    mixed: tuple[Event, ...] = (good.events[0], late.events[1], good.events[2], late.events[3])
    batch = EventBatch(source="s", epoch=1, first_sequence=1, events=mixed)  # type: ignore[arg-type]
    with pytest.raises(BatchRefusedError) as caught:
        await desk.ingest.submit(batch)
    assert [(refusal.index, refusal.field) for refusal in caught.value.refusals] == [
        (1, "time_ns"),
        (3, "time_ns"),
    ]
    with pytest.raises(BatchRefusedError, match="1000 events") as caught:
        await desk.ingest.submit(ticks(1, 1000, time_ns=START_NS + 61 * SECOND))
    assert len(caught.value.refusals) == 20, "the list is limited"
    assert (desk.shown, desk.sink.appended, desk.ingest.events) == ([], [], 0)
    assert (await desk.ingest.submit(good)).accepted == 4, "the numbers of a refused batch are still free"


@pytest.mark.parametrize(
    ("step_ns", "time_ns"),
    [
        pytest.param(0, START_NS + 60 * SECOND, id="at the limit"),
        pytest.param(600 * SECOND, START_NS + 660 * SECOND, id="after the clock was set forward"),
        pytest.param(0, 1, id="however old"),
    ],
)
async def test_times_up_to_the_limit_are_accepted(step_ns: int, time_ns: int) -> None:
    desk = Desk()
    desk.clock.step(step_ns)
    await desk.ingest.submit(ticks(1, 1, time_ns=time_ns))
    assert len(desk.shown) == 1


async def test_events_from_before_the_clock_was_set_back_are_accepted_for_an_hour() -> None:
    desk = Desk()
    desk.clock.advance(30 * SECOND)
    await desk.ingest.submit(ticks(1, 1, time_ns=desk.clock.time_ns()))
    stamped_ns = desk.clock.time_ns() + 60 * SECOND
    desk.clock.step(-600 * SECOND)
    await desk.ingest.submit(ticks(2, 1, time_ns=stamped_ns))
    with pytest.raises(BatchRefusedError, match="ahead of the recorder"):
        await desk.ingest.submit(ticks(3, 1, time_ns=stamped_ns + 1))
    desk.clock.advance(3601 * SECOND)
    with pytest.raises(BatchRefusedError, match="ahead of the recorder"):
        await desk.ingest.submit(ticks(3, 1, time_ns=desk.clock.time_ns() + 61 * SECOND))
    assert len(desk.shown) == 2


MS = 1_000_000


def an_execution(kind: type[Fill | Order], time_ns: int) -> Fill | Order:
    fields: dict[str, Any] = {
        "strategy": "s",
        "venue": "v",
        "instrument": "i",
        "order_id": "o",
        "side": Side.BUY,
    }
    if kind is Fill:
        return Fill(**fields, fill_id="f", price=1.0, quantity=1.0, time_ns=time_ns)
    return Order(**fields, state=OrderState.FILLED, quantity=1.0, time_ns=time_ns)


@pytest.mark.parametrize("kind", [Fill, Order])
@pytest.mark.parametrize(
    ("stated_ns", "stored_ns", "reason"),
    [
        (START_NS + 90 * SECOND, START_NS, "more than 60 s ahead"),
        (2**63 - 1, START_NS, "more than 60 s ahead"),
        (START_NS // MS - 5, START_NS // MS * MS - 5 * MS, "a time in milliseconds"),
        (START_NS // SECOND - 5, START_NS // SECOND * SECOND - 5 * SECOND, "a time in seconds"),
        (START_NS // MS + 500_000, START_NS, "a time in milliseconds"),
    ],
)
async def test_an_order_or_fill_with_an_impossible_time_is_stored_with_a_flag_and_shown(
    kind: type[Fill | Order], stated_ns: int, stored_ns: int, reason: str
) -> None:
    desk = Desk()
    assert desk.ingest.status().health is Health.OK
    good, bad = an_execution(kind, START_NS + SECOND), an_execution(kind, stated_ns)
    batch = EventBatch(source="bot-1", epoch=1, first_sequence=1, events=(good, bad))
    await desk.ingest.submit(batch, b"the bytes of the client")
    (arrival,) = desk.sink.appended
    assert arrival.encoded == b""  # the bytes of the client have the wrong time
    assert arrival.batch.events == (
        good,
        msgspec.structs.replace(bad, time_ns=stored_ns, stated_time_ns=stated_ns),
    )
    assert [shown.batch.events for shown in desk.arrivals] == [arrival.batch.events]
    status = desk.ingest.status()
    assert status.health is Health.DEGRADED
    assert "bot-1" in status.detail
    assert reason in status.detail
    desk.clock.advance(601 * SECOND)
    assert desk.ingest.status().health is Health.OK


async def test_another_event_in_another_unit_is_refused_with_the_unit() -> None:
    desk = Desk()
    with pytest.raises(BatchRefusedError, match="a time in milliseconds") as caught:
        await desk.ingest.submit(ticks(1, 1, time_ns=START_NS // MS))
    assert [(one.index, one.field) for one in caught.value.refusals] == [(0, "time_ns")]
    assert not desk.shown


async def test_an_emitter_that_leaves_too_many_gaps_may_close_them_but_open_no_more() -> None:
    desk = Desk({("s", 1): SequenceSet((n, n) for n in range(2, 2 * MAX_RANGES + 1, 2))})
    highest = 2 * MAX_RANGES
    with pytest.raises(BatchRefusedError, match="gaps"):
        await desk.ingest.submit(ticks(highest + 10, 1))
    await desk.ingest.submit(ticks(highest + 1, 5))
    await desk.ingest.submit(ticks(3, 1))
    await desk.ingest.submit(ticks(highest + 10, 1))
    assert [sequence for *_, sequence in desk.shown] == [*range(highest + 1, highest + 6), 3, highest + 10]
    assert desk.ingest.events == 7


async def test_a_feed_is_shown_with_its_own_time_of_arrival_and_queued_unless_it_is_ahead() -> None:
    desk = Desk()
    with pytest.raises(BatchRefusedError):
        await desk.ingest.take(ticks(1, 1, time_ns=START_NS + 61 * SECOND), received_ns=17)
    assert (desk.shown, desk.sink.enqueued) == ([], [])
    await desk.ingest.take(ticks(1, 2), received_ns=17)
    assert [arrival.received_ns for arrival in desk.arrivals] == [17]
    assert [arrival.received_ns for arrival in desk.sink.enqueued] == [17]
    assert desk.sink.appended == []


async def test_batches_that_arrive_at_once_are_each_shown_once() -> None:
    desk = Desk()
    await asyncio.gather(*(desk.ingest.submit(ticks(1, 10)) for _ in range(10)))
    assert len(desk.shown) == 10
    assert desk.ingest.events == 10


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12), st.booleans()), max_size=25))
def test_whatever_is_sent_in_whatever_order_each_event_is_shown_once(
    sent: list[tuple[int, int, bool]],
) -> None:
    desk = Desk()

    async def send() -> None:
        for first, count, is_away in sent:
            desk.sink.is_away = is_away
            try:
                await desk.ingest.submit(ticks(first, count))
            except NotDurableError:
                assert is_away

    asyncio.run(send())
    shown = [sequence for *_, sequence in desk.shown]
    assert sorted(shown) == sorted({n for first, count, _ in sent for n in range(first, first + count)})
    assert desk.ingest.events == len(shown)


@given(st.integers(1, 50), st.integers(1, 20), st.data())
def test_a_part_of_a_batch_holds_the_same_events_under_the_same_numbers(
    first: int,
    count: int,
    data: st.DataObject,
) -> None:
    batch = ticks(first, count)
    low = data.draw(st.integers(first, first + count - 1))
    high = data.draw(st.integers(low, first + count - 1))
    assert part_of(batch, low, high) == ticks(low, high - low + 1)


async def test_emitters_that_are_silent_for_a_week_are_evicted() -> None:
    desk = Desk({("old", epoch): SequenceSet([(1, 5)]) for epoch in range(100)})
    await desk.ingest.submit(ticks(1, 5))
    for _ in range(8):
        desk.clock.advance(24 * 3600 * SECOND)
        await desk.ingest.submit(ticks(1, 5))
    assert len(desk.ingest._seen) == len(desk.ingest._last_seen_ns) == 1
    assert desk.ingest.events == 5


async def test_the_bytes_of_a_batch_reach_storage_and_no_subscriber() -> None:
    desk = Desk()
    await desk.ingest.submit(ticks(1, 2), b"client")
    await desk.ingest.take(ticks(3, 4), START_NS, b"feed")
    assert [arrival.encoded for arrival in (*desk.sink.appended, *desk.sink.enqueued)] == [b"client", b"feed"]
    assert [arrival.encoded for arrival in desk.arrivals] == [b"", b""]
