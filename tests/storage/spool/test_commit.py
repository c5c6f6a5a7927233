"""A failed commit that is on disk all the same: entries that reappear after a crash are stored once."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from decahertz.ingest import NotDurableError
from storage.database import Database
from storage.spool.file import SpoolFile
from storage.spool.jobs import CallJob
from tests.storage_examples import Bench, books, quotes, until, writing


class FailingCommit:
    """A connection whose next commit reaches the log, and whose ``fsync`` fails."""

    def __init__(self, file: SpoolFile, image: Path) -> None:
        self._file = file
        self._connection = file.connection
        self._image = image

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a connection has
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as in sqlite3
        found = self._connection.execute(statement, *values)
        if statement == "COMMIT" and not self._image.exists():
            shutil.copytree(self._file.path.parent, self._image)  # a crash at this moment leaves this
            # This process does not see what it could not commit.
            self._connection.execute("DELETE FROM entries WHERE id >= ?", (self._file.state.next_id,))
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return found


async def fail_next_commit(bench: Bench, image: Path) -> None:
    def fail(file: SpoolFile) -> None:
        file.connection = FailingCommit(file, image)  # type: ignore[assignment]  # a stand-in

    await bench.spool.flush()
    bench.spool._worker.put(CallJob(fail, print))
    await bench.spool.flush()


async def test_entries_that_continued_in_memory_and_reappear_are_stored_once(
    database: Database, tmp_path: Path
) -> None:
    async with writing(database, tmp_path / "spool") as bench:
        await bench.append(quotes(1, 10), 10)
        await fail_next_commit(bench, tmp_path / "image")
        bench.sample(books(1))
        await bench.spool.enqueue(quotes(8, 20))
        await until((tmp_path / "image").exists)
        await bench.drained()
        assert await bench.value("SELECT count(*) FROM book_samples") == 1
        assert await bench.value("SELECT count(*) FROM quotes") == 20
        # The process may have been away for longer than ids are kept for.
        await bench.rows("UPDATE stored_batches SET time = time - interval '40 days'")
    async with writing(database, tmp_path / "image") as again:
        assert again.account("samples:book")[0] == 1, "it is there after all"
        await again.drained()
        assert await again.value("SELECT count(*) FROM book_samples") == 1
        assert await again.value("SELECT count(*) FROM quotes") == 20
        assert again.account("samples:book") == (1, 1, 0, {})
    async with writing(database, tmp_path / "image") as again:
        assert await again.value("SELECT count(*) FROM stored_batches") == 0, "the spool was empty"


async def test_a_refused_batch_that_reappears_is_known(database: Database, tmp_path: Path) -> None:
    async with writing(database, tmp_path / "spool") as bench:
        await fail_next_commit(bench, tmp_path / "image")
        with pytest.raises(NotDurableError):
            await bench.spool.append(quotes(1, 10), 10)
        assert not bench.spool.queue.rows
    async with writing(database, tmp_path / "image") as again:
        receipt = await again.append(quotes(1, 10), 10)
        assert (receipt.accepted, receipt.duplicates) == (0, 10)
        assert await again.value("SELECT count(*) FROM quotes") == 10
