"""The archive: closed days as files that read back as they were stored, and retention that waits for them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, date
from pathlib import Path
from typing import IO, Any

import pyarrow.dataset
import pytest
import pytest_asyncio
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.database import DatabaseUnavailableError
from storage.maintenance.archive.days import archive_summary
from storage.maintenance.archive.files import VerificationError, partial_of
from storage.maintenance.archive.run import ArchiveRun, Reason, TableResult, last_closed_day
from storage.maintenance.archive.store import DestinationError, FolderStore, S3Store, Store, store_at
from storage.query.export import events_request, samples_request
from storage.query.export_format import ExportFormat
from storage.settings import RetentionSettings
from tests.pipeline.running import Forked, environment, run
from tests.s3_server import BUCKET, SECRET, s3_server
from tests.storage.query.exports import exported, rows_of
from tests.storage_examples import BOOK, START_NS, arrival, quote
from tests.storage_examples import store as store_events
from tests.tier_checks import row, store
from tests.tiered_database import TieredDatabase

DAY_NS = 86_400 * NS_PER_SECOND
TICKS = DAY_NS // (100 * NS_PER_SECOND // 1000)
"""Cycles of a day."""
DAYS = [date(2023, 11, 14), date(2023, 11, 15)]
LATER_NS = START_NS + 3 * DAY_NS


class Silent:
    """Progress that nobody looks at."""

    def planned(self, days: int) -> None: ...

    def reached(self, table: str, time_ns: int) -> None: ...

    def done(self) -> None: ...


@pytest_asyncio.fixture
async def two_days(tiered_database: TieredDatabase) -> TieredDatabase:
    """A database with samples and quotes of two days, rolled up and packed, three days later."""
    tiered = tiered_database
    await store(tiered, [row(tick + day * TICKS, mid=float(tick)) for day in (0, 1) for tick in range(900)])
    await store_events(
        tiered.database, arrival(1, [quote(n + day * DAY_NS) for day in (0, 1) for n in range(50)])
    )
    tiered.clock.advance(LATER_NS - tiered.clock.time_ns())
    await tiered.worker.run_once()
    return tiered


async def folder(path: Path) -> FolderStore:
    """An archive in a folder."""
    return await asyncio.to_thread(FolderStore, path)


async def archive(
    tiered: TieredDatabase, store: Store, *tables: str, until: date = DAYS[1]
) -> dict[str, TableResult]:
    return await ArchiveRun(tiered.database, store, tiered.clock).run(tables, until, Silent())


def files_in(folder: Path) -> dict[str, int]:
    """Files by path, with the time of their last change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def archived(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table in an archive, in order of time, as a reader of Hive-style paths finds them."""
    found = pyarrow.dataset.dataset(folder / f"table={table}", partitioning="hive").to_table()
    rows: list[dict[str, Any]] = found.sort_by("time_ns").to_pylist()
    for one in rows:
        assert one.pop("day") == str(to_datetime(one["time_ns"]).astimezone(UTC).date())
    return rows


async def stored(tiered: TieredDatabase, table: str) -> list[dict[str, Any]]:
    """The rows of a table in the database, by an export."""
    request = samples_request(BOOK) if table == "book_samples" else events_request(table)
    return rows_of(
        await exported(tiered.database, request, ExportFormat.PARQUET), ExportFormat.PARQUET, request
    )


async def test_days_read_back_as_they_were_stored_and_a_second_run_writes_nothing(
    two_days: TieredDatabase, tmp_path: Path
) -> None:
    place = await folder(tmp_path)
    results = await archive(two_days, place)
    written = {
        name: [one.day for one in result.written] for name, result in results.items() if result.written
    }
    assert written == {"book_samples": DAYS, "quotes": DAYS}
    for table in written:
        assert archived(tmp_path, table) == await stored(two_days, table)
    manifests = sorted((tmp_path / "_manifest").rglob("*.json"))
    assert len(manifests) == 4
    for path in manifests:
        manifest = json.loads(path.read_bytes())
        data = (tmp_path / manifest["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (manifest["bytes"], manifest["sha256"])
        assert manifest["rows"] == (900 if manifest["table"] == "book_samples" else 50)
    before = files_in(tmp_path)
    again = await archive(two_days, place)
    assert sum(len(result.written) for result in again.values()) == 0
    assert sum(result.unchanged for result in again.values()) == 4
    assert files_in(tmp_path) == before


async def test_a_day_with_late_rows_is_written_again_and_no_other(
    two_days: TieredDatabase, tmp_path: Path
) -> None:
    place = await folder(tmp_path)
    await archive(two_days, place)
    before = files_in(tmp_path)
    await store(two_days, [row(5, "USD/JPY")])
    await store_events(two_days.database, arrival(101, [quote(DAY_NS + 7)]))
    await two_days.worker.run_once()  # the late sample is packed
    results = await archive(two_days, place)
    written = {name: [(one.day, one.reason) for one in result.written] for name, result in results.items()}
    assert written["book_samples"] == [(DAYS[0], Reason.CHANGED)]
    assert written["quotes"] == [(DAYS[1], Reason.CHANGED)]
    changed = {path for path, time in files_in(tmp_path).items() if before[path] != time}
    assert {path for path in changed if path.endswith(".parquet")} == {
        f"table=book_samples/day={DAYS[0]}/book_samples-{DAYS[0]}.parquet",
        f"table=quotes/day={DAYS[1]}/quotes-{DAYS[1]}.parquet",
    }
    assert archived(tmp_path, "quotes") == await stored(two_days, "quotes")


class MeanwhileStore(FolderStore):
    """A folder; something happens while the first file is written, after its rows were read."""

    def __init__(
        self,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(folder)
        self._loop = loop
        self._meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = meanwhile

    def complete(self, stream: IO[bytes]) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            asyncio.run_coroutine_threadsafe(meanwhile(), self._loop).result()
        super().complete(stream)


async def test_a_row_that_comes_while_its_day_is_written_makes_the_day_due_again(
    two_days: TieredDatabase, tmp_path: Path
) -> None:
    async def meanwhile() -> None:
        await store_events(two_days.database, arrival(101, [quote(7)]))

    loop = asyncio.get_running_loop()
    place = await asyncio.to_thread(MeanwhileStore, tmp_path, loop, meanwhile)
    await archive(two_days, place, "quotes")
    (summary,) = await archive_summary(two_days.database)
    assert (summary.table, summary.files, summary.out_of_date) == ("quotes", 2, 1)
    results = await archive(two_days, await folder(tmp_path), "quotes")
    assert [(one.day, one.reason) for one in results["quotes"].written] == [(DAYS[0], Reason.CHANGED)]
    assert len(archived(tmp_path, "quotes")) == 101


async def test_retention_drops_only_days_that_are_archived_and_late_rows_are_added_to_them(
    two_days: TieredDatabase, tmp_path: Path
) -> None:
    tiered, place = two_days, await folder(tmp_path)
    # The events are older than the database, and would be kept as imported ones.
    await tiered.execute("UPDATE schema_migrations SET time = $1", to_datetime(START_NS - DAY_NS))
    tiered.settings = replace(
        tiered.settings,
        archive=replace(tiered.settings.archive, required=True),
        retention=RetentionSettings(raw_days=1, quotes_days=1),
    )
    await tiered.prepare([BOOK])

    async def left() -> tuple[int, int]:
        await tiered.worker.run_once()
        return await tiered.value("SELECT count(*) FROM book_samples"), await tiered.value(
            "SELECT count(*) FROM quotes"
        )

    assert await left() == (1800, 100)
    for table in ("book_samples", "quotes"):
        assert f"{table} keeps 2 days past its retention, because {DAYS[0]} is not archived" in (
            tiered.worker.problem
        )
    await archive(tiered, place, until=DAYS[0])
    assert await left() == (900, 50)
    assert f"because {DAYS[1]} is not archived" in tiered.worker.problem
    await archive(tiered, place)
    await store(tiered, [row(TICKS + 5, "USD/JPY")])  # late: the day is out of date again
    assert await left() == (901, 0)
    assert f"book_samples keeps 1 day past its retention, because {DAYS[1]}" in tiered.worker.problem
    await archive(tiered, place)
    assert await left() == (0, 0)
    assert tiered.worker.problem == ""
    # A row of a day that was dropped must not replace the file of that day.
    await store(tiered, [row(6, "USD/JPY")])
    await store_events(tiered.database, arrival(101, [quote(7)]))
    assert await left() == (1, 1)
    assert tiered.worker.problem != ""
    results = await archive(tiered, place)
    assert [one.reason for result in results.values() for one in result.written] == [Reason.ADDED] * 2
    assert await left() == (0, 0)
    assert len(archived(tmp_path, "book_samples")) == 1802
    assert len(archived(tmp_path, "quotes")) == 101
    assert (tmp_path / f"table=quotes/day={DAYS[0]}/quotes-{DAYS[0]}-1.parquet").exists()


async def test_a_file_is_never_replaced_by_fewer_rows_or_by_those_of_another_database(
    two_days: TieredDatabase, tmp_path: Path
) -> None:
    place = await folder(tmp_path)
    await archive(two_days, place, "quotes")
    before = files_in(tmp_path)
    table = "quotes_recent" if two_days.engine == "plain" else "quotes"
    await two_days.execute(f"DELETE FROM {table} WHERE time < $1", to_datetime(START_NS + DAY_NS // 2))  # noqa: S608 - ours
    await store_events(two_days.database, arrival(101, [quote(7)]))
    results = await archive(two_days, place, "quotes")
    (problem,) = results["quotes"].problems
    assert problem.startswith(
        f"quotes of {DAYS[0]}: the database has 1 row and the archive 50, so its file is kept"
    )
    await two_days.execute("DELETE FROM archive_files")  # as in a database that never archived
    results = await archive(two_days, place, "quotes")
    assert len(results["quotes"].problems) == 1
    assert "this database did not write" in results["quotes"].problems[0]
    assert [one.day for one in results["quotes"].written] == [DAYS[1]]  # it has the same content
    kept = f"table=quotes/day={DAYS[0]}/quotes-{DAYS[0]}.parquet"
    assert files_in(tmp_path)[kept] == before[kept]


class DamagingStore(FolderStore):
    """A folder on a disk that writes other bytes."""

    def complete(self, stream: IO[bytes]) -> None:
        stream.seek(-100, os.SEEK_END)
        stream.write(b"?")
        super().complete(stream)


async def test_a_file_that_reads_back_otherwise_does_not_count(
    two_days: TieredDatabase, tmp_path: Path
) -> None:
    with pytest.raises(VerificationError, match="other bytes"):
        await archive(two_days, await asyncio.to_thread(DamagingStore, tmp_path), "quotes")
    assert files_in(tmp_path) == {}
    assert await archive_summary(two_days.database) == []


async def test_a_file_that_is_missing_is_written_again(two_days: TieredDatabase, tmp_path: Path) -> None:
    place = await folder(tmp_path)
    await archive(two_days, place, "quotes")
    (tmp_path / f"table=quotes/day={DAYS[0]}/quotes-{DAYS[0]}.parquet").unlink()
    results = await archive(two_days, place, "quotes")
    assert [(one.day, one.reason) for one in results["quotes"].written] == [(DAYS[0], Reason.MISSING)]


def test_a_day_is_closed_an_hour_after_its_end() -> None:
    midnight = START_NS // DAY_NS * DAY_NS
    assert last_closed_day(midnight + 3600 * NS_PER_SECOND - 1) == date(2023, 11, 12)
    assert last_closed_day(midnight + 3600 * NS_PER_SECOND) == date(2023, 11, 13)


@pytest.fixture
def command_environment(two_days: TieredDatabase, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "data").mkdir()
    return environment(tmp_path / "data", DECAHERTZ_DATABASE_URL=two_days.database.url)


async def command(*arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    done = await asyncio.to_thread(run, "archive", *arguments, env=env)
    return done.returncode, done.stdout, done.stderr


async def test_a_run_that_is_killed_leaves_nothing_that_counts(
    command_environment: dict[str, str], two_days: TieredDatabase, tmp_path: Path
) -> None:
    target, log = tmp_path / "archive", tmp_path / "log"
    partial = target / partial_of(f"table=quotes/day={DAYS[1]}/quotes-{DAYS[1]}.parquet")
    partial.parent.mkdir(parents=True)
    os.mkfifo(partial)  # the second day stops in the middle: nobody reads
    process = await asyncio.to_thread(
        Forked, ["archive", str(target), "--table", "quotes"], command_environment, log
    )
    reader = await asyncio.to_thread(os.open, partial, os.O_RDONLY)  # it has begun
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.communicate, timeout=20)
    os.close(reader)
    partial.rename(target / "fifo")
    assert [path.name for path in target.rglob("*.parquet")] == [f"quotes-{DAYS[0]}.parquet"]
    assert [path.name for path in target.rglob("*.json")] == [f"quotes-{DAYS[0]}.json"]
    (target / "fifo").unlink()
    partial.write_bytes(b"PAR1")  # what the next run finds
    code, output, errors = await command(str(target), "--table", "quotes", env=command_environment)
    assert code == 0, errors
    assert f"{target}: 1 file written and verified, 1 unchanged" in output
    assert not partial.exists()
    assert archived(target, "quotes") == await stored(two_days, "quotes")


async def test_the_command_says_what_it_would_write_and_what_it_has_written(
    command_environment: dict[str, str], two_days: TieredDatabase, tmp_path: Path
) -> None:
    target = tmp_path / "archive"
    code, output, _ = await command(str(target), "--dry-run", env=command_environment)
    assert code == 0
    assert output.splitlines()[0] == f"book_samples {DAYS[0]}: new"
    assert output.splitlines()[-1] == f"{target}: 4 files would be written, 0 unchanged"
    assert not target.exists()
    code, output, _ = await command(str(target), "--until", str(DAYS[0]), env=command_environment)
    assert code == 0
    assert re.fullmatch(r"book_samples: 1 day \(900 rows, \d+\.\d KiB\)", output.splitlines()[0])
    code, output, _ = await command("--list", "--json", env=command_environment)
    assert [(one["table"], one["files"], one["rows"]) for one in json.loads(output)] == [
        ("book_samples", 1, 900),
        ("quotes", 1, 50),
    ]
    entry = (await two_days.rows("SELECT action, target, after FROM audit"))[0]
    assert (entry["action"], entry["target"]) == ("archive.write", str(target))
    assert json.loads(entry["after"]) == {"book_samples": [str(DAYS[0])], "quotes": [str(DAYS[0])]}
    code, output, _ = await command(str(target), "--verify", env=command_environment)
    assert (code, output) == (0, f"{target}: 2 files read, 0 problems\n")
    first, second = sorted(target.rglob("*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    code, output, errors = await command(str(target), "--verify", env=command_environment)
    assert (code, output) == (1, f"{target}: 2 files read, 2 problems\n")
    assert f"{first.relative_to(target)} is missing" in errors
    assert f"{second.relative_to(target)} has other bytes than were written" in errors
    for arguments, text in (
        (("--until", "2999-01-01"), "the last closed day is"),
        (("--table", "quote"), "--table quote: not known"),
    ):
        code, _, errors = await command(str(target), *arguments, env=command_environment)
        assert code == 2
        assert text in errors


@pytest.mark.parametrize(
    "url", [f"s3://key:{SECRET}@desk/x", f"s3://desk/x?secret_key={SECRET}", f"gs://{SECRET}"]
)
def test_a_destination_that_is_not_understood_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DestinationError) as refused:
        store_at(url)
    assert SECRET not in str(refused.value)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def s3_environment() -> AsyncIterator[dict[str, str]]:
    async with s3_server() as env:
        yield env


@pytest.fixture
def s3(
    two_days: TieredDatabase, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The environment of programs that use a store that speaks S3, of this one too."""
    del two_days  # first, because it may skip the test
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return s3_environment


async def test_a_bucket_is_an_archive_as_a_folder_is(
    s3: dict[str, str], command_environment: dict[str, str], two_days: TieredDatabase
) -> None:
    place = f"s3://{BUCKET}/recorder/one"
    env = command_environment | s3
    code, output, errors = await command(place, env=env)
    assert (code, output.splitlines()[-1]) == (0, f"{place}: 4 files written and verified, 0 unchanged")
    assert SECRET not in output + errors
    store = await asyncio.to_thread(store_at, place)
    assert isinstance(store, S3Store)
    paths = await asyncio.to_thread(store.sizes, "")
    assert len(paths) == 8
    assert not [path for path in paths if path.endswith(".partial")]
    data = await asyncio.to_thread(
        pyarrow.dataset.dataset, f"{BUCKET}/recorder/one/table=quotes", filesystem=store._s3
    )
    found = await asyncio.to_thread(lambda: data.to_table().sort_by("time_ns").to_pylist())
    assert found == await stored(two_days, "quotes")
    code, output, _ = await command(place, env=env)
    assert output.splitlines() == [f"{place}: 0 files written and verified, 4 unchanged"]


async def test_a_run_that_fails_leaves_no_object_in_the_bucket(
    s3: dict[str, str], two_days: TieredDatabase
) -> None:
    del s3

    class FailingStore(S3Store):
        def complete(self, stream: IO[bytes]) -> None:
            del stream
            raise DatabaseUnavailableError("gone")

    store = await asyncio.to_thread(FailingStore, f"{BUCKET}/x")
    with pytest.raises(DatabaseUnavailableError):
        await archive(two_days, store, "quotes")
    assert await asyncio.to_thread(store.sizes, "") == {}


async def test_a_bucket_that_does_not_exist_is_one_line(
    s3: dict[str, str], command_environment: dict[str, str]
) -> None:
    code, _, errors = await command("s3://nowhere/x", env=command_environment | s3)
    assert code == 2
    line = errors.splitlines()[-1]
    assert line.startswith("decahertz: cannot use s3://nowhere/x: ")
    assert SECRET not in errors
