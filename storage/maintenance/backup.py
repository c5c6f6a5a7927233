"""Backup of the whole database to one file, and restore.

A backup is taken from one snapshot, so it is consistent while recorders keep writing. It is verified to the
last row before it gets its name. A restore fills a second database and swaps the names in one transaction at
the end; until then the database in use is untouched.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from storage.database import first_line
from storage.files import sync_folder
from storage.maintenance.pg_archive import (
    BackupError,
    Contents,
    Report,
    pass_through,
    program,
    run,
    seal,
    verify,
)
from storage.maintenance.pg_archive import opened as opened_archive
from storage.postgres.installation import Installation
from storage.postgres.process import in_thread
from storage.schema.migrate import shipped_migrations
from storage.schema.samples import quoted

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

_TIMESCALE = "timescaledb"
_DUMPED = 'dumping contents of table "'
_LOCK_LIMIT = "60s"
_CONNECT_LIMIT_S = 10.0
_POLL_S = 0.5
_ATTEMPTS = 40
_PAUSE_S = 0.25
_SIZES = """
SELECT n.nspname || '.' || c.relname AS name, pg_table_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
_COPYING = """
SELECT n.nspname || '.' || c.relname AS name, p.tuples_processed / greatest(c.reltuples, 1) AS share
FROM pg_stat_progress_copy p
JOIN pg_stat_activity a ON a.pid = p.pid AND a.application_name = 'pg_dump'
JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.datname = current_database()
"""
_COUNT_TABLES = """
SELECT count(*) FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = ANY($1::text[]) AND pid <> pg_backend_pid()"
)


class DatabaseNotEmptyError(BackupError):
    """Raised when a restore would replace data without ``--force``."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was written and verified."""

    file: Path
    bytes: int
    contents: Contents


async def make(url: str, installation: Installation, file: Path, report: Report) -> Made:
    """Back up the database at ``url`` to ``file``, replacing the file.

    The client programs must be of the server's major version or newer. Raises :class:`BackupError`; ``file``
    is unchanged then.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    argv = [
        *(program(installation, "pg_dump"), "--format=custom", "--no-password", "--verbose"),
        *(f"--lock-wait-timeout={_LOCK_LIMIT}", f"--file={partial}", f"--dbname={url}"),
    ]
    try:
        await _reserve(partial)
        await _dump(url, argv, report)
        await seal(partial)
        contents = await verify(installation, partial, report)
        size = await in_thread(_publish, partial, file)
    except OSError as error:
        raise BackupError(f"cannot write {file}: {error.strerror}") from error
    finally:
        await in_thread(partial.unlink, missing_ok=True)
    return Made(file, size, contents)


async def _reserve(partial: Path) -> None:
    """Creates the file readable by its owner alone, because an archive holds all data."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    os.close(await in_thread(os.open, partial, flags, 0o600))


def _publish(partial: Path, file: Path) -> int:
    """Renames a finished archive durably; returns its size."""
    size = partial.stat().st_size
    partial.replace(file)
    sync_folder(file.parent)
    return size


class _Progress:
    """Share of the tables' bytes that ``pg_dump`` has read."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self._total = max(1, sum(sizes.values()))
        self._done = 0
        self._table = ""

    def line(self, text: str) -> None:
        """Processes a line of ``pg_dump``'s output."""
        _, begins, rest = text.partition(_DUMPED)
        if begins:
            self._done += self._sizes.get(self._table, 0)
            self._table = rest.removesuffix('"')

    def share(self, table: str, part: float) -> float:
        """The total share, given the share of the current table."""
        inside = self._sizes.get(table, 0) * min(part, 1.0) if table == self._table else 0.0
        return min(1.0, (self._done + inside) / self._total)


async def _dump(url: str, argv: list[str], report: Report) -> None:
    connection = await _connect(url)
    try:
        progress = _Progress({row["name"]: row["bytes"] for row in await connection.fetch(_SIZES)})
        work = asyncio.ensure_future(run(argv, progress.line))
        try:
            while not work.done():
                row = await connection.fetchrow(_COPYING)
                table, part = (row["name"], row["share"]) if row else ("", 0.0)
                report("reading the tables", progress.share(table, part))
                await asyncio.wait({work}, timeout=_POLL_S)
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})
    finally:
        await connection.close(timeout=_CONNECT_LIMIT_S)


async def restore(
    url_of: Callable[[str], str],
    name: str,
    installation: Installation,
    file: Path,
    report: Report,
    *,
    replace: bool = False,
) -> Contents:
    """Replaces the content of the database ``name`` by that of the archive.

    ``url_of`` returns the URL of a database of the server, for a role that may create databases and
    extensions; no other client may use the server meanwhile. The archive is verified first. ``replace``
    allows existing tables to be dropped. Raises :class:`DatabaseNotEmptyError` or
    another :class:`BackupError`; the database is unchanged then.
    """
    contents = await verify(installation, file, report)
    fresh, old = f"{name}_restoring", f"{name}_replaced"
    server = await _connect(url_of("postgres"))
    try:
        if not replace and await _holds_tables(server, url_of, name):
            raise DatabaseNotEmptyError("the database is not empty: use --force to replace its data")
        for leftover in (fresh, old):  # left by a killed restore
            await _drop(server, leftover)
        await server.execute(f"CREATE DATABASE {quoted(fresh)} TEMPLATE template0")
        try:
            await _fill(url_of(fresh), installation, file, contents, report)
            await _swap(server, name, fresh, old)
        except BaseException:
            await asyncio.shield(_drop(server, fresh))
            raise
        await _drop(server, old)
    except asyncpg.PostgresError as error:
        raise BackupError(f"the restore failed: {first_line(error)}") from error
    finally:
        await server.close(timeout=_CONNECT_LIMIT_S)
    return contents


async def _holds_tables(server: Connection, url_of: Callable[[str], str], name: str) -> bool:
    if not await server.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
        return False
    connection = await _connect(url_of(name))
    try:
        return bool(await connection.fetchval(_COUNT_TABLES))
    finally:
        await connection.close(timeout=_CONNECT_LIMIT_S)


async def _fill(url: str, installation: Installation, file: Path, contents: Contents, report: Report) -> None:
    has_timescale = _TIMESCALE in contents.extensions
    if has_timescale:
        await _prepare_timescale(url, await _timescale_version(installation, file))
    argv = [
        *(program(installation, "pg_restore"), "--exit-on-error", "--no-password"),
        *("--no-owner", "--no-privileges", f"--dbname={url}"),
    ]
    await pass_through(argv, file, report, "restoring")
    connection = await _connect(url)
    try:
        if has_timescale:
            await connection.execute("SELECT timescaledb_post_restore()")
        newest = await connection.fetchval("SELECT max(number) FROM schema_migrations")
        if newest is not None and newest > len(shipped_migrations()):
            raise BackupError(
                f"{file} was written by a newer Decahertz (migration {newest:04}): use that version"
            )
        report("gathering statistics", 1.0)
        await connection.execute("ANALYZE")  # an archive has no statistics, and query plans need them
    finally:
        await connection.close(timeout=_CONNECT_LIMIT_S)


async def _timescale_version(installation: Installation, file: Path) -> str | None:
    """The version of TimescaleDB that wrote the archive; only the same version can read its catalog."""
    argv = [program(installation, "pg_restore"), "--data-only", "--file=-"]
    only = ["--schema=_timescaledb_catalog", "--table=metadata"]
    with opened_archive(file) as descriptor:
        rows = await run([*argv, *only], archive=descriptor, keep_output=True)
    for row in rows.splitlines():
        key, *values = row.split("\t")
        if key == "timescaledb_version":
            return values[0]
    return None


async def _prepare_timescale(url: str, version: str | None) -> None:
    """Takes the steps that TimescaleDB requires before ``pg_restore``; :func:`_fill` takes those after it."""
    connection = await _connect(url)
    try:
        wanted = f" VERSION {quoted(version)}" if version else ""
        await connection.execute(f"CREATE EXTENSION {_TIMESCALE}{wanted}")
        await connection.execute("SELECT timescaledb_pre_restore()")
    except asyncpg.PostgresError as error:
        raise BackupError(
            f"the backup holds tables of TimescaleDB {version or ''}, which cannot be used here: "
            f"{first_line(error)}"
        ) from error
    finally:
        await connection.close(timeout=_CONNECT_LIMIT_S)


async def _swap(server: Connection, name: str, fresh: str, old: str) -> None:
    """Swaps the names in one transaction; background workers of extensions may require several attempts."""
    for attempt in range(_ATTEMPTS):
        await server.execute(_END_OTHERS, [name, fresh])
        exists = await server.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name)
        try:
            async with server.transaction():
                if exists:
                    await server.execute(f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(old)}")
                await server.execute(f"ALTER DATABASE {quoted(fresh)} RENAME TO {quoted(name)}")
        except asyncpg.ObjectInUseError:
            if attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return


async def _drop(server: Connection, name: str) -> None:
    await server.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


async def _connect(url: str) -> Connection:
    try:
        return await asyncpg.connect(url, timeout=_CONNECT_LIMIT_S)
    except (OSError, asyncpg.PostgresError) as error:
        raise BackupError(f"cannot connect to the database: {first_line(error)}") from error
