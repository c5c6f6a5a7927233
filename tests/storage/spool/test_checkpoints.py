"""The checkpoint of the collectors in a spool, and the events since then."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from decahertz.bus import LocalBus, samples_topic
from decahertz.clock import NS_PER_SECOND, SystemClock
from storage.entry import Ack, Entry
from storage.spool import Spool, tables
from storage.spool.checkpoints import SpoolCheckpoints
from storage.spool.delivered import Checkpoint, Course, DeliveredEvents
from storage.spool.errors import SpoolError
from storage.spool.recovery import FILE_NAME
from tests.storage_examples import BOOK, FAST, books, quotes


class Opened:
    """A spool and its checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.bus = LocalBus()
        self.spool = Spool(folder, self.bus, SystemClock(), CollectorRegistry(), FAST, [BOOK])
        self.checkpoints = SpoolCheckpoints(self.spool, "desk")

    async def store_all(self) -> None:
        """Acknowledges every entry, as a writer does, without a database."""
        await self.spool.flush()
        entries: list[Entry] = []
        while not self.spool.queue.is_empty:
            entries += self.spool.queue.take()
        self.spool.ack([Ack(entry) for entry in entries])
        await self.spool.flush()

    async def replayed(self) -> list[tuple[int, int]]:
        """First and last sequence of the events since the checkpoint, batch by batch."""
        saved = await self.checkpoints.load()
        assert saved is not None
        batches = [arrival.batch async for arrival in self.checkpoints.replay(saved.position)]
        return [(batch.first_sequence, batch.last_sequence) for batch in batches]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Opened]:
    one = Opened(folder)
    await one.spool.start()
    try:
        yield one
    finally:
        await one.spool.stop()


async def test_stored_events_stay_until_a_checkpoint_includes_them(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        await one.spool.append(quotes(1, 5), 10)
        one.checkpoints.save(1, {"a/1": b"first"})
        await one.spool.append(quotes(6, 7), 10)
        await one.store_all()
        await one.spool.append(quotes(8, 8), 10)
    async with opened(tmp_path / "spool") as one:
        assert await one.replayed() == [(6, 7), (8, 8)]
        assert one.spool.backlog_rows == 1  # what is kept for a restart does not wait for the database
        await one.spool.append(quotes(9, 9), 10)
        one.checkpoints.save(2, {"a/1": b"second"})
        await one.store_all()
        saved = await one.checkpoints.load()
        assert saved is not None
        assert (saved.time_ns, saved.states) == (2, {"a/1": b"second"})
        assert await one.replayed() == []
    with closing(sqlite3.connect(tmp_path / "spool" / FILE_NAME)) as connection:
        assert connection.execute("SELECT count(*) FROM delivered").fetchone() == (0,)


async def test_cycles_keep_their_place_among_the_events(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        one.checkpoints.save(1, {"a/1": b"state"})
        await one.spool.append(quotes(1, 2), 10)
        one.bus.publish(samples_topic("book"), books(3))
        await one.spool.append(quotes(3, 3), 10)
        await one.spool.flush()
        saved = await one.checkpoints.load()
        assert saved is not None
        numbers = [arrival.number async for arrival in one.checkpoints.replay(saved.position)]
        ((time_ns, position),) = saved.cycles
        assert time_ns == books(3).time_ns
        assert numbers[0] + 2 <= position <= numbers[1]


async def test_a_cycle_in_two_transactions_is_replayed_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        one.checkpoints.save(1, {"a/1": b"state"})
        for _ in range(2):  # one collector's samples, and another's
            one.bus.publish(samples_topic("book"), books(3))
            await one.spool.flush()
        saved = await one.checkpoints.load()
        assert saved is not None
        assert [time_ns for time_ns, _ in saved.cycles] == [books(3).time_ns]
        one.checkpoints.save(books(3).time_ns, {"a/1": b"state at that cycle"})
        await one.spool.flush()
        one.bus.publish(samples_topic("book"), books(3))
        one.bus.publish(samples_topic("book"), books(4))
        await one.spool.flush()
        saved = await one.checkpoints.load()
        assert saved is not None
        assert [time_ns for time_ns, _ in saved.cycles] == [books(4).time_ns]


async def test_a_damaged_state_is_missing_and_a_damaged_event_ends_the_replay(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        one.checkpoints.save(1, {"a/1": b"intact", "b/1": b"broken"})
        await one.spool.append(quotes(1, 1), 10)
        await one.store_all()
    with closing(sqlite3.connect(tmp_path / "spool" / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE checkpoints SET state = x'00' WHERE collector = 'desk:b/1'")
        connection.execute("UPDATE delivered SET payload = x'00'")
    async with opened(tmp_path / "spool") as one:
        saved = await one.checkpoints.load()
        assert saved is not None
        assert saved.states == {"a/1": b"intact"}
        with pytest.raises(SpoolError, match="are damaged"):
            await one.replayed()


async def test_another_recorder_and_one_that_was_replaced_do_not_use_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        one.checkpoints.save(1, {"a/1": b"state"})
        await one.spool.flush()
        other = await SpoolCheckpoints(one.spool, "other").load()
        assert other is not None
        assert other.states == {}
        assert await SpoolCheckpoints(one.spool, "desk", lambda: True).load() is None


@pytest.mark.parametrize(("seconds", "has_room"), [(301, True), (1, False)])
def test_nothing_is_kept_for_a_checkpoint_that_is_not_renewed_or_on_a_full_disk(
    tmp_path: Path,
    seconds: int,
    has_room: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    with closing(tables.connect(tmp_path / "spool.sqlite")) as connection:
        delivered = DeliveredEvents(connection)
        tables.begin(connection)
        delivered.save(Course(checkpoint=Checkpoint(1, {"a/1": b"state"})), [1])
        connection.execute("COMMIT")
        delivered.committed()
        assert delivered.load() is not None
        delivered.keep([], 0, has_room=True)
        assert delivered.load() is not None
        delivered.keep([], seconds * NS_PER_SECOND, has_room=has_room)
        delivered.committed()
        assert delivered.load() is None
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
