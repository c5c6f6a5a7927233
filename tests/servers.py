"""Programs of others that tests run against: Prometheus and its promtool, alertmanager, …"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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
