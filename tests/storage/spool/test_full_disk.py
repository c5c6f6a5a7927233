"""A disk that the spool itself has filled."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from storage.entry import Ack, Entry
from storage.spool.errors import SpoolUnwritableError
from tests.small_disk import fill_up, small_disk
from tests.storage.spool.files import OpenedFile
from tests.storage_examples import quotes

EVENTS = 2_000


def test_a_log_that_leaves_no_room_is_checkpointed_and_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder):
        file = OpenedFile(folder).file
        first = 1
        for number in range(24):
            if number == 12:
                file.write()
                file.tidy()  # from here on the log grows, and the file has free pages for what is in it
            ((_, entries),) = file.write([quotes(first, first + EVENTS - 1)]).events
            file.ack(Ack(entry) for entry in entries)
            first += EVENTS
        fill_up(folder / "filler")
        failures = 0
        for _ in range(5):
            try:
                file.write([quotes(first, first + EVENTS - 1)])
            except SpoolUnwritableError:
                failures += 1
            else:
                break
        else:
            raise AssertionError("the spool does not recover while its log fills the disk")
        assert failures > 0, "the disk was not full"
        with suppress(SpoolUnwritableError):
            file.write()
        file.close()


@pytest.mark.parametrize("events", [200, 20_000])
def test_a_disk_full_of_entries_has_room_to_delete_them(tmp_path: Path, events: int) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder, "24m"):
        spool = OpenedFile(folder)
        file = spool.file
        waiting: list[Entry] = []
        first, failures = 1, 0
        while failures < 3:
            try:
                ((_, entries),) = file.write([quotes(first, first + events - 1)]).events
            except SpoolUnwritableError:
                failures += 1
            else:
                waiting += entries
                first += events
        assert len(waiting) >= 20
        for start in range(0, len(waiting), 10):
            file.ack(Ack(entry) for entry in waiting[start : start + 10])
            file.write()
        assert file.write([quotes(first, first + events - 1)]).events[0][0].accepted == events
        assert spool.account("events:loop") == (first - 1 + events, first - 1, events, {})
        file.close()


def test_a_large_transaction_that_fills_the_disk_is_not_the_end(tmp_path: Path) -> None:
    """Found by the chaos suite: the log had filled the disk, and could not be emptied into the file."""
    folder = tmp_path / "disk"
    with small_disk(folder):
        spool = OpenedFile(folder)
        file = spool.file
        waiting: list[Entry] = []
        first = 1
        with suppress(SpoolUnwritableError):
            while True:
                ((_, entries),) = file.write([quotes(first, first + EVENTS - 1)]).events
                waiting += entries
                first += EVENTS
        file.ack(Ack(entry) for entry in waiting)
        file.write()  # the file is full of free pages, and a part of it is in the log only
        with pytest.raises(SpoolUnwritableError):
            file.write([quotes(first + n * EVENTS, first + (n + 1) * EVENTS - 1) for n in range(500)])
        for _ in range(20):
            assert file.write([quotes(first, first + EVENTS - 1)]).events[0][0].accepted == EVENTS
            first += EVENTS
        assert spool.account("events:loop") == (first - 1, first - 1 - 20 * EVENTS, 20 * EVENTS, {})
        file.close()
