"""One run of the archive: which days are due, and how they are written, verified and entered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

import asyncpg

from decahertz.clock import NS_PER_SECOND, Clock, from_datetime, to_datetime
from decahertz.words import counted
from storage.database import DatabaseError
from storage.maintenance.archive import files
from storage.maintenance.archive.days import (
    ArchivedDay,
    archived_days,
    begin_days,
    enter_verified,
    next_parts,
)
from storage.maintenance.archive.files import Manifest
from storage.maintenance.archive.store import Store, in_store
from storage.maintenance.archive.tables import ArchivedTable, archived_tables
from storage.pooler import try_lock
from storage.query.export import Exports
from storage.tiers.archived import start_of

if TYPE_CHECKING:
    from storage.database import Connection, Database

ARCHIVE_LOCK: Final = 0x6461_487A_0003
"""Key of the advisory lock of the one process that archives."""
_CLOSED_NS: Final = 3600 * NS_PER_SECOND
"""A day is closed this long after its end: rows that come later are late."""
_DAY: Final = timedelta(days=1)


class ArchiveBusyError(DatabaseError):
    """Another process archives this database."""

    def __init__(self) -> None:
        super().__init__("another `decahertz archive` is at work on this database: wait until it has ended")


class Reason(StrEnum):
    """Reason to write a day."""

    NEW = "new"
    CHANGED = "late rows"
    UNFINISHED = "the last run was interrupted"
    MISSING = "its file is missing or has another size"
    ADDED = "late rows of a day that retention has dropped"


@dataclass(frozen=True, slots=True)
class DueDay:
    """A day that is to be written."""

    table: ArchivedTable
    day: date
    part: int
    reason: Reason
    earlier: ArchivedDay | None
    """The day as it was archived before."""
    is_stored: bool
    """Whether the destination has a file of its name."""


@dataclass(slots=True)
class TableResult:
    """The result of a run for one table."""

    written: list[DueDay] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    empty: int = 0
    """Days without rows."""
    unchanged: int = 0
    """Days that were in the archive already."""
    problems: list[str] = field(default_factory=list)


class Progress(Protocol):
    """Shows how far a run has come."""

    def planned(self, days: int) -> None:
        """Adds days to those that are due."""
        ...

    def reached(self, table: str, time_ns: int) -> None:
        """Show that a table is read up to a time."""
        ...

    def done(self) -> None:
        """Counts a day that is done."""
        ...


def last_closed_day(now_ns: int) -> date:
    """The last UTC day that is closed: it ended at least an hour ago."""
    return to_datetime(now_ns - _CLOSED_NS).astimezone(UTC).date() - _DAY


class ArchiveRun:
    """Writes the closed days of a database into a store."""

    def __init__(self, database: Database, store: Store, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._exports = Exports(database)

    async def plan(
        self, connection: Connection, table: ArchivedTable, until: date
    ) -> tuple[list[DueDay], int]:
        """The days of a table that are due, oldest first, and the number of those in the archive already.

        Raises :class:`~storage.maintenance.archive.store.StoreError`.
        """
        sizes = await in_store(self._store, self._sizes, table.name)
        known = await archived_days(connection, table.name, self._store.url)
        parts = await next_parts(connection, table.name)
        due, unchanged = [], 0
        for day in await table.days(connection, start_of(until + _DAY)):
            earlier = known.get(day)
            part = earlier.part if earlier is not None else parts.get(day, 0)
            path = files.file_of(table.name, day, part)
            reason = _reason(earlier, part, sizes)
            if reason is None:
                unchanged += earlier is not None and earlier.file is not None
            else:
                due.append(DueDay(table, day, part, reason, earlier, path in sizes))
        return due, unchanged

    async def run(
        self, names: Sequence[str], until: date, progress: Progress, *, dry_run: bool = False
    ) -> dict[str, TableResult]:
        """Writes the days up to and with ``until`` that are due; returns the result of each table.

        ``names`` are tables of :func:`archived_tables`; none: all. Whatever ends it, days that are done stay
        done. Raises :class:`ArchiveBusyError`, :class:`~storage.maintenance.archive.store.StoreError`,
        :class:`~storage.maintenance.archive.files.VerificationError` and as
        :meth:`~storage.query.export.Exports.run`.
        """
        results: dict[str, TableResult] = {}
        async with self._database.session("archive") as connection:
            if not dry_run and not await try_lock(connection, ARCHIVE_LOCK):
                raise ArchiveBusyError
            tables = await archived_tables(connection)
            for name in names or tables:
                due, unchanged = await self.plan(connection, tables[name], until)
                progress.planned(len(due))
                results[name] = result = TableResult(unchanged=unchanged)
                if dry_run:
                    for one in due:
                        if await one.table.has_rows(connection, one.day):
                            result.written.append(one)
                elif due:
                    await self._write_all(connection, due, result, progress)
        return results

    async def _write_all(
        self, connection: Connection, due: Sequence[DueDay], result: TableResult, progress: Progress
    ) -> None:
        """Writes the due days of a table."""
        table = due[0].table
        await in_store(self._store, self._remove_partial, table.name)
        try:
            await begin_days(connection, table, self._store.url, [(one.day, one.part) for one in due])
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            result.problems.append(f"{table.name} is in use by a long transaction: run the command again")
            return
        for one in due:
            await self._write(connection, one, result, progress)
            progress.done()

    async def _write(
        self, connection: Connection, due: DueDay, result: TableResult, progress: Progress
    ) -> None:
        name, day, part = due.table.name, due.day, due.part
        if not due.is_stored and not await due.table.has_rows(connection, day):
            result.empty += 1
            await self._enter(connection, due, None)
            return
        path = files.file_of(name, day, part)
        manifest = await files.write_day(
            self._exports,
            self._store,
            due.table,
            day,
            path,
            self._clock.time_ns(),
            lambda time_ns: progress.reached(name, time_ns),
        )
        problem = await in_store(self._store, self._problem, due, manifest)
        if problem:
            await in_store(self._store, self._store.remove, files.partial_of(path))
            result.problems.append(problem)
            return
        await in_store(self._store, files.publish, self._store, name, day, part, manifest)
        await self._enter(connection, due, manifest)
        result.written.append(due)
        result.rows += manifest.rows
        result.bytes += manifest.bytes

    def _problem(self, due: DueDay, manifest: Manifest) -> str:
        """Reason to keep a file of the archive instead of a new one; empty: there is none. Blocks."""
        if not due.is_stored:
            return ""
        of_day = f"{due.table.name} of {due.day}"
        if due.earlier is None:  # as after the restore of an older backup
            path = files.manifest_of(due.table.name, due.day, due.part)
            stored = files.read_manifest(self._store, path)
            if stored is not None and stored.sha256 == manifest.sha256:
                return ""
            return (
                f"{of_day}: {self._store.url} has a file of it that this database did not write, which is"
                " kept: give this database a destination of its own"
            )
        if manifest.rows < due.earlier.rows:
            return (
                f"{of_day}: the database has {counted(manifest.rows, 'row')} and the archive"
                f" {due.earlier.rows:,}, so its file is kept: remove the file if these rows are to go"
            )
        return ""

    async def _enter(self, connection: Connection, due: DueDay, manifest: Manifest | None) -> None:
        earlier = ArchivedDay(
            day=due.day,
            part=due.part,
            file=manifest.file if manifest is not None else None,
            rows=manifest.rows if manifest is not None else 0,
            bytes=manifest.bytes if manifest is not None else 0,
            sha256=manifest.sha256 if manifest is not None else None,
            is_verified=True,
            is_changed=False,
        )
        await enter_verified(connection, due.table.name, self._store.url, earlier)

    def _sizes(self, table: str) -> dict[str, int]:
        """Sizes of the files of a table and of its manifests, by path."""
        return self._store.sizes(files.table_folder(table)) | self._store.sizes(files.manifest_folder(table))

    def _remove_partial(self, table: str) -> None:
        """Removes the unfinished files that interrupted runs have left."""
        for path in filter(files.is_partial, self._sizes(table)):
            self._store.remove(path)


async def verify_archive(store: Store, tables: Sequence[str], progress: Progress) -> tuple[int, list[str]]:
    """Reads all files of an archive, or those of ``tables``, and compares them with their manifests.

    Returns the number of files and the problems, in words. Raises
    :class:`~storage.maintenance.archive.store.StoreError`.
    """
    paths = await in_store(store, files.manifests_in, store, tables)
    progress.planned(len(paths))
    problems = []
    for path in paths:
        manifest = await in_store(store, files.read_manifest, store, path)
        if manifest is None:
            problems.append(f"{path} cannot be read")
        else:
            progress.reached(manifest.table, from_datetime(start_of(date.fromisoformat(manifest.day))))
            problems += await in_store(store, _problem_of, store, manifest)
        progress.done()
    return len(paths), problems


def _problem_of(store: Store, manifest: Manifest) -> list[str]:
    try:
        files.verify(store, manifest.file, manifest)
    except files.VerificationError as error:
        return [str(error)]
    except FileNotFoundError:
        return [f"{manifest.file} is missing"]
    return []


def _reason(earlier: ArchivedDay | None, part: int, sizes: dict[str, int]) -> Reason | None:
    """Reason to write a day; ``None``: it is in the archive."""
    if earlier is None:
        return Reason.ADDED if part else Reason.NEW
    if not earlier.is_verified:
        return Reason.UNFINISHED if earlier.file is not None else Reason.NEW
    if earlier.is_changed:
        return Reason.CHANGED
    if earlier.file is not None and sizes.get(earlier.file) != earlier.bytes:
        return Reason.MISSING
    return None
