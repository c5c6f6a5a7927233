"""A damaged file is set aside, its readable entries are recovered, and its losses are counted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.entry import Ack, Entry
from storage.spool.errors import SpoolDamagedError, SpoolError
from storage.spool.recovery import FILE_NAME, Recovery
from tests.storage.spool.files import PAGE, OpenedFile, events_of, filled, garble
from tests.storage_examples import books, quotes

BATCHES = 300


class Reopened(OpenedFile):
    """A spool opened again, with what was found."""

    def totals(self) -> tuple[int, int, int]:
        """Emitted, spooled, dropped as damaged, over all streams; all balanced."""
        ledgers = self.ledger.read()
        assert all(ledger.imbalance == 0 for ledger in ledgers)
        assert all(set(ledger.dropped) <= {"damaged"} for ledger in ledgers)
        return (
            sum(ledger.emitted for ledger in ledgers),
            sum(ledger.spooled for ledger in ledgers),
            sum(ledger.dropped.get("damaged", 0) for ledger in ledgers),
        )

    def read(self) -> list[Entry]:
        """As the spool's thread does it: with a new file where this one turns out to be damaged."""
        try:
            return self.file.read_backlog(10_000)
        except SpoolDamagedError:
            self.replace()
            return self.file.read_backlog(10_000)

    def drained(self) -> list[Entry]:
        entries: list[Entry] = []
        while found := self.read():
            entries += found
            self.file.ack([Ack(entry) for entry in found])
            self.file.write()
        return entries


def damaged_by(damage: Callable[[Path], None], folder: Path) -> Reopened:
    path = filled(folder, BATCHES)
    damage(path)
    return Reopened(folder)


def test_a_file_cut_in_half_gives_back_its_first_half(tmp_path: Path) -> None:
    again = damaged_by(lambda path: os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE), tmp_path)
    entries = again.drained()
    emitted, spooled, lost = again.totals()
    assert spooled == 0
    assert again.recovery is not None
    assert again.recovery.set_aside.exists()
    assert sum(again.recovery.lost.values()) == lost
    saved = sum(entry.rows for entry in entries)
    assert (emitted, saved + lost) == (2 * 10 * BATCHES, 2 * 10 * BATCHES)
    assert saved > 5 * BATCHES


@pytest.mark.parametrize("first_page", [3, 10, 20, 30, 40])
def test_garbled_pages_cost_only_their_entries(tmp_path: Path, first_page: int) -> None:
    again = damaged_by(lambda path: garble(path, first_page, 2), tmp_path)
    entries = again.drained()
    emitted, spooled, lost = again.totals()
    assert spooled == 0
    events = events_of(entries)
    assert len(events) == len(set(events))
    assert sum(entry.rows for entry in entries) + lost == emitted
    assert sum(entry.rows for entry in entries) > 10 * BATCHES
    again.file.write([quotes(1, 10 * BATCHES + 5)])
    assert again.totals()[0] >= emitted


def test_a_changed_byte_in_an_entry_is_detected_by_its_checksum(tmp_path: Path) -> None:
    path = filled(tmp_path, BATCHES)
    data = path.read_bytes()
    place = data.index(b"EUR/USD", len(data) // 2)
    path.write_bytes(data[:place] + b"EUX" + data[place + 3 :])
    again = Reopened(tmp_path)
    assert again.recovery is None
    entries = again.drained()
    assert again.totals()[2] == 10
    assert sum(entry.rows for entry in entries) == 2 * 10 * BATCHES - 10


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000, b"\0" * 8192])
def test_a_file_that_is_not_a_spool_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    again = Reopened(tmp_path)
    assert again.file.write([quotes(1, 3)]).events[0][0].accepted == 3
    again.file.close()
    assert Reopened(tmp_path).totals() == (3, 3, 0)


def test_a_database_of_another_program_is_set_aside_unchanged(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TABLE accounts (owner TEXT)")
    other.execute("INSERT INTO accounts VALUES ('me')")
    other.commit()
    other.close()
    again = Reopened(tmp_path)
    assert again.recovery is not None
    kept = sqlite3.connect(again.recovery.set_aside)
    assert kept.execute("SELECT owner FROM accounts").fetchall() == [("me",)]
    kept.close()


def test_damage_while_in_use_costs_no_entry_in_flight(tmp_path: Path) -> None:
    """Half of the entries are in flight, half are backlog."""
    spool = OpenedFile(tmp_path)
    file = spool.file
    entries = [file.write([quotes(10 * n + 1, 10 * n + 10)]).events[0][1][0] for n in range(BATCHES)]
    file.release(entry.id for entry in entries[: BATCHES // 2])
    file.ack([Ack(entries[-1])])
    file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(file.path, file.path.stat().st_size // 4 // PAGE * PAGE)
    file.connection.execute("PRAGMA shrink_memory")  # what SQLite remembers would hide it for a while
    with pytest.raises(SpoolDamagedError):
        file.read_backlog(10_000)
    recovery = spool.replace()
    file = spool.file
    ((receipt, _),) = file.write([quotes(1, 10 * BATCHES + 10)]).events
    assert (receipt.accepted, receipt.duplicates) == (10, 10 * BATCHES)
    file.ack([Ack(entry) for entry in entries[BATCHES // 2 : -1]])
    file.write()
    (account,) = spool.ledger.read()
    lost = account.dropped.get("damaged", 0)
    assert (account.imbalance, account.emitted) == (0, 10 * BATCHES + 10)
    assert account.stored == 10 * BATCHES // 2  # none of what was in memory is lost
    assert 0 < lost <= 10 * BATCHES // 2
    assert isinstance(recovery, Recovery)
    assert lost == sum(recovery.lost.values())
    assert account.spooled == 10 * BATCHES // 2 - lost + 10


def test_stored_entries_do_not_reappear_with_an_older_state_of_the_file(tmp_path: Path) -> None:
    """The log, in which it is deleted, was cut short."""
    spool = OpenedFile(tmp_path)
    file = spool.file
    gone, waits = file.write(samples=[books(0), books(1)]).samples
    file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.ack([Ack(gone)])
    file.write()
    os.truncate(f"{file.path}-wal", 0)
    spool.replace()
    file = spool.file
    file.release([waits.id])
    assert [entry.batch_id for entry in file.read_backlog(10)] == [waits.batch_id]
    (account,) = spool.ledger.read()
    assert (account.emitted, account.stored, account.spooled, account.imbalance) == (2, 1, 1, 0)


def test_after_a_crash_during_the_replacement_the_next_start_repeats_it(tmp_path: Path) -> None:
    path = filled(tmp_path, BATCHES)
    os.truncate(path, path.stat().st_size - PAGE)  # the last page is gone: SQLite calls that damage
    (tmp_path / f"{FILE_NAME}.new").write_bytes(b"half of a file")
    again = Reopened(tmp_path)
    assert again.recovery is not None
    assert again.recovery.rows > 10 * BATCHES
    assert not (tmp_path / f"{FILE_NAME}.new").exists()


def test_after_a_crash_behind_setting_aside_the_next_start_uses_the_new_file(tmp_path: Path) -> None:
    path = filled(tmp_path, BATCHES)
    path.rename(tmp_path / f"{FILE_NAME}.new")
    Path(f"{path}-wal").write_bytes(b"the log of the damaged one")
    again = Reopened(tmp_path)
    assert again.recovery is None
    assert again.totals() == (2 * 10 * BATCHES, 2 * 10 * BATCHES, 0)


def test_a_failed_replacement_is_retried_and_nothing_is_lost(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    file = spool.file
    waiting = [file.write([quotes(10 * n + 1, 10 * n + 10)]).events[0][1][0] for n in range(BATCHES)]
    file.release(entry.id for entry in waiting)
    file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    no_place = tmp_path / f"{FILE_NAME}.new"
    no_place.mkdir()
    for _ in range(2):
        with pytest.raises(OSError, match="directory"):
            spool.replace()
        with pytest.raises(SpoolDamagedError):
            file.write()
        with pytest.raises(SpoolError):
            file.read_backlog(1)
    no_place.rmdir()
    recovery = spool.replace()
    file = spool.file
    assert (recovery.rows, recovery.lost) == (10 * BATCHES, {})
    assert events_of(file.read_backlog(10 * BATCHES)) == list(range(1, 10 * BATCHES + 1))
    (account,) = spool.ledger.read()
    assert (account.emitted, account.spooled, account.imbalance) == (10 * BATCHES, 10 * BATCHES, 0)
