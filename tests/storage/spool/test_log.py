"""A write-ahead log that is damaged when the spool is opened: detected, set aside, counted and reported."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from decahertz.health import Health
from decahertz.ledger import Ledger
from decahertz.testing import START_NS, ManualClock
from storage.entry import Ack
from storage.spool.commit_counter import CommitCounter
from storage.spool.file import SpoolFile
from storage.spool.recovery import FILE_NAME, Recovery
from tests.storage.spool.files import OpenedFile, events_of
from tests.storage_examples import books, opened_spool, quotes

HEADER, HEAD, PAGE = 32, 24, 4096
FRAME = HEAD + PAGE
LOG = FILE_NAME + "-wal"
BATCHES = 60


class Crashed:
    """The spool of a killed process: 60 transactions of 10 events and a sample, all in the log."""

    def __init__(self, folder: Path, before: Callable[[SpoolFile], None] = lambda _: None) -> None:
        alive, self.folder = folder / "alive", folder / "dead"
        alive.mkdir()
        file = OpenedFile(alive).file
        before(file)
        self.ends = []
        """Length of the log after each transaction."""
        for number in range(BATCHES):
            file.write([quotes(10 * number + 1, 10 * number + 10)], [books(number)])
            self.ends.append((alive / LOG).stat().st_size)
        shutil.copytree(alive, self.folder)
        file.close()
        self.log = self.folder / LOG

    def copy(self, folder: Path) -> Crashed:
        """The same in another folder, to be damaged."""
        copied = copy(self)
        copied.folder = shutil.copytree(self.folder, folder)
        copied.log = folder / LOG
        return copied

    def offset(self, part: float | None, byte: int) -> int:
        """The place of a byte of the frame that stands at this part of the log, or of the header."""
        last = (self.log.stat().st_size - HEADER) // FRAME - 1
        return byte if part is None else HEADER + round(part * last) * FRAME + byte

    def flip(self, offset: int, bit: int = 0) -> bytes:
        data = bytearray(self.log.read_bytes())
        data[offset] ^= 1 << bit
        self.log.write_bytes(data)
        return bytes(data)

    def intact(self, offset: int) -> int:
        """Transactions that end before the frame with this byte; none if it is in the log's header."""
        if offset < HEADER:
            return 0
        frame = HEADER + (offset - HEADER) // FRAME * FRAME
        return sum(end <= frame for end in self.ends)

    def open(self) -> tuple[SpoolFile, Ledger, Recovery | None]:
        opened = OpenedFile(self.folder)
        return opened.file, opened.ledger, opened.recovery


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    return Crashed(tmp_path_factory.mktemp("image"))


@pytest.fixture
def crashed(image: Crashed, tmp_path: Path) -> Crashed:
    return image.copy(tmp_path / "dead")


PLACES: dict[str, tuple[float | None, int]] = {
    "magic": (None, 0),
    "salt of the header": (None, 17),
    "checksum of the header": (None, 31),
    "page number of the first frame": (0, 1),
    "salt of the first frame": (0, 9),
    "checksum of the first frame": (0, 20),
    "page of the first frame": (0, HEAD + 3000),
    "page of the middle frame": (0.5, HEAD + 3000),
    "salt of the middle frame": (0.5, 10),
    "page of the last frame": (1, HEAD + 3000),
    "checksum of the last frame": (1, 20),
}
"""Which frame (a part of the log; ``None``: before the first) and which of its bytes."""


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_bit_costs_the_transactions_behind_it_and_each_is_counted(
    crashed: Crashed, place: str
) -> None:
    offset = crashed.offset(*PLACES[place])
    flipped = crashed.flip(offset)
    intact = crashed.intact(offset)
    file, ledger, recovery = crashed.open()
    assert recovery is not None
    assert (crashed.folder / f"{recovery.set_aside.name}-wal").read_bytes() == flipped, "kept as it was"
    assert "log" in recovery.reason
    assert recovery.lost_transactions == BATCHES - intact
    assert events_of(file.read_backlog(100_000)) == list(range(1, 10 * intact + 1))
    assert all(one.imbalance == 0 and not one.dropped for one in ledger.read())
    assert sum(one.emitted for one in ledger.read()) == 11 * intact
    ((receipt, _),) = file.write([quotes(10 * BATCHES + 1, 10 * BATCHES + 5)]).events
    assert receipt.accepted == 5
    file.close()
    assert crashed.open()[2] is None, "the new file is whole"


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_anywhere_is_detected_and_nothing_is_duplicated(crashed: Crashed, seed: int) -> None:
    chance = random.Random(seed)
    offset = chance.randrange(crashed.ends[-1])
    crashed.flip(offset, chance.randrange(8))
    file, ledger, recovery = crashed.open()
    events = events_of(file.read_backlog(100_000))
    if recovery is None:  # the header has fields that SQLite does not check; then nothing may be missing
        assert events == list(range(1, 10 * BATCHES + 1))
        return
    assert events == list(range(1, 10 * (BATCHES - recovery.lost_transactions) + 1))
    assert all(one.imbalance == 0 and not one.dropped for one in ledger.read())


@pytest.mark.parametrize("left", [None, 0, 10, HEADER, HEADER + HEAD, HEADER + 7 * FRAME + 100])
def test_the_lost_transactions_of_a_missing_or_truncated_log_are_counted(
    crashed: Crashed, left: int | None
) -> None:
    if left is None:
        crashed.log.unlink()
    else:
        os.truncate(crashed.log, left)
    whole = sum(end <= (left or 0) for end in crashed.ends)
    file, _, recovery = crashed.open()
    assert recovery is not None
    assert recovery.lost_transactions == BATCHES - whole
    assert f"{BATCHES - whole} transactions" in str(recovery)
    assert events_of(file.read_backlog(100_000)) == list(range(1, 10 * whole + 1))


def test_a_process_killed_while_writing_is_not_mistaken_for_damage(image: Crashed, crashed: Crashed) -> None:
    """The log may end at any byte behind the transactions that were counted."""
    data = crashed.log.read_bytes()
    connection = sqlite3.connect(crashed.folder / FILE_NAME)
    file_id = connection.execute("SELECT file_id FROM commits").fetchone()[0]
    connection.close()
    begin, end = crashed.ends[-2:]
    boundaries = [
        begin + n * FRAME + more for n in range((end - begin) // FRAME) for more in (0, 1, HEAD, HEAD + 1)
    ]
    chance = random.Random(1)
    for cut in sorted({begin, end - 1, *boundaries, *(chance.randrange(begin, end) for _ in range(100))}):
        shutil.rmtree(crashed.folder)
        shutil.copytree(image.folder, crashed.folder)
        crashed.log.write_bytes(data[:cut])
        CommitCounter(crashed.folder / FILE_NAME, file_id, BATCHES - 1, ManualClock(START_NS)).close()
        file, ledger, recovery = crashed.open()
        assert recovery is None
        assert events_of(file.read_backlog(100_000)) == list(range(1, 10 * (BATCHES - 1) + 1))
        assert all(not one.dropped for one in ledger.read())
        file.close()


@pytest.mark.parametrize("offset", [None, 17, HEADER + HEAD + 3000])
def test_old_frames_of_a_restarted_log_are_ignored(tmp_path: Path, offset: int | None) -> None:
    def use(file: SpoolFile) -> None:
        entries = file.write(samples=[books(cycle) for cycle in range(20_000)]).samples
        file.ack([Ack(entry) for entry in entries])
        file.write()
        file.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    crashed = Crashed(tmp_path, use)
    assert crashed.log.stat().st_size == crashed.ends[0], "old frames are behind the new ones"
    if offset is not None:
        crashed.flip(offset)
    file, ledger, recovery = crashed.open()
    lost = 0 if recovery is None else recovery.lost_transactions
    assert lost == (0 if offset is None else BATCHES)
    assert events_of(file.read_backlog(100_000)) == list(range(1, 10 * (BATCHES - lost) + 1))
    assert all(one.imbalance == 0 and not one.dropped for one in ledger.read())


async def test_health_log_and_metrics_report_it(crashed: Crashed) -> None:
    offset = crashed.offset(0.5, HEAD + 3000)
    crashed.flip(offset)
    lost = BATCHES - crashed.intact(offset)
    registry = CollectorRegistry()
    with structlog.testing.capture_logs() as logs:
        async with opened_spool(crashed.folder, registry=registry) as spool:
            status = spool.status()
    assert status.health is Health.DEGRADED
    assert f"{lost} transactions lost" in status.detail
    assert "sqlite3 -readonly" in status.detail
    (line,) = (line for line in logs if line["event"] == "spool_damaged")
    assert (line["log_level"], line["transactions_lost"]) == ("error", lost)
    assert "sqlite3 -readonly" in line["inspect"]
    assert registry.get_sample_value("decahertz_spool_lost_transactions_total") == lost
