"""The memory queue: newest first, and bounded."""

from __future__ import annotations

import asyncio

from decahertz.event import Arrival
from decahertz.sample import SampleBatch
from storage.entry import Entry, entry_of
from storage.spool.memory_queue import MemoryQueue
from tests.storage_examples import book, books, quotes


class Queue:
    """A queue, and what it let go of."""

    def __init__(self, max_rows: int = 100, full_rows: int = 1000) -> None:
        self.released: list[Entry] = []
        self.lost: list[Entry] = []
        self.queue = MemoryQueue(max_rows, self.released.extend, self.lost.extend, full_rows)
        self._id = 0

    def put(self, content: SampleBatch | Arrival, *, on_disk: bool = True) -> Entry:
        entry = entry_of(content)
        if on_disk:
            self._id += 1
            entry.id = self._id
        self.queue.put([entry])
        return entry


def samples(tick: int, rows: int) -> SampleBatch:
    return books(tick, *(book(f"i{n}") for n in range(rows)))


async def test_the_newest_entries_are_taken_first_in_their_order() -> None:
    queue = Queue(full_rows=10)
    entries = [queue.put(samples(tick, 4), on_disk=tick != 3) for tick in range(5)]
    assert queue.queue.take() == entries[2:]
    assert queue.queue.take() == entries[:2]
    assert (queue.queue.rows, queue.queue.is_empty) == (0, True)


async def test_entries_on_disk_are_evicted_and_not_lost() -> None:
    queue = Queue(max_rows=10)
    memory_only = queue.put(samples(0, 4), on_disk=False)
    entries = [queue.put(samples(tick, 4)) for tick in range(1, 5)]
    assert (queue.released, queue.lost) == (entries[:3], [])
    assert queue.queue.take() == [memory_only, entries[3]]


async def test_of_entries_in_memory_only_the_oldest_samples_are_dropped_before_events() -> None:
    queue = Queue(max_rows=10)
    events = queue.put(quotes(1, 4), on_disk=False)
    batches = [queue.put(samples(tick, 4), on_disk=False) for tick in range(3)]
    assert queue.lost == batches[:2]
    more = queue.put(quotes(5, 10), on_disk=False)
    assert queue.lost == batches
    last = queue.put(quotes(11, 18), on_disk=False)
    assert queue.lost == [*batches, events, more]
    assert queue.queue.take() == [last]


async def test_released_entries_join_the_backlog_or_return_to_the_front() -> None:
    queue = Queue()
    on_disk, in_memory = queue.put(samples(0, 4)), queue.put(samples(1, 4), on_disk=False)
    taken = queue.queue.take()
    newer = queue.put(samples(2, 4))
    queue.queue.release(taken)
    assert queue.released == [on_disk]
    assert queue.queue.take() == [in_memory, newer]


async def test_samples_wait_to_share_a_transaction_and_both_waits_have_a_limit() -> None:
    queue = Queue(full_rows=8)
    assert not await queue.queue.wait_due(3600, 0.001)
    queue.put(samples(0, 4))
    waiting = asyncio.create_task(queue.queue.wait_due(3600, 3600))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    queue.put(samples(1, 4))
    assert await waiting
    queue.queue.take()
    queue.put(samples(2, 1))
    assert await queue.queue.wait_due(0.001, 3600)
    assert not await queue.queue.wait_due(3600, 0.001)
    queue.queue.close()
    assert await queue.queue.wait_due(3600, 3600)
