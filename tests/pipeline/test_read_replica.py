"""``storage.read_url``: queries of the API go to a streaming replica, and nowhere else."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storage.postgres.embedded import EmbeddedPostgres, Installation
from tests.embedded_server import connected, create_data
from tests.pipeline.running import environment
from tests.pipeline.test_without_database import health, refused, send, started, until
from tests.proxy import PostgresProxy

pytestmark = [pytest.mark.timeout(300)]
_FAST = {"fsync": "off", "wal_level": "replica", "max_wal_senders": "4"}


class TcpProxy(PostgresProxy):
    """Lets the replica's server, which may run as a user without access to the socket, reach the primary."""

    port = 0

    async def _listen(self) -> asyncio.Server:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        return listener


@asynccontextmanager
async def primary_of(folder: Path, installation: Installation) -> AsyncIterator[tuple[str, int]]:
    """A server that a replica may follow: its URL, and the port to follow it at."""
    create_data(folder, installation, has_tables=True)
    async with EmbeddedPostgres(folder, installation=installation, settings=_FAST) as server:
        with (folder / "cluster" / "pg_hba.conf").open("a") as access:
            access.write("local replication decahertz peer map=owner\n")
        async with connected(server.url) as connection:
            await connection.execute("SELECT pg_reload_conf()")
        async with TcpProxy(server.url, folder).running() as proxy:
            yield server.url, proxy.port


async def copy_primary(primary: Path, replica: Path, port: int, installation: Installation) -> None:
    """A base backup that begins to follow the primary when a server starts on it."""
    copying = await asyncio.create_subprocess_exec(
        *(installation.program("pg_basebackup"), "-D", str(replica / "cluster"), "-R", "--no-sync"),
        *("-c", "fast", "-h", "127.0.0.1", "-p", str(port), "-U", "decahertz", "--no-password"),
        stderr=subprocess.PIPE,
    )
    _, errors = await copying.communicate()
    assert copying.returncode == 0, errors.decode()
    same_owner = f"--reference={primary / 'cluster'}"
    owning = await asyncio.create_subprocess_exec("chown", "-R", same_owner, str(replica / "cluster"))
    assert await owning.wait() == 0


async def test_answers_come_from_the_replica_and_an_error_names_it_while_it_is_away(
    folder: Path, installation: Installation
) -> None:
    data = folder / "recorder"
    data.mkdir()
    async with primary_of(folder / "primary", installation) as (url, port):
        replica = folder / "replica"
        replica.mkdir(mode=0o700)
        await copy_primary(folder / "primary", replica, port, installation)
        server = EmbeddedPostgres(replica, installation=installation, settings=_FAST)
        env = environment(
            data,
            DECAHERTZ_DATABASE_URL=url,
            DECAHERTZ_STORAGE_READ_URL=server.url,
            DECAHERTZ_FEEDS_ENABLED="",
        )
        async with server, started(env, data / "log") as decahertz:
            await asyncio.to_thread(send, decahertz, 1, "buy", 100.0)
            await until("the fill", lambda: len(decahertz.get_all("fills")) == 1)
            async with connected(server.url) as connection:
                await connection.execute("SELECT pg_wal_replay_pause()")
                await asyncio.to_thread(send, decahertz, 2, "sell", 130.0)
                async with connected(url) as there:
                    while await there.fetchval("SELECT count(*) FROM fills") < 2:
                        pass
                assert len(await asyncio.to_thread(decahertz.get_all, "fills")) == 1
                await connection.execute("SELECT pg_wal_replay_resume()")
            await until("the second fill", lambda: len(decahertz.get_all("fills")) == 2)
            assert not await asyncio.to_thread(decahertz.problems)

            await server.stop()
            problem = await asyncio.to_thread(refused, decahertz, "/api/v1/fills?limit=7")
            assert problem["detail"] == "the database of storage.read_url does not respond; try again"
            await until("health", lambda: "read replica" in health(decahertz))
            await asyncio.to_thread(send, decahertz, 3, "buy", 90.0)
            again = EmbeddedPostgres(replica, installation=installation, settings=_FAST)
            async with again:
                await until("the third fill", lambda: len(decahertz.get_all("fills")) == 3)
                await until("health", lambda: not decahertz.problems())
