"""The spool as the event loop uses it: acknowledged events are on disk, and a failing disk stops nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from decahertz.bus import RECORDED, LocalBus, samples_topic
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.event import Arrival, EventBatch
from decahertz.health import Health
from decahertz.ingest import NotDurableError, Receipt
from decahertz.sample import SampleBatch
from decahertz.supervision import SUPERVISION, Supervision
from decahertz.testing import ManualClock
from storage.entry import Ack, Entry
from storage.settings import SpoolSettings
from storage.spool import Spool
from storage.spool.errors import SpoolError, SpoolInUseError
from storage.spool.file import SpoolFile
from storage.spool.jobs import AckJob, CallJob
from storage.spool.recovery import FILE_NAME
from tests.small_disk import fill_up, small_disk
from tests.storage_examples import BOOK, FAST, account_of, arrival, book, books, quote, quotes, until


class Opened:
    """A spool with its bus and its metrics."""

    def __init__(
        self,
        folder: Path,
        queue_rows: int = 10_000,
        settings: SpoolSettings = FAST,
        clock: Clock | None = None,
    ) -> None:
        self.bus = LocalBus()
        self.registry = CollectorRegistry()
        self.spool = Spool(
            folder, self.bus, clock or SystemClock(), self.registry, settings, [BOOK], queue_rows=queue_rows
        )

    def sample(self, batch: SampleBatch) -> None:
        self.bus.publish(samples_topic("book"), batch)

    def account(self, stream: str) -> tuple[int, int, int, dict[str, int]]:
        return account_of(self.spool.ledger(), stream)

    def store_all(self) -> list[Entry]:
        """Takes and acknowledges entries as the writer does, without a database."""
        entries: list[Entry] = []
        while not self.spool.queue.is_empty:
            entries += self.spool.queue.take()
        self.spool.ack([Ack(entry) for entry in entries])
        return entries


@asynccontextmanager
async def opened(
    folder: Path, queue_rows: int = 10_000, settings: SpoolSettings = FAST, clock: Clock | None = None
) -> AsyncIterator[Opened]:
    one = Opened(folder, queue_rows, settings, clock)
    await one.spool.start()
    try:
        yield one
    finally:
        await one.spool.stop()


async def test_only_the_batch_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    batch = EventBatch(source="liar", epoch=1, first_sequence=1, events=(quote(1),), dropped={"x": 2**63})
    poison = Arrival(batch=batch, received_ns=1)
    async with opened(tmp_path / "spool") as one:
        one.sample(books(1))
        outcomes = await asyncio.gather(
            one.spool.append(quotes(1, 2), 10),
            one.spool.append(poison, 10),
            one.spool.append(quotes(3, 4), 10),
            return_exceptions=True,
        )
        await one.spool.flush()
        assert [type(outcome) for outcome in outcomes] == [Receipt, NotDurableError, Receipt]
        assert all(entry.id for entry in one.spool.queue.take())
        assert one.account("events:loop") == (4, 0, 4, {})
        assert one.account("samples:book") == (1, 0, 1, {})


async def test_dropping_by_a_limit_is_reported_until_the_backlog_is_empty(tmp_path: Path) -> None:
    small = SpoolSettings(commit_seconds=0.005, max_bytes=100_000)
    async with opened(tmp_path / "spool", queue_rows=10, settings=small) as one:
        for first in range(1, 4_001, 500):
            await one.spool.append(quotes(first, first + 499), 10)
            one.spool.queue.release(one.spool.queue.take())  # there is no database
        await one.spool.append(quotes(4_001, 4_001), 10)
        status = one.spool.status()
        assert (status.health, "spool.max_bytes" in status.detail) == (Health.DEGRADED, True)
        assert f"{one.account('events:loop')[3]['cap_bytes']:,}" in status.detail
        one.store_all()
        while entries := await one.spool.read_backlog(10_000):
            one.spool.ack([Ack(entry) for entry in entries])
        await one.spool.flush()
        await until(lambda: one.spool.status().health is Health.OK)


async def test_acknowledged_events_are_in_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        receipts = await asyncio.gather(*(one.spool.append(quotes(n, n), 10) for n in range(1, 101)))
        shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    assert sum(receipt.accepted for receipt in receipts) == 100
    async with opened(tmp_path / "copy") as again:
        assert again.account("events:loop") == (100, 0, 100, {})
        assert [list(known) for known in again.spool.known().values()] == [[(1, 100)]]
        entries = await again.spool.read_backlog(1000)
        assert sum(entry.rows for entry in entries) == 100


async def test_no_other_user_can_read_the_spool_whatever_the_umask_is(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        async with opened(tmp_path / "new" / "spool") as one:
            await one.spool.append(quotes(1, 1), 10)
            assert (one.spool.kept_rows, one.spool.unkept_rows) == (1, 0)
            folders = [tmp_path / "new", tmp_path / "new" / "spool"]
            assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
            files = list((tmp_path / "new" / "spool").iterdir())
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
            for file in files:
                file.unlink()
            await one.spool.append(quotes(2, 2), 10)  # the files are written again
            files = list((tmp_path / "new" / "spool").iterdir())
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    finally:
        os.umask(umask)


async def test_samples_reach_the_disk_and_the_queue(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        assert one.account("samples:book") == (0, 0, 0, {})
        one.sample(books(0, book("a"), book("b")))
        await one.spool.flush()
        assert one.account("samples:book") == (2, 0, 2, {})
        assert [entry.rows for entry in one.store_all()] == [2]
        await one.spool.flush()
        assert one.account("samples:book") == (2, 2, 0, {})


async def test_evicted_entries_are_read_back(tmp_path: Path) -> None:
    async with opened(tmp_path, queue_rows=1000) as one:
        for n in range(30):
            await one.spool.append(quotes(100 * n + 1, 100 * n + 100), 10)
        await one.spool.flush()
        assert (one.spool.queue.rows, one.spool.backlog_rows) == (1000, 2000)
        newest = one.store_all()
        assert all(isinstance(entry.content, Arrival) for entry in newest)
        read = await one.spool.read_backlog(5000)
        assert sum(entry.rows for entry in read) == 2000
        one.spool.ack([Ack(entry) for entry in read])
        await one.spool.flush()
        assert one.account("events:loop") == (3000, 3000, 0, {})
        assert not one.spool.has_backlog


async def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(SpoolInUseError, match="another process"):
            await Opened(tmp_path).spool.start()
        await Opened(tmp_path).spool.stop()  # which was never started
    async with opened(tmp_path):
        pass


async def test_the_ledger_is_in_prometheus(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.spool.append(arrival(1, list(quotes(1, 3).batch.events), dropped={"ring_full": 2}), 10)
        value = one.registry.get_sample_value
        labels = {"stream": "events:loop"}
        assert value("decahertz_ledger_emitted_total", labels) == 5
        assert value("decahertz_ledger_spooled", labels) == 3
        assert value("decahertz_ledger_stored_total", labels) == 0
        assert value("decahertz_ledger_imbalance", labels) == 0
        dropped = {**labels, "reason": "client_ring_full"}
        assert value("decahertz_ledger_dropped_total", dropped) == 2
        assert value("decahertz_spool_durable_seconds_count") == 1
        assert 0 < (value("decahertz_spool_bytes") or 0) < (value("decahertz_spool_limit_bytes") or 0)


async def test_the_age_of_the_oldest_entry_is_in_prometheus(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock=clock) as one:

        def age() -> float | None:
            return one.registry.get_sample_value("decahertz_spool_age_seconds")

        assert age() == 0
        await one.spool.append(quotes(1, 3), 10)
        clock.advance(5 * NS_PER_SECOND)
        await one.spool.append(quotes(4, 6), 10)
        assert age() == 5
        oldest, newest = one.spool.queue.take()
        one.spool.ack([Ack(oldest)])
        await one.spool.flush()
        clock.advance(2 * NS_PER_SECOND)
        assert age() == 2
    async with opened(tmp_path, clock=clock) as one:
        assert one.registry.get_sample_value("decahertz_spool_age_seconds") == 2
    assert newest.rows == 3


async def test_a_bug_in_one_job_is_reported_to_its_caller_and_others_go_on(tmp_path: Path) -> None:
    told: list[object] = []

    def fail(_: SpoolFile) -> None:
        raise RuntimeError("a bug")

    async with opened(tmp_path) as one:
        one.spool._worker.put(CallJob(fail, told.append))
        assert (await one.spool.append(quotes(1, 10), 10)).accepted == 10
        assert one.spool.status().health is Health.OK
    assert ["a bug" in str(error) for error in told] == [True]


async def test_a_bug_is_told_and_the_thread_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervision = Supervision(SystemClock())
    SUPERVISION.set(supervision)

    def break_down() -> Iterator[Ack]:
        raise RuntimeError("a bug")
        yield

    async with opened(tmp_path) as one:
        one.spool._worker.put(AckJob(break_down()))  # type: ignore[arg-type]  # that is the mistake
        assert (await one.spool.append(quotes(1, 10), 10)).accepted == 10
        assert supervision.status().detail == "spool failed: RuntimeError: a bug"

        with monkeypatch.context() as patched:
            patched.setattr(one.spool._worker, "_process", _raise)
            with pytest.raises(NotDurableError, match="LookupError: another"):
                await one.spool.append(quotes(11, 20), 10)
        assert supervision.status().detail == "spool failed 2 times: LookupError: another"
        assert (await one.spool.append(quotes(11, 20), 10)).accepted == 10
        assert one.spool.status().health is Health.OK


def _raise(*_: object) -> SpoolFile:
    raise LookupError("another")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_callers_are_refused_when_the_thread_ends(tmp_path: Path) -> None:
    begun, released = threading.Event(), threading.Event()

    def break_down() -> Iterator[Ack]:
        begun.set()
        released.wait(20)
        raise SystemExit("a bug")
        yield

    async def waiting() -> list[Arrival]:
        return [arrived async for arrived in one.spool.waiting_events()]

    async with opened(tmp_path, queue_rows=10) as one:
        await one.spool.append(quotes(1, 10), 10)
        one.spool._worker.put(AckJob(break_down()))  # type: ignore[arg-type]  # that is the mistake
        await asyncio.to_thread(begun.wait, 20)
        pending = [
            asyncio.create_task(work)
            for work in (
                one.spool.append(quotes(11, 20), 600),
                one.spool.enqueue(quotes(21, 30)),  # there is no place for it
                one.spool.flush(),
                one.spool.read_backlog(10),
                waiting(),
            )
        ]
        await asyncio.sleep(0)  # each begins
        one.sample(books(1))
        assert not any(task.done() for task in pending)
        released.set()
        async with asyncio.timeout(20):
            refused, no_place, flushed, read, waited = await asyncio.gather(*pending, return_exceptions=True)
        assert isinstance(refused, NotDurableError)
        assert "a bug" in str(refused)
        assert isinstance(no_place, NotDurableError)
        assert (flushed, read) == (None, [])
        assert isinstance(waited, SpoolError)
        status = one.spool.status()
        assert (status.health, status.detail) == (Health.FAILED, "SystemExit: a bug")
        async with asyncio.timeout(20):  # and so are those who come later
            with pytest.raises(NotDurableError):
                await one.spool.append(quotes(11, 20), 600)
            await one.spool.flush()
            assert await one.spool.read_backlog(10) == []
            assert await waiting() == []


async def test_a_bug_while_opening_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adopt(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(SpoolFile, "adopt", adopt)
    async with asyncio.timeout(20):
        with pytest.raises(RuntimeError, match="a bug"):
            await Opened(tmp_path).spool.start()


async def test_on_a_full_disk_events_are_refused_and_samples_go_on_in_memory(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "20m"):
        await check_full_disk(disk)


async def check_full_disk(disk: Path) -> None:
    async with opened(disk / "spool") as one:
        await one.spool.append(quotes(1, 10), 10)
        ballast = disk / "ballast"
        fill_up(ballast)
        last = 10
        with pytest.raises(NotDurableError, match="cannot be written"):  # noqa: PT012 - see below
            while True:  # the log has some room left that it may use again
                await one.spool.append(quotes(last + 1, last + 2000), 10)
                last += 2000
        assert one.spool.status().health is Health.DEGRADED
        await until(lambda: one.spool.queue.rows == last)
        for tick in range(10):
            one.sample(books(tick, *(book(f"i{n}" * 10) for n in range(1000))))
            await one.spool.enqueue(quotes(100_000 * (tick + 1), 100_000 * (tick + 1) + 1999))
        await one.spool.flush()
        emitted, _, spooled, dropped = one.account("samples:book")
        assert (emitted, spooled + sum(dropped.values())) == (10_000, 10_000)
        assert one.spool.queue.rows <= 10_000
        ballast.unlink()
        await one.spool.append(quotes(last + 1, last + 2000), 10)
        assert one.spool.status().health is Health.OK
        await one.spool.flush()  # the rows that were in memory only
        await until(lambda: one.spool.queue.rows > 2000)
        stored = one.store_all()
        assert all(entry.id for entry in stored)
        await one.spool.flush()
        while one.spool.has_backlog:
            found = await one.spool.read_backlog(10_000)
            stored += found
            one.spool.ack([Ack(entry) for entry in found])
            await one.spool.flush()
        counted = {"samples:book": 0, "events:loop": 0}
        for entry in stored:
            counted[entry.stream] += entry.rows
        for stream, rows in counted.items():
            emitted, in_database, spooled, dropped = one.account(stream)
            assert (in_database, spooled) == (rows, 0)
            assert set(dropped) <= {"queue_full"}
            assert emitted == rows + sum(dropped.values())
        before = one.spool.ledger()
    async with opened(disk / "spool") as again:
        assert again.spool.ledger() == before


def take_no_rows(one: Opened, reserve_bytes: int) -> None:
    """The disk of a spool has no room from now on, or again if nothing is reserved."""
    assert one.spool._worker._file is not None
    one.spool._worker._file._reserve_bytes = reserve_bytes


async def sample_in_memory(one: Opened) -> None:
    """Thirty samples and five events of a feed that a full disk refuses."""
    take_no_rows(one, 2**62)
    for tick in range(10):
        one.sample(books(tick, *(book(f"i{n}") for n in range(3))))
    await one.spool.enqueue(quotes(1, 5))
    await one.spool.flush()
    await until(lambda: one.spool.queue.rows == 35)
    take_no_rows(one, 0)


async def test_rows_of_a_full_disk_survive_a_kill_once_it_has_room(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        recorded: list[object] = []
        one.bus.subscribe(RECORDED, recorded.append)
        await sample_in_memory(one)
        await one.spool.append(quotes(1, 1, "client"), 10)
        await one.spool.flush()
        shutil.copytree(tmp_path / "spool", tmp_path / "copy")
        assert len(recorded) == 2
    async with opened(tmp_path / "copy") as again:
        assert again.account("samples:book") == (30, 0, 30, {})
        assert again.account("events:loop") == (5, 0, 5, {})
        assert [list(known) for known in again.spool.known().values()] == [[(1, 1)], [(1, 5)]]
        assert sum(entry.rows for entry in await again.spool.read_backlog(1000)) == 36


async def test_rows_of_a_full_disk_are_written_at_the_stop(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await sample_in_memory(one)
    async with opened(tmp_path) as again:
        assert again.account("samples:book") == (30, 0, 30, {})
        take_no_rows(again, 2**62)
        again.sample(books(100, *(book(f"i{n}" * 10) for n in range(1000))))
    async with opened(tmp_path) as last:
        assert last.account("samples:book") == (1030, 0, 30, {"shutdown": 1000})


APPENDER = """
import asyncio, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from decahertz.bus import LocalBus
from decahertz.clock import SystemClock
from storage.settings import SpoolSettings
from storage.spool import Spool
from tests.small_disk import fill_up, small_disk
from tests.storage_examples import quotes

async def main():
    spool = Spool(Path(sys.argv[1]), LocalBus(), SystemClock(), CollectorRegistry(), SpoolSettings())
    await spool.start()
    async def emit(source):
        number = 1 + sum(len(taken) for (name, _), taken in spool.known().items() if name == source)
        while True:
            receipt = await spool.append(quotes(number, number + 4, source), 10)
            assert receipt.accepted == 5
            number = receipt.durable_sequence + 1
            print(source, receipt.durable_sequence, flush=True)
    await asyncio.gather(*(emit(source) for source in "abcd"))

asyncio.run(main())
"""


def append_and_kill(folder: Path, seconds: float) -> dict[str, int]:
    """Appends in a process of its own until it is killed; what it was answered."""
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    time.sleep(seconds)  # a moment that nobody knows beforehand is what this is about
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    answered: dict[str, int] = {}
    for line in lines:
        if line.endswith("\n"):
            source, number = line.split()
            answered[source] = int(number)
    assert len(answered) == 4, json.dumps(answered)
    return answered


async def test_acknowledged_events_survive_a_sigkill(tmp_path: Path) -> None:
    answered: dict[str, int] = {}
    for round_ in range(5):
        answered = await asyncio.to_thread(append_and_kill, tmp_path / "spool", 0.05 * round_)
    assert not list((tmp_path / "spool").glob("*.damaged-*")), "to be killed is no damage"
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    async with opened(tmp_path / "copy", queue_rows=10**7) as one:
        assert one.spool.status().health is Health.OK
        for source, number in answered.items():
            emitted, _, spooled, dropped = one.account(f"events:{source}")
            assert emitted == spooled >= number
            assert dropped == {}
        numbers: dict[str, list[int]] = {}
        while one.spool.has_backlog:
            for entry in await one.spool.read_backlog(10_000):
                assert isinstance(entry.content, Arrival)
                batch = entry.content.batch
                numbers.setdefault(batch.source, []).extend(
                    range(batch.first_sequence, batch.last_sequence + 1)
                )
        for source, number in answered.items():
            assert sorted(numbers[source])[:number] == list(range(1, number + 1))
    assert (tmp_path / "copy" / FILE_NAME).exists()


async def test_a_large_backlog_is_read_in_flat_memory(tmp_path: Path) -> None:
    name = "x" * 100
    async with opened(tmp_path) as one:
        for tick in range(200):
            one.sample(books(tick, *(book(name + str(n)) for n in range(1000))))
            await one.spool.flush()
    assert (tmp_path / FILE_NAME).stat().st_size > 20_000_000
    tracemalloc.start()
    try:
        async with opened(tmp_path) as again:
            rows = 0
            while again.spool.has_backlog:
                entries = await again.spool.read_backlog(5000)
                rows += sum(entry.rows for entry in entries)
                again.spool.ack([Ack(entry) for entry in entries])
                await again.spool.flush()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 200_000
    assert peak < 8_000_000
