"""Programs of others that tests run against: Prometheus and its promtool, Alertmanager, PgBouncer, …"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest
from aiohttp import ClientError, ClientSession

REQUIRE = "DECAHERTZ_TEST_REQUIRE_SERVERS"
"""Set to 1 where all these programs have to be there: what would be skipped then fails."""


_START_SECONDS = 30.0


def require(*programs: str) -> str:
    """The path of the first of these programs that there is; without one the test is skipped, or fails."""
    for program in programs:
        path = shutil.which(program)
        if path is not None:
            return path
    reason = f"{programs[0]} is not on PATH (on Debian: apt-get install prometheus prometheus-alertmanager)"
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason}, and {REQUIRE} is 1")
    pytest.skip(reason)


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def alertmanager(folder: Path, configuration: str, port: int = 0) -> AsyncIterator[str]:
    """A running Alertmanager; its URL."""
    program = require("prometheus-alertmanager", "alertmanager")
    file = folder / "alertmanager.yml"
    file.write_text(configuration)
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={file}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(_START_SECONDS):
            await _until_ready(url, process)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with ClientSession() as session:
        while True:
            assert process.returncode is None, "Alertmanager has ended"
            try:
                async with session.get(f"{url}/-/ready") as response:
                    if response.ok:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def pgbouncer(server_url: str, **settings: str) -> AsyncIterator[str]:
    """A PgBouncer in transaction mode before an embedded server; yields its URL, for the same database.

    Each transaction gets the session that was unused for longest, so that no session state lasts by chance.
    """
    program = require("pgbouncer")
    port = free_port()
    parts = urlsplit(server_url)
    server = dict(parse_qsl(parts.query))
    # The user of the server may not reach the folder of its socket by path.
    descriptor = os.open(server["host"], os.O_RDONLY | os.O_DIRECTORY)
    user = os.fstat(descriptor).st_uid
    role = f"pooler_{port}"  # with a password: the role of the server's owner is that user's alone
    line = f"* = host=/proc/self/fd/{descriptor} port={server['port']} user={role} password={role}"
    connection = await asyncpg.connect(server_url)
    await connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{role}'")
    await connection.close()
    with closing_descriptor(descriptor), tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        file = _configure_pgbouncer(Path(folder), line, port, settings)
        for path in (folder, file):
            os.chown(path, user, -1)
        process = await asyncio.create_subprocess_exec(
            program,
            "--quiet",
            str(file),
            user=user,  # PgBouncer refuses to run as root, and the server to talk to others
            pass_fds=(descriptor,),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not _accepts(port):
                    assert process.returncode is None, "PgBouncer has ended"
                    await asyncio.sleep(0.02)
            yield f"postgresql://{role}@127.0.0.1:{port}{parts.path}"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _configure_pgbouncer(folder: Path, databases: str, port: int, settings: Mapping[str, str]) -> Path:
    """The file of settings."""
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "server_round_robin": "1",
        **settings,
    }
    file = folder / "pgbouncer.ini"
    lines = [f"{name} = {value}" for name, value in options.items()]
    file.write_text("\n".join(["[databases]", databases, "[pgbouncer]", *lines, ""]))
    return file


@contextmanager
def closing_descriptor(descriptor: int) -> Iterator[None]:
    """Closes an open file at the end of the block."""
    try:
        yield
    finally:
        os.close(descriptor)


def _accepts(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
