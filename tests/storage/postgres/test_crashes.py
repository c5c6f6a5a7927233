"""An embedded PostgreSQL that crashes, or whose parent does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import asyncpg
import psutil
import pytest

from storage.postgres.cluster import SOCKET_NAME
from storage.postgres.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    Installation,
    Options,
    database_url,
    running_pid,
)
from tests.embedded_server import LIMIT_S, gone, on_linux, other_process, recall, remember, server_pid

pytestmark = pytest.mark.timeout(60)


@on_linux
async def test_it_dies_with_its_parent_and_keeps_committed_rows(
    folder: Path, installation: Installation
) -> None:
    async with other_process(folder / "pg", installation) as owner:
        pid = await server_pid(owner)
        await remember(database_url(folder / "pg"), 7)
        owner.kill()
        await gone(pid)
    async with EmbeddedPostgres(folder / "pg", installation=installation) as server:
        assert await recall(server.url) == [7]


@on_linux
async def test_a_start_waits_for_the_server_of_a_killed_owner(
    filled: Path, installation: Installation
) -> None:
    async with other_process(filled / "pg", installation) as owner:
        pid = await server_pid(owner)
        await remember(database_url(filled / "pg"), 7)
        os.kill(pid, signal.SIGSTOP)  # it is there, and cannot end yet
        try:
            owner.kill()
            await asyncio.wait_for(owner.wait(), LIMIT_S)
            server = EmbeddedPostgres(filled / "pg", installation=installation)
            start = asyncio.create_task(server.start())
            finished, _ = await asyncio.wait({start}, timeout=0.5)
            assert not finished
            assert running_pid(filled / "pg") == pid, "the locks of a living server are left alone"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await recall(await asyncio.wait_for(start, LIMIT_S)) == [7]
        await server.stop()


async def killed(server: EmbeddedPostgres) -> None:
    """Returns when the server has ended by a signal and that was noticed."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert await asyncio.wait_for(server.wait_ended(), LIMIT_S) == -signal.SIGKILL
    assert server.pid is None
    await server.stop()


async def test_a_start_waits_for_sessions_of_a_killed_server(
    filled: Path, installation: Installation
) -> None:
    server = EmbeddedPostgres(filled / "pg", installation=installation)
    url = await server.start()
    session = await asyncpg.connect(url)
    backend = psutil.Process(await session.fetchval("SELECT pg_backend_pid()"))
    backend.suspend()  # it does not notice that its server is dead
    await killed(server)
    again = EmbeddedPostgres(filled / "pg", installation=installation)
    start = asyncio.create_task(again.start())
    finished, _ = await asyncio.wait({start}, timeout=0.5)
    assert not finished
    backend.resume()
    await asyncio.wait_for(start, LIMIT_S)
    session.terminate()
    await again.stop()


async def test_a_killed_server_can_start_again_even_if_its_pid_belongs_to_another_process(
    filled: Path, installation: Installation
) -> None:
    server = EmbeddedPostgres(filled / "pg", installation=installation)
    await remember(await server.start(), 7)
    await killed(server)
    cluster = filled / "pg/cluster"
    owner = cluster.stat().st_uid
    stranger = subprocess.Popen(  # noqa: ASYNC220 - it only waits for its input to end
        ["cat"], stdin=subprocess.PIPE, user=owner if os.geteuid() == 0 else None
    )
    try:
        for lock in (cluster / "postmaster.pid", cluster / f"{SOCKET_NAME}.lock"):
            _, *rest = lock.read_text().splitlines(keepends=True)
            lock.write_text("".join([f"{stranger.pid}\n", *rest]))
        assert running_pid(filled / "pg") is None
        async with EmbeddedPostgres(filled / "pg", installation=installation) as again:
            assert stranger.poll() is None
            assert await recall(again.url) == [7]
    finally:
        stranger.communicate(timeout=LIMIT_S)


async def test_a_start_that_takes_too_long_leaves_nothing_behind(
    folder: Path, installation: Installation
) -> None:
    hasty = Options(start_limit_s=0.05)
    with pytest.raises(EmbeddedPostgresError, match=r"not ready after 0\.05 s"):
        await EmbeddedPostgres(folder / "pg", installation=installation, options=hasty).start()
    assert running_pid(folder / "pg") is None
    async with EmbeddedPostgres(folder / "pg", installation=installation):
        pass


async def test_a_cancelled_start_leaves_nothing_behind(folder: Path, installation: Installation) -> None:
    server = EmbeddedPostgres(folder / "pg", installation=installation)
    start = asyncio.create_task(server.start())
    await asyncio.wait({start}, timeout=0.1)
    start.cancel()
    await asyncio.wait({start}, timeout=LIMIT_S)
    assert start.cancelled()
    assert running_pid(folder / "pg") is None
    async with EmbeddedPostgres(folder / "pg", installation=installation):
        pass


async def test_half_a_data_directory_of_a_killed_first_start_is_removed(
    filled: Path, installation: Installation
) -> None:
    half = filled / "pg/initdb-killed"
    (half / "base").mkdir(parents=True)
    async with EmbeddedPostgres(filled / "pg", installation=installation):
        assert not half.exists()
