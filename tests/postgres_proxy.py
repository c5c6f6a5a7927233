"""A proxy before PostgreSQL that can lose what passes, as a network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_COMMIT = b"COMMIT;"


class Proxy:
    """Passes everything on, but for what it is told to lose."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        host = parse_qs(parts.query)["host"][0]
        self._server = f"{host}/.s.PGSQL.5432"
        self._socket = folder / ".s.PGSQL.5432"
        self.url = f"postgresql://{parts.username}@{parts.path}?host={folder}&port=5432"
        self.lose_answers = 0
        """COMMITs that reach the server, whose answers are to be lost with the connection."""
        self.lose_commits = 0
        """COMMITs to lose with the connection before the server gets them."""
        self.lost = 0
        self.refuse = False
        """Take no connection."""
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        listener = await asyncio.start_unix_server(self._serve, self._socket)
        try:
            yield self
        finally:
            listener.close()
            self.cut()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        self._writers |= {writer, server_writer}
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, server_writer, writer), self._back(server_reader, writer))
        self._writers -= {writer, server_writer}
        for end in (writer, server_writer):
            end.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            if _COMMIT in data and self.lose_commits:
                self.lose_commits -= 1
                self.lost += 1
                server.transport.abort()
                client.transport.abort()
                return
            if _COMMIT in data and self.lose_answers:
                self.lose_answers -= 1
                self.lost += 1
                client.transport.abort()
                server.write(data)
                await server.drain()
                server.close()
                return
            server.write(data)
            await server.drain()
        server.close()

    async def _back(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await server.read(1 << 16):
            if not client.transport.is_closing():
                client.write(data)
                await client.drain()
        client.close()
