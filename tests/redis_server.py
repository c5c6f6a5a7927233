"""A Redis for one test: Debian's redis-server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.servers import free_port, require

PASSWORD = "swordfish"  # noqa: S105 - of a server that ends with the test


class RedisServer:
    """A Redis that can be ended, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            require("redis-server"),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--requirepass", PASSWORD),
            *("--dir", str(self._folder)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None
