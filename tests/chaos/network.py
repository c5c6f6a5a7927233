"""The network between client and pipeline: a TCP proxy that can be cut, slowed, and lose answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

_PIECE = 1 << 14


class Network:
    """Passes everything on, except for the faults that are set."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.is_cut = False
        """No connection gets through."""
        self.delay_seconds = 0.0
        """How long each piece is on its way, in both directions."""
        self.bytes_per_second = 0.0
        """How much passes in each direction; 0: no limit."""
        self.lose_answers = 0
        """Number of answers to lose: the connection breaks between the server's answer and the client."""
        self.lost = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self.cut()

    async def cut(self) -> None:
        """Break all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:  # the pipeline is dead
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        try:
            await asyncio.gather(self._pass(reader, there), self._answer(there_reader, writer, there))
        except OSError:
            pass
        finally:
            self._writers -= {writer, there}
            for end in (writer, there):
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE):
            await self._on_its_way(len(data))
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_PIECE):
            if self.lose_answers and data.startswith(b"HTTP/1.1 200"):
                self.lose_answers -= 1
                self.lost += 1
                writer.transport.abort()
                there.transport.abort()
                return
            await self._on_its_way(len(data))
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _on_its_way(self, size: int) -> None:
        seconds = self.delay_seconds + (size / self.bytes_per_second if self.bytes_per_second else 0.0)
        if seconds:
            await asyncio.sleep(seconds)
