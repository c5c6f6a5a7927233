"""``decahertz backup`` and ``restore``: back up the embedded database to a file, and restore it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from decahertz.app.database import embedded_dir, refuse_without_database, start_errors
from decahertz.app.output_file import target
from decahertz.app.start_error import StartError
from decahertz.words import counted
from storage.maintenance import backup, pg_archive
from storage.postgres.cluster import DATABASE
from storage.postgres.embedded import EmbeddedPostgres, database_url, find_installation, running_pid

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

_OWN_SERVER = (
    "{command} works on the embedded database only, and database_url is set: use {program} of the same"
    " version as the server (with TimescaleDB, follow its documentation)"
)


async def run_backup(settings: Settings, file: Path, *, force: bool) -> int:
    """Writes a backup and verifies it by reading it back. ``decahertz up`` may be running.

    ``file`` is an absolute path. Raises :class:`~decahertz.app.start_error.StartError`; then no file has
    changed.
    """
    _refuse_own_server(settings, "backup", "pg_dump")
    path = await asyncio.to_thread(target, file, force=force)
    with _errors():
        installation = await asyncio.to_thread(find_installation)
        async with embedded_server(settings, share=True):
            with _bar(file.name) as report:
                url = database_url(embedded_dir(settings))
                made = await backup.make(url, installation, path, report)
    sys.stdout.write(
        f"{file}: {counted(made.contents.tables, 'table')}, {counted(made.bytes, 'byte')}, verified\n"
    )
    return 0


async def run_restore(settings: Settings, file: Path, *, force: bool) -> int:
    """Replaces the embedded database with a backup. No other process may use it meanwhile.

    Raises :class:`~decahertz.app.start_error.StartError`; then the database has not changed.
    """
    _refuse_own_server(settings, "restore", "pg_restore")
    with _errors():
        installation = await asyncio.to_thread(find_installation)
        await pg_archive.read(installation, file)  # fails before a server is started
        async with embedded_server(settings, share=False):
            with _bar(file.name) as report:
                contents = await backup.restore(
                    partial(database_url, embedded_dir(settings)),
                    DATABASE,
                    installation,
                    file,
                    report,
                    replace=force,
                )
    sys.stdout.write(f"{file}: {counted(contents.tables, 'table')} restored\n")
    return 0


def _refuse_own_server(settings: Settings, command: str, program: str) -> None:
    if settings.database_url:
        raise StartError(_OWN_SERVER.format(command=command, program=program))


@contextmanager
def _errors() -> Iterator[None]:
    with start_errors():
        try:
            yield
        except pg_archive.BackupError as error:
            raise StartError(str(error)) from error


@asynccontextmanager
async def embedded_server(settings: Settings, *, share: bool) -> AsyncIterator[None]:
    """Runs the embedded server within the context; with ``share``, uses the one that runs already.

    Does nothing when ``database_url`` is set. Raises :class:`~decahertz.app.start_error.StartError` if, with
    ``share``, there is no database yet.
    """
    folder = embedded_dir(settings)
    if settings.database_url:
        yield
        return
    if share and running_pid(folder) is not None:
        yield
        return
    if share:
        refuse_without_database(settings)
    async with EmbeddedPostgres(folder):
        yield


@contextmanager
def _bar(title: str) -> Iterator[pg_archive.Report]:
    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=1.0)

        def report(step: str, share: float) -> None:
            bars.update(task, description=f"{title}: {step}", completed=share)

        yield report
