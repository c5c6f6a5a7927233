from __future__ import annotations

import asyncio

from decahertz.event import Arrival
from decahertz.ingest import Receipt
from decahertz.sample import SampleBatch
from storage.queue import EventItem, WriteQueue
from tests.storage_examples import book, books, quotes


def batch(tick: int, rows: int) -> SampleBatch:
    return books(tick, *(book(f"i{n}") for n in range(rows)))


def item(first: int, last: int) -> EventItem:
    return EventItem(quotes(first, last))


def awaited(arrival: Arrival) -> EventItem:
    return EventItem(arrival, asyncio.get_running_loop().create_future())


class Kept(list[SampleBatch]):
    """What the queue dropped."""


def queue(max_rows: int = 100, full_rows: int = 1000) -> tuple[WriteQueue, Kept]:
    dropped = Kept()
    return WriteQueue(max_rows, full_rows, dropped.append), dropped


async def test_the_oldest_samples_go_first() -> None:
    waiting, dropped = queue(max_rows=10)
    batches = [batch(tick, 4) for tick in range(5)]
    for one in batches:
        waiting.put_samples(one)
    assert dropped == batches[:3]
    assert waiting.take().samples == batches[3:]
    assert waiting.rows == 0


async def test_samples_make_room_for_events_and_never_the_other_way() -> None:
    waiting, dropped = queue(max_rows=10)
    old = batch(0, 6)
    waiting.put_samples(old)
    events = item(1, 8)
    await waiting.put_events(events)
    new = batch(1, 4)
    waiting.put_samples(new)
    assert dropped == [old, new]
    assert waiting.take().events == [events]


async def test_events_wait_for_place() -> None:
    waiting, _ = queue(max_rows=10)
    await waiting.put_events(item(1, 8))
    second = item(9, 16)
    putting = asyncio.create_task(waiting.put_events(second))
    await asyncio.sleep(0)
    assert not putting.done()
    waiting.take()
    await putting
    assert waiting.take().events == [second]


async def test_a_batch_larger_than_the_queue_gets_in_alone() -> None:
    waiting, _ = queue(max_rows=10)
    large = item(1, 50)
    await waiting.put_events(large)
    assert waiting.take().events == [large]


async def test_a_parcel_is_bounded() -> None:
    waiting, _ = queue(max_rows=1000, full_rows=10)
    for tick in range(5):
        waiting.put_samples(batch(tick, 4))
        await waiting.put_events(item(1 + 4 * tick, 4 + 4 * tick))
    assert [(p.sample_rows, p.event_rows) for p in (waiting.take(), waiting.take())] == [(12, 12), (8, 8)]
    assert waiting.is_empty


async def test_what_nobody_waits_for_any_more_is_taken_out() -> None:
    waiting, _ = queue()
    gone, kept = awaited(quotes(1, 3)), awaited(quotes(4, 5))
    await waiting.put_events(gone)
    await waiting.put_events(kept)
    waiting.remove(gone)
    assert waiting.rows == 2
    assert waiting.take().events == [kept]


async def test_samples_wait_for_company_and_an_emitter_does_not() -> None:
    waiting, _ = queue()
    waiting.put_samples(batch(0, 1))
    due = asyncio.create_task(waiting.wait_due(3600))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not due.done()
    await waiting.put_events(awaited(quotes(1, 1)))
    await due


async def test_a_full_parcel_does_not_wait() -> None:
    waiting, _ = queue(full_rows=5)
    waiting.put_samples(batch(0, 5))
    await waiting.wait_due(3600)


async def test_patience_ends() -> None:
    waiting, _ = queue()
    waiting.put_samples(batch(0, 1))
    await waiting.wait_due(0.001)


async def test_an_answer_for_somebody_who_has_gone_does_no_harm() -> None:
    gone = awaited(quotes(1, 1))
    assert gone.done is not None
    gone.done.cancel()
    gone.resolve(Receipt(source="loop", epoch=7, durable_sequence=1, accepted=1, duplicates=0))
    gone.fail(RuntimeError())
