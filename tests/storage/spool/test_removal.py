"""Files that are removed while the spool is in use are noticed and written again, with everything in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from decahertz.health import Health
from decahertz.ingest import NotDurableError
from storage.entry import Ack, Entry
from storage.spool.errors import SpoolInUseError
from storage.spool.recovery import FILE_NAME, NEW_NAME
from tests.small_disk import small_disk
from tests.storage.spool.test_spool import Opened, opened
from tests.storage_examples import books, quotes, until


def all_files(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def log(folder: Path) -> None:
    (folder / f"{FILE_NAME}-wal").unlink()


def counter(folder: Path) -> None:
    (folder / "spool.commits").unlink()


def the_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def exchanged(folder: Path) -> None:
    file = folder / FILE_NAME
    file.unlink()
    file.write_bytes(b"not a spool")


@pytest.mark.parametrize("remove", [all_files, log, counter, the_folder, exchanged])
async def test_no_acknowledged_event_is_lost(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    folder = tmp_path / "spool"
    async with opened(folder) as one:
        for first in range(1, 101, 10):
            await one.spool.append(quotes(first, first + 9), 10)
        one.sample(books(1))
        await one.spool.flush()
        one.spool.queue.release(one.spool.queue.take())  # the spool alone has them
        remove(folder)
        await one.spool.append(quotes(101, 120), 10)
        shutil.copytree(folder, tmp_path / "killed")
        status = one.spool.status()
        assert status.health is Health.DEGRADED
        assert status.detail.startswith("files of the spool were removed while in use: spool.")
        with pytest.raises(SpoolInUseError):  # the lock is there again too
            await Opened(folder).spool.start()
        drained = one.store_all()
        while entries := await one.spool.read_backlog(1_000):
            drained += entries
            one.spool.ack([Ack(entry) for entry in entries])
        await one.spool.flush()
        assert sum(entry.rows for entry in drained) == 121
        assert one.account("events:loop") == (120, 120, 0, {})
        assert one.account("samples:book") == (1, 1, 0, {})
    async with opened(tmp_path / "killed") as again:
        assert again.spool.status().health is Health.OK
        assert [list(known) for known in again.spool.known().values()] == [[(1, 120)]]
        assert again.account("events:loop") == (120, 0, 120, {})
        assert sum(entry.rows for entry in await again.spool.read_backlog(1_000)) == 121


async def test_without_room_for_both_what_is_stored_is_deleted_first(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with small_disk(folder, "48m"):
        async with opened(folder, queue_rows=1_000_000) as one:
            last = 0
            while shutil.disk_usage(folder).free > 21 * 1024 * 1024:
                await one.spool.append(quotes(last + 1, last + 2_000), 10)
                last += 2_000
            stored = one.store_all()
            all_files(folder)
            await one.spool.append(quotes(last + 1, last + 10), 10)
            assert sum(entry.rows for entry in stored) == last
            assert one.account("events:loop") == (last + 10, last, 10, {})
            assert one.spool.status().detail.endswith("they were written again with all 0 rows")


async def test_what_is_stored_makes_room_for_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with small_disk(folder, "48m"):
        async with opened(folder, queue_rows=1_000_000) as one:
            last = 0
            with suppress(NotDurableError):  # the disk is full
                while True:
                    await one.spool.append(quotes(last + 1, last + 2_000), 10)
                    last += 2_000
            entries: list[Entry] = []
            while not one.spool.queue.is_empty:
                entries += one.spool.queue.take()
            all_files(folder)
            with pytest.raises(NotDurableError):
                await one.spool.append(quotes(last + 1, last + 10), 10)
            assert not (folder / NEW_NAME).exists()
            stored = entries[: len(entries) // 3]
            one.spool.ack([Ack(entry) for entry in stored])
            await one.spool.append(quotes(last + 1, last + 10), 10)
            rows = sum(entry.rows for entry in stored)
            assert one.account("events:loop") == (last + 10, rows, last + 10 - rows, {})


async def test_it_is_noticed_while_nothing_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        await one.spool.append(quotes(1, 10), 10)
        one.spool.queue.take()
        all_files(tmp_path / "spool")
        await until(lambda: one.spool.status().health is Health.DEGRADED)
        shutil.copytree(tmp_path / "spool", tmp_path / "killed")
    async with opened(tmp_path / "killed") as again:
        assert again.account("events:loop") == (10, 0, 10, {})


async def test_it_is_over_when_the_database_has_what_was_in_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.spool.worker._REMOVAL_SHOWN_NS", 0)
    async with opened(tmp_path / "spool") as one:
        await one.spool.append(quotes(1, 10), 10)
        before = one.spool.queue.take()
        all_files(tmp_path / "spool")
        await until(lambda: one.spool.status().health is Health.DEGRADED)
        await one.spool.append(quotes(11, 20), 10)
        await one.spool.flush()
        assert one.spool.status().detail.startswith("files of the spool were removed while in use: spool.")
        one.spool.ack([Ack(entry) for entry in before])  # of what was written again, nothing is left
        await until(lambda: one.spool.status().health is Health.OK)
        assert one.account("events:loop") == (20, 10, 10, {})
