"""Random operations in random order: nothing is lost or duplicated, and the ledger balances."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from decahertz.event import Arrival
from decahertz.ledger import Ledger
from decahertz.sample import SampleBatch
from decahertz.testing import START_NS, ManualClock
from storage.entry import Ack, Entry, entry_of
from storage.settings import SpoolSettings
from storage.spool.errors import SpoolUnwritableError
from storage.spool.file import SpoolFile
from storage.spool.recovery import FILE_NAME
from tests.properties import examples
from tests.storage_examples import arrival, book, books, quote


def rows_of(entry: Entry) -> list[tuple[str, int]]:
    """Returns the rows for the database: each event by its number, each sample by its cycle."""
    if isinstance(entry.content, Arrival):
        batch = entry.content.batch
        return [(batch.source, number) for number in range(batch.first_sequence, batch.last_sequence + 1)]
    assert isinstance(entry.content, SampleBatch)
    return [("samples", entry.content.time_ns)] * len(entry.content.samples)


class SpoolMachine(RuleBasedStateMachine):
    """A spool, a database that is a counter, and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self.clock = ManualClock(START_NS)
        self.database: Counter[tuple[str, int]] = Counter()
        self.batches: set[object] = set()
        self.acknowledged: set[tuple[str, int]] = set()
        self.sampled: Counter[tuple[str, int]] = Counter()
        self.in_flight: dict[int, Entry] = {}
        self.in_memory: list[Entry] = []
        self.cycle = 0
        self.fed = 0
        self.generation = 0
        self.open(self.folder / "0")

    def open(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.ledger = Ledger()
        self.file = SpoolFile(folder / FILE_NAME, SpoolSettings(), self.clock, self.ledger)
        self.in_flight, self.in_memory = {}, []

    def write(self, arrivals: list[Arrival], samples: list[SampleBatch]) -> bool:
        try:
            written = self.file.write(arrivals, samples)
        except SpoolUnwritableError:
            return False
        for batch, (receipt, entries) in zip(arrivals, written.events, strict=True):
            numbers = range(batch.batch.first_sequence, batch.batch.last_sequence + 1)
            self.acknowledged |= {(batch.batch.source, number) for number in numbers}
            assert receipt.accepted + receipt.duplicates == len(batch.batch.events)
            assert receipt.accepted == sum(entry.rows for entry in entries)
            self.in_flight |= {entry.id: entry for entry in entries}
        for sample_batch in samples:
            self.sampled["samples", sample_batch.time_ns] += len(sample_batch.samples)
        self.in_flight |= {entry.id: entry for entry in written.samples}
        return True

    @rule(
        source=st.sampled_from("ab"),
        first=st.integers(1, 60),
        count=st.integers(0, 9),
        dropped=st.dictionaries(st.sampled_from(["ring_full", "closed"]), st.integers(0, 9)),
    )
    def emit(self, source: str, first: int, count: int, dropped: dict[str, int]) -> None:
        events = [quote(number) for number in range(first, first + count)]
        self.write([arrival(first, events, source, dropped=dropped)], [])

    @rule(count=st.integers(1, 5))
    def sample(self, count: int) -> None:
        self.cycle += 1
        batch = books(self.cycle, *(book(f"i{n}") for n in range(count)))
        if not self.write([], [batch]):
            self.keep(entry_of(batch))

    @rule(count=st.integers(1, 5))
    def read_feed(self, count: int) -> None:
        """A feed of the process emits events: nobody sends them again."""
        batch = arrival(self.fed + 1, [quote(self.fed + n + 1) for n in range(count)], "feed")
        self.fed += count
        if not self.write([batch], []):
            self.keep(entry_of(batch))

    def keep(self, entry: Entry) -> None:
        self.file.number_events([entry])
        self.file.accounts.add_memory_only([entry])
        self.in_memory.append(entry)

    @rule(data=st.data())
    def rescue(self, data: st.DataObject) -> None:
        """Entries in memory are written, if the disk has room."""
        if not self.in_memory:
            return
        chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(self.in_memory))))))
        entries = [self.in_memory[index] for index in chosen]
        try:
            self.file.write(rescued=entries)
        except SpoolUnwritableError:
            assert all(not entry.id for entry in entries)
            return
        assert all(entry.id for entry in entries)
        self.in_memory = [entry for entry in self.in_memory if not entry.id]
        self.in_flight |= {entry.id: entry for entry in entries}
        self.count(entries)

    def count(self, entries: Iterable[Entry]) -> None:
        """These entries may no longer be lost."""
        for entry in entries:
            if isinstance(entry.content, SampleBatch):
                self.sampled.update(rows_of(entry))
            else:
                self.acknowledged |= set(rows_of(entry))

    @rule(data=st.data())
    def store_from_memory(self, data: st.DataObject) -> None:
        if self.in_memory:
            entry = self.in_memory.pop(data.draw(st.sampled_from(range(len(self.in_memory)))))
            self.count([entry])
            self.database.update(rows_of(entry))
            self.file.ack([Ack(entry)])

    @rule(data=st.data(), refused=st.integers(0, 2), deleted=st.booleans())
    def store(self, data: st.DataObject, refused: int, deleted: bool) -> None:  # noqa: FBT001 - hypothesis gives it
        """The database commits some entries; the file may hear of it a little later."""
        if not self.in_flight:
            return
        entry = self.in_flight.pop(data.draw(st.sampled_from(sorted(self.in_flight))))
        if entry.batch_id not in self.batches:  # PostgreSQL recognises it
            self.batches.add(entry.batch_id)
            self.database.update(rows_of(entry))
        refused = min(refused, entry.rows)
        self.file.ack([Ack(entry, {"dead_letter": refused} if refused else {})])
        if deleted:
            self.write([], [])

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.in_flight:
            chosen = data.draw(st.sets(st.sampled_from(sorted(self.in_flight))))
            self.file.release(sorted(chosen))
            for id_ in chosen:
                del self.in_flight[id_]

    @rule(rows=st.integers(1, 30))
    def read(self, rows: int) -> None:
        for entry in self.file.read_backlog(rows):
            assert entry.id not in self.in_flight
            self.in_flight[entry.id] = entry

    @rule()
    def crash(self) -> None:
        """Kills the process: the next one finds the files of this moment and nothing else."""
        self.generation += 1
        folder = self.folder / str(self.generation)
        shutil.copytree(self.file.path.parent, folder)
        self.file.close()
        self.open(folder)

    @rule(max_bytes=st.integers(100, 3000))
    def lower_the_cap(self, max_bytes: int) -> None:
        self.file._settings = SpoolSettings(max_bytes=max_bytes)
        self.write([], [])

    @rule()
    def fill_the_disk(self) -> None:
        self.file._reserve_bytes = 2**62

    @rule()
    def make_room(self) -> None:
        self.file._reserve_bytes = 0

    @invariant()
    def the_ledger_balances(self) -> None:
        assert [ledger.stream for ledger in self.ledger.read() if ledger.imbalance] == []

    @invariant()
    def nothing_is_damaged(self) -> None:
        assert all("damaged" not in ledger.dropped for ledger in self.ledger.read())

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        on_disk = self.file.connection.execute("SELECT coalesce(sum(rows), 0) FROM entries").fetchone()[0]
        assert on_disk == self.file.state.rows
        assert self.file.backlog.rows == on_disk - self.file.state.in_flight.rows
        assert (self.file.backlog.rows > 0) <= (self.file.backlog.entries > 0)

    def teardown(self) -> None:
        """Drained to the end, the database has all that was acknowledged, each once."""
        self.make_room()
        self.file.write(rescued=self.in_memory)
        self.count(self.in_memory)
        self.in_flight |= {entry.id: entry for entry in self.in_memory}
        while True:
            entries = [*self.in_flight.values(), *self.file.read_backlog(1000)]
            self.in_flight = {}
            if not entries:
                break
            for entry in entries:
                if entry.batch_id not in self.batches:
                    self.batches.add(entry.batch_id)
                    self.database.update(rows_of(entry))
                self.file.ack([Ack(entry)])
            self.write([], [])
        self.write([], [])
        dropped_by_cap = sum(ledger.dropped.get("cap_bytes", 0) for ledger in self.ledger.read())
        wanted = self.sampled + Counter(self.acknowledged)
        assert self.database <= wanted  # nothing doubled, nothing made up
        missing = wanted.total() - self.database.total()
        # What was stored and, because of a crash, given up before the file heard of it counts as given up.
        assert missing <= dropped_by_cap
        assert missing == dropped_by_cap or self.generation
        assert all(ledger.spooled == 0 for ledger in self.ledger.read())
        assert self.file.state.entries == 0
        self.the_ledger_balances()
        self.file.close()
        shutil.rmtree(self.folder)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=examples(100), stateful_step_count=30, deadline=None)
TestSpool = pytest.mark.timeout(120)(TestSpool)
