"""Proxies that cut, delay and lose what passes, as a network does."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

_PIECE = 1 << 14
_COMMIT = b"COMMIT;"


class Proxy(ABC):
    """Passes everything on between clients and a server, except for the faults that are set."""

    def __init__(self) -> None:
        self.is_cut = False
        """No connection gets through."""
        self.delay_seconds = 0.0
        """How long each piece is on its way, in both directions."""
        self.bytes_per_second = 0.0
        """How much passes in each direction; 0: no limit."""
        self.lose_answers = 0
        """Number of answers to lose: the server does its work, and the client's connection breaks."""
        self.lost = 0
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._listener = await self._listen()

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            await self.cut()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def cut(self) -> None:
        """Breaks all connections, and takes no more."""
        self.is_cut = True
        _abort(*self._writers)

    @abstractmethod
    async def _listen(self) -> asyncio.Server:
        """Listens for clients."""

    @abstractmethod
    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a connection to the server."""

    def _loses_request(self, data: bytes, server: asyncio.StreamWriter, client: asyncio.StreamWriter) -> bool:  # noqa: ARG002 - for proxies that do
        return False

    def _loses_answer(self, data: bytes, server: asyncio.StreamWriter, client: asyncio.StreamWriter) -> bool:  # noqa: ARG002 - for proxies that do
        return False

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.is_cut:
            _abort(client)
            return
        try:
            server_reader, server = await self._connect()
        except OSError:  # the server is dead
            _abort(client)
            return
        self._writers |= {client, server}
        with suppress(OSError):
            await asyncio.gather(
                self._pass_requests(reader, server, client), self._pass_answers(server_reader, server, client)
            )
        self._writers -= {client, server}
        _abort(client, server)

    async def _pass_requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_PIECE):
            if self._loses_request(data, server, client):
                return
            await self._pass(data, server)
        with suppress(OSError):
            server.write_eof()

    async def _pass_answers(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_PIECE):
            if self._loses_answer(data, server, client):
                return
            if not client.transport.is_closing():
                await self._pass(data, client)
        client.close()

    async def _pass(self, data: bytes, to: asyncio.StreamWriter) -> None:
        seconds = self.delay_seconds + (len(data) / self.bytes_per_second if self.bytes_per_second else 0.0)
        if seconds:
            await asyncio.sleep(seconds)
        to.write(data)
        await to.drain()


class ApiProxy(Proxy):
    """Stands before the API of a recorder."""

    def __init__(self, target_port: int) -> None:
        super().__init__()
        self._target_port = target_port
        self.port = 0

    async def _listen(self) -> asyncio.Server:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        return listener

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._target_port)

    def _loses_answer(self, data: bytes, server: asyncio.StreamWriter, client: asyncio.StreamWriter) -> bool:
        if not self.lose_answers or not data.startswith(b"HTTP/1.1 200"):
            return False
        self.lose_answers -= 1
        self.lost += 1
        _abort(client, server)
        return True


class PostgresProxy(Proxy):
    """Stands before PostgreSQL, whose answers to a COMMIT it loses."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        parts = urlsplit(url)
        host = parse_qs(parts.query)["host"][0]
        self._server = f"{host}/.s.PGSQL.5432"
        self._socket = folder / ".s.PGSQL.5432"
        self.url = f"postgresql://{parts.username}@{parts.path}?host={folder}&port=5432"
        self.lose_commits = 0
        """COMMITs to lose with the connection before the server gets them."""

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, self._socket)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self._server)

    def _loses_request(self, data: bytes, server: asyncio.StreamWriter, client: asyncio.StreamWriter) -> bool:
        if _COMMIT not in data or not (self.lose_commits or self.lose_answers):
            return False
        self.lost += 1
        _abort(client)
        if self.lose_commits:
            self.lose_commits -= 1
            _abort(server)
        else:
            self.lose_answers -= 1
            server.write(data)
            server.close()
        return True


def _abort(*ends: asyncio.StreamWriter) -> None:
    for end in ends:
        end.transport.abort()
