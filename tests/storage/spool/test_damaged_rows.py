"""Damage that SQLite does not detect: invalid rows and changed layouts."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from decahertz.clock import NS_PER_SECOND
from decahertz.event import Arrival
from decahertz.health import Health
from decahertz.sample import SampleBatch
from decahertz.testing import START_NS, ManualClock
from storage.entry import Ack, Entry, Unreadable
from storage.spool import Spool
from storage.spool.errors import SpoolDamagedError
from storage.spool.file import SpoolFile
from storage.spool.jobs import CallJob
from storage.spool.recovery import FILE_NAME
from tests.storage.spool.files import PAGE, OpenedFile, filled, garble
from tests.storage_examples import BOOK, books, opened_spool, quotes

BATCHES = 40


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount > 0
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def garbled(data: bytes) -> bytes:
    """No text any more."""
    return data[:4] + b"\xff" + data[5:]


def renamed(data: bytes) -> bytes:
    """A good layout, of another table."""
    assert b'"mid"' in data
    return data.replace(b'"mid"', b'"mix"')


def damage_layout(path: Path, how: Callable[[bytes], bytes]) -> None:
    """As a page of the disk does it: in the bytes of the file."""
    with closing(sqlite3.connect(path)) as connection:
        ((layout,),) = connection.execute("SELECT layout FROM layouts").fetchall()
    data = path.read_bytes()
    assert data.count(layout) == 1
    path.write_bytes(data.replace(layout, how(layout)))


async def drained(spool: Spool) -> list[Entry]:
    entries: list[Entry] = []
    while found := await spool.read_backlog(10_000):
        entries += found
        spool.ack([Ack(entry) for entry in found])
        await spool.flush()
    return entries


@pytest.mark.parametrize("how", [garbled, renamed])
async def test_a_damaged_layout_costs_nothing_if_the_program_declares_it(
    tmp_path: Path, how: Callable[[bytes], bytes]
) -> None:
    damage_layout(filled(tmp_path, BATCHES), how)
    async with opened_spool(tmp_path, [BOOK]) as spool:
        entries = await drained(spool)
        assert spool.status().health is Health.OK
    batches = [entry.content for entry in entries if isinstance(entry.content, SampleBatch)]
    assert len(batches) == BATCHES
    assert {batch.schema.type.__struct_fields__ for batch in batches} == {BOOK.type.__struct_fields__}
    assert sum(len(batch.samples) for batch in batches) == 10 * BATCHES


@pytest.mark.parametrize("how", [garbled, renamed])
async def test_samples_without_a_layout_are_kept_as_bytes_and_block_nothing(
    tmp_path: Path, how: Callable[[bytes], bytes]
) -> None:
    damage_layout(filled(tmp_path, BATCHES), how)
    async with opened_spool(tmp_path) as spool:
        entries = await drained(spool)
        assert (await spool.append(quotes(10 * BATCHES + 1, 10 * BATCHES + 5), 10)).accepted == 5
    unreadable = [entry.content for entry in entries if isinstance(entry.content, Unreadable)]
    assert len(unreadable) == BATCHES
    assert {"layout" in content.reason for content in unreadable} == {True}
    assert sum(isinstance(entry.content, Arrival) for entry in entries) == BATCHES


async def test_the_next_samples_replace_a_damaged_layout(tmp_path: Path) -> None:
    damage_layout(filled(tmp_path, BATCHES), garbled)
    file = OpenedFile(tmp_path).file
    file.write(samples=[books(BATCHES)])
    file.close()
    async with opened_spool(tmp_path) as spool:
        entries = await drained(spool)
    assert sum(isinstance(entry.content, SampleBatch) for entry in entries) == BATCHES + 1


_LOSES_ONE = (
    "UPDATE entries SET batch_id = x'00' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET 40)",
    "UPDATE entries SET payload = 'text' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET 40)",
    "UPDATE entries SET stream = x'ff' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET 40)",
    "UPDATE entries SET checksum = 'much' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET 40)",
)
_LOSES_AT_MOST_ONE = (
    "INSERT INTO ledger VALUES ('samples:book', 'dropped:x', 'many')",
    "INSERT INTO emitter_drops VALUES ('loop', 7, x'00', 'many')",
    "UPDATE emitters SET ranges = x'ffff'",
    "UPDATE emitters SET last_seen_ns = 'never'",
    "UPDATE entries SET rows = 'many' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET 40)",
    "UPDATE entries SET time_ns = 'now' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET 40)",
    "DELETE FROM commits",
)


@pytest.mark.parametrize("statement", _LOSES_ONE + _LOSES_AT_MOST_ONE)
async def test_an_invalid_row_costs_only_itself(tmp_path: Path, statement: str) -> None:
    change(filled(tmp_path, BATCHES), statement)
    async with opened_spool(tmp_path, [BOOK]) as spool:
        entries = await drained(spool)
        assert (await spool.append(quotes(10 * BATCHES + 1, 10 * BATCHES + 5), 10)).accepted == 5
        health, ledgers = spool.status().health, spool.ledger()
    assert len(entries) >= 2 * BATCHES - 1
    assert all(ledger.imbalance == 0 for ledger in ledgers)
    if statement in _LOSES_ONE:
        assert (len(entries), health) == (2 * BATCHES - 1, Health.DEGRADED)
        assert sum(ledger.dropped.get("damaged", 0) for ledger in ledgers) == 10


async def test_waiting_events_are_read_from_a_damaged_file(tmp_path: Path) -> None:
    """Collectors restore their state from these events."""
    batches = 150  # the newest 100 batches of samples are looked at when it is opened
    path = filled(tmp_path, batches)
    with closing(sqlite3.connect(path)) as connection:
        ((batch_id,),) = connection.execute(
            "SELECT batch_id FROM entries ORDER BY id LIMIT 1 OFFSET 19"
        ).fetchall()
    garble(path, path.read_bytes().index(batch_id) // PAGE)
    async with opened_spool(tmp_path, [BOOK]) as spool:
        assert spool.status().health is Health.OK  # nobody has seen it yet
        arrivals = [arrival async for arrival in spool.waiting_events()]
        assert spool.status().health is Health.DEGRADED
        waiting = [entry.content for entry in await drained(spool) if isinstance(entry.content, Arrival)]
    assert arrivals == waiting
    assert batches - 10 < len(arrivals) < batches


@pytest.mark.parametrize("seed", range(20))
async def test_garbled_random_pages_stop_nothing(tmp_path: Path, seed: int) -> None:
    path, chance = filled(tmp_path, BATCHES), random.Random(seed)
    with closing(sqlite3.connect(path)) as connection:  # a ledger that is damaged cannot say what was lost
        ((ledger,),) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'ledger'"
        ).fetchall()
    pages = [page for page in range(2, path.stat().st_size // PAGE + 1) if page != ledger]
    for page in chance.sample(pages, 3):
        garble(path, page - 1)
    async with opened_spool(tmp_path, [BOOK]) as spool:
        arrivals = [arrival async for arrival in spool.waiting_events()]
        entries = await drained(spool)
        assert (await spool.append(quotes(10 * BATCHES + 1, 10 * BATCHES + 5), 10)).accepted == 5
        assert spool.status().health is not Health.FAILED
        await spool.flush()
        ledgers = spool.ledger()
    assert all(ledger.imbalance == 0 for ledger in ledgers)
    lost = sum(ledger.dropped.get("damaged", 0) for ledger in ledgers)
    assert sum(entry.rows for entry in entries) + lost == 2 * 10 * BATCHES
    known = [entry.content for entry in entries if isinstance(entry.content, Arrival)]
    assert [arrival for arrival in arrivals if arrival not in known] == []


async def test_a_damaged_file_is_replaced_at_most_every_10_seconds(tmp_path: Path) -> None:
    """Each replacement keeps the damaged file: without a limit they would fill the disk."""
    told: list[str] = []

    def damaged(_: SpoolFile) -> None:
        raise SpoolDamagedError("a page is gone")

    def aside() -> int:
        return len(list(tmp_path.glob(f"{FILE_NAME}.damaged-*-wal")))

    clock = ManualClock(START_NS)
    async with opened_spool(tmp_path, [BOOK], clock) as spool:
        for _ in range(3):
            spool._worker.put(CallJob(damaged, lambda error: told.append(str(error))))
            await spool.flush()
        assert told[0] == "a page is gone"
        assert told[1] == told[2]
        assert "damaged again within 10 s" in told[1]
        assert "a page is gone" in told[1]
        assert aside() == 1
        assert (await spool.append(quotes(1, 5), 10)).accepted == 5
        clock.advance(10 * NS_PER_SECOND)
        spool._worker.put(CallJob(damaged, lambda error: told.append(str(error))))
        await spool.flush()
        assert aside() == 2
        assert spool.ledger()[0].spooled == 5
