"""The demo, recorded on an embedded database for some minutes: rows and bytes of each table."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import psutil

from benchmarks.bench_sampler_grid import free_port, wait_ready
from benchmarks.harness import environment
from storage.postgres.embedded import database_url, running_pid

_TABLES = """
SELECT root.relname AS name, sum(pg_total_relation_size(part.relid))::bigint AS bytes
FROM pg_class root, pg_partition_tree(root.oid) part
WHERE root.relnamespace = current_schema()::regnamespace AND root.relkind IN ('r', 'p')
    AND NOT root.relispartition AND part.isleaf
GROUP BY root.relname
UNION ALL
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT relispartition
    AND NOT EXISTS (SELECT FROM pg_partition_tree(oid))
"""


class Table(NamedTuple):
    """A table with its partitions and indexes."""

    rows: int
    bytes: int

    def since(self, before: Table | None) -> Table:
        """The difference."""
        return self if before is None else Table(self.rows - before.rows, self.bytes - before.bytes)


class State(NamedTuple):
    """A database at one moment."""

    at: float
    """By the monotonic clock, in seconds."""
    bytes: int
    tables: dict[str, Table]
    server_seconds: float
    """Processor time of all processes of the server so far."""


@contextmanager
def demo(folder: Path, **settings: str) -> Iterator[str]:
    """Records the demo into ``folder`` until the block ends; yields the URL of the database."""
    api, exporter = free_port(), free_port()
    env = environment(
        DECAHERTZ_DATA_DIR=str(folder),
        DECAHERTZ_API_PORT=str(api),
        DECAHERTZ_EXPORTER_PORT=str(exporter),
        **settings,
    )
    command = [sys.executable, "-m", "decahertz", "up", "--demo"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=env, stdout=log, stderr=log) as process,
    ):
        try:
            wait_ready(process, f"http://127.0.0.1:{api}/api/v1/health/ready")
            yield database_url(folder / "postgres")
        finally:
            process.terminate()


def state(folder: Path, url: str) -> State:
    """Counts every row; the server is that of ``folder``."""
    return asyncio.run(_state(folder, url))


async def _state(folder: Path, url: str) -> State:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            at = time.monotonic()
            size = await connection.fetchval("SELECT pg_database_size(current_database())")
            tables = {}
            for name, table_bytes in await connection.fetch(_TABLES):
                rows = await connection.fetchval(f'SELECT count(*) FROM "{name}"')  # noqa: S608 - our tables
                tables[name] = Table(rows, table_bytes)
            return State(at, size, tables, _server_seconds(folder))
    finally:
        await connection.close()


def _server_seconds(folder: Path) -> float:
    pid = running_pid(folder / "postgres")
    server = psutil.Process(pid)
    times = server.cpu_times()
    ended = times.user + times.system + times.children_user + times.children_system
    running = (child.cpu_times() for child in server.children(recursive=True))
    return ended + sum(one.user + one.system for one in running)
