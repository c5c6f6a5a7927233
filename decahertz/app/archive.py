"""``decahertz archive``: writes closed days to Parquet files in a folder or in a store that speaks S3."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from decahertz.app.command_line_audit import command_line_entry
from decahertz.app.database import open_database, refuse_without_database, start_errors
from decahertz.app.db_status import size_text
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock, format_time
from decahertz.words import counted
from storage.database import DatabaseError
from storage.maintenance.archive.days import ArchiveSummary, archive_summary
from storage.maintenance.archive.files import VerificationError
from storage.maintenance.archive.run import ArchiveRun, Reason, TableResult, last_closed_day, verify_archive
from storage.maintenance.archive.store import DestinationError, Store, StoreError, store_at
from storage.maintenance.archive.tables import archived_tables
from storage.query.export import ExportStoppedError
from storage.query.parquet import ParquetMissingError
from storage.write.audit import AuditStore

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from storage.database import Database


async def run_archive(
    settings: Settings, destination: str, tables: Sequence[str], until: str, *, dry_run: bool
) -> int:
    """Writes the days that are due; returns 1 if some cannot be written.

    Raises :class:`~decahertz.app.start_error.StartError`; days that are done by then stay done.
    """
    clock = SystemClock()
    last_day = _last_day(until, last_closed_day(clock.time_ns()))
    store = await asyncio.to_thread(_store, destination)
    refuse_without_database(settings)
    async with open_database(settings, share=True) as (database, _):
        with _errors():
            await _refuse_unknown(database, tables)
            with _bars() as progress:
                results = await ArchiveRun(database, store, clock).run(
                    tables, last_day, progress, dry_run=dry_run
                )
            written = {name: result for name, result in results.items() if result.written}
            if written and not dry_run:
                after = {name: [str(one.day) for one in result.written] for name, result in written.items()}
                entry = command_line_entry("archive.write", store.url, clock.time_ns(), None, after)
                await AuditStore(database).add(entry)
    sys.stdout.write("".join(f"{line}\n" for line in _report(results, store.url, dry_run=dry_run)))
    problems = [problem for result in results.values() for problem in result.problems]
    sys.stderr.write("".join(f"decahertz: {problem}\n" for problem in problems))
    return 1 if problems else 0


async def run_verify(destination: str, tables: Sequence[str]) -> int:
    """Reads all files of an archive again; returns 1 if some are not as they were written.

    Needs no database. Raises :class:`~decahertz.app.start_error.StartError`.
    """
    store = await asyncio.to_thread(_store, destination)
    with _errors(), _bars() as progress:
        count, problems = await verify_archive(store, tables, progress)
    sys.stderr.write("".join(f"decahertz: {problem}\n" for problem in problems))
    sys.stdout.write(f"{store.url}: {counted(count, 'file')} read, {counted(len(problems), 'problem')}\n")
    return 1 if problems else 0


async def run_list(settings: Settings, *, as_json: bool) -> int:
    """Prints what the archives have. Raises :class:`~decahertz.app.start_error.StartError`."""
    refuse_without_database(settings)
    with start_errors():
        async with open_database(settings, share=True) as (database, _):
            found = await archive_summary(database)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return 0
    for one in found:
        sys.stdout.write(_line(one) + "\n")
    if not found:
        sys.stdout.write("Nothing is archived: `decahertz archive FOLDER` writes the closed days.\n")
    return 0


def _line(one: ArchiveSummary) -> str:
    more = [f"{counted(one.out_of_date, 'day')} out of date"] if one.out_of_date else []
    more += [f"{counted(one.dropped, 'file')} dropped from the database"] if one.dropped else []
    days = one.first_day if one.first_day == one.last_day else f"{one.first_day} to {one.last_day}"
    size = f"{counted(one.files, 'file')}, {counted(one.rows, 'row')}, {size_text(one.bytes)}"
    return f"{one.destination}  {one.table}  {'; '.join([f'{days}: {size}', *more])}"


def _store(destination: str) -> Store:
    try:
        return store_at(destination)
    except (DestinationError, ParquetMissingError) as error:
        raise StartError(str(error)) from error


def _last_day(text: str, closed: date) -> date:
    if not text:
        return closed
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise StartError(f"--until must be a day like {closed}: {text}") from error
    if day > closed:
        raise StartError(
            f"--until {day}: the last closed day is {closed} (a UTC day is closed an hour later)"
        )
    return day


async def _refuse_unknown(database: Database, tables: Sequence[str]) -> None:
    async with database.session("archive") as connection:
        known = await archived_tables(connection)
    for name in tables:
        if name not in known:
            raise StartError(f"--table {name}: not known; known are {', '.join(known)}")


def _report(results: Mapping[str, TableResult], destination: str, *, dry_run: bool) -> Iterator[str]:
    for name, result in results.items():
        if dry_run:
            yield from (f"{name} {one.day}: {one.reason}" for one in result.written)
        elif result.written:
            reasons = Counter(one.reason for one in result.written if one.reason is not Reason.NEW)
            again = "".join(
                f"; {counted(count, 'day')} of them: {reason}" for reason, count in reasons.items()
            )
            size = f"{counted(result.rows, 'row')}, {size_text(result.bytes)}"
            yield f"{name}: {counted(len(result.written), 'day')} ({size}){again}"
    written = sum(len(result.written) for result in results.values())
    unchanged = sum(result.unchanged for result in results.values())
    verb = "would be written" if dry_run else "written and verified"
    yield f"{destination}: {counted(written, 'file')} {verb}, {unchanged:,} unchanged"


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ExportStoppedError as error:
        raise StartError(str(error.__cause__)) from error
    except (ParquetMissingError, StoreError, VerificationError, DatabaseError) as error:
        raise StartError(str(error)) from error


class _Bars:
    """Implements :class:`storage.maintenance.archive.run.Progress` on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._days = 0
        self._task = bars.add_task("archive", total=None, at="")

    def planned(self, days: int) -> None:
        """Raises the total."""
        self._days += days
        self._bars.update(self._task, total=self._days)

    def reached(self, table: str, time_ns: int) -> None:
        """Shows the table and the time."""
        self._bars.update(self._task, at=f"{table} {format_time(time_ns)[:19]}")

    def done(self) -> None:
        """Advances by a day."""
        self._bars.advance(self._task)


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bars(bars)
