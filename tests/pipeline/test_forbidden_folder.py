"""A1 of the faults: for some seconds the embedded server may not enter its folder."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from tests.pipeline.running import IS_LONG, RunningDecahertz, errors_in, running, wait_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="only with a server of another user the recorder goes on"),
]
LIMIT_SECONDS = 60.0
_SECONDS = 8.0 if IS_LONG else 2.0
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = 'decahertz'"


@contextmanager
def forbidden(data_dir: Path) -> Iterator[None]:
    """Nobody but root may enter the data folder, nor the folders of the server below it."""
    folders = [data_dir / "postgres" / "cluster", data_dir / "postgres", data_dir]
    modes = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0)
    try:
        yield
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)


async def sessions(url: str) -> list[int]:
    """The processes of the server that have a connection of the recorder."""
    connection = await asyncpg.connect(url.replace("/decahertz?", "/postgres?"), user="decahertz")
    try:
        return [row["pid"] for row in await connection.fetch(_SESSIONS)]
    finally:
        await connection.close()


def stored(decahertz: RunningDecahertz) -> int:
    return sum(stream["stored"] for stream in decahertz.get("/api/v1/ledger")["streams"])


def test_a_folder_that_the_server_may_not_enter_is_waited_out(env: dict[str, str], data_dir: Path) -> None:
    log = data_dir.with_name(data_dir.name + ".log")
    try:
        with running("--feeds-enabled", "synthetic", env=env, log=log) as decahertz:
            wait_until("rows in the database", LIMIT_SECONDS, lambda: stored(decahertz) > 0)
            pids = asyncio.run(sessions(decahertz.database))
            with forbidden(data_dir):
                for pid in pids:  # the recorder has to connect again
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                time.sleep(_SECONDS)
                wait_until("health that tells", LIMIT_SECONDS, lambda: bool(decahertz.problems()))
            before = stored(decahertz)
            wait_until("new rows in the database", LIMIT_SECONDS, lambda: stored(decahertz) > before)
            wait_until("a healthy recorder", LIMIT_SECONDS, lambda: not decahertz.problems())
            streams = decahertz.get("/api/v1/ledger")["streams"]
            assert [stream["stream"] for stream in streams if stream["dropped"]] == []
            assert "database_lost" in log.read_text()
            # PostgreSQL gives up if it happens to begin a file of its log meanwhile.
            assert [line for line in errors_in(log) if "postgres_failed" not in line] == []
    finally:
        log.unlink(missing_ok=True)
