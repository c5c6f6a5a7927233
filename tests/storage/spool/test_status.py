"""Status of a spool file, in use and not."""

from __future__ import annotations

from pathlib import Path

from decahertz.clock import SystemClock
from storage.database import Database
from storage.spool.status import spool_status
from tests.storage_examples import books, quotes, writing


async def test_a_folder_without_a_spool_has_no_status(tmp_path: Path) -> None:
    assert await spool_status(tmp_path, 0) is None


async def test_status_works_while_the_spool_is_in_use_and_afterwards(
    database: Database, tmp_path: Path
) -> None:
    async with writing(database, tmp_path, stop_seconds=0.1) as bench:
        await bench.append(quotes(1, 10))
        await bench.spool.flush()  # what is in the database is deleted by a transaction of its own
        clock = SystemClock()
        empty = await spool_status(tmp_path, clock.time_ns())
        assert empty is not None
        assert (empty.rows, empty.streams, empty.oldest_age_seconds, empty.problem) == (0, [], None, "")
        async with database.query() as blocker, blocker.transaction():
            await blocker.execute("LOCK TABLE quotes, book_samples IN ACCESS EXCLUSIVE MODE")
            began_ns = clock.time_ns()
            await bench.spool.append(quotes(11, 14), 10)
            bench.sample(books(0))
            await bench.spool.flush()
            later_ns = clock.time_ns() + 60 * 10**9
            found = await spool_status(tmp_path, later_ns)
        assert found is not None
        assert {stream.stream: stream.rows for stream in found.streams} == {
            "events:loop": 4,
            "samples:book": 1,
        }
        assert found.rows == 5
        assert found.oldest_age_seconds is not None
        assert 60 <= found.oldest_age_seconds <= (later_ns - began_ns) / 1e9 + 0.001
        assert found.bytes > 0
        await bench.drained()
    after = await spool_status(tmp_path, clock.time_ns())
    assert after is not None
    assert after.rows == 0


async def test_status_reports_an_unreadable_file_and_lists_damaged_ones(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").write_bytes(b"no database" * 500)
    (tmp_path / "spool.sqlite.damaged-17").write_bytes(b"")
    (tmp_path / "spool.sqlite.damaged-17-wal").write_bytes(b"")
    found = await spool_status(tmp_path, 0)
    assert found is not None
    assert "not a database" in found.problem
    assert found.set_aside == ["spool.sqlite.damaged-17"]
