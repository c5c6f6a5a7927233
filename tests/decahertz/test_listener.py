"""The listener on the event loop that the program uses."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop
from aiohttp import web

from decahertz.addresses import listening_sockets, unix_socket
from decahertz.http_server import Site, TimedConnection, TimedRunner
from decahertz.listener import Listener

_LIMIT_SECONDS = 10.0


class _Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(b"hello")  # uvloop's are of a class of their own
        transport.close()


class _Greeter:
    """Makes protocols, but fails the first few times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures

    def __call__(self) -> asyncio.Protocol:
        if self.failures:
            self.failures -= 1
            raise MemoryError
        return _Greeting()


@asynccontextmanager
async def _listening(greeter: _Greeter) -> AsyncIterator[tuple[str, int]]:
    listener = Listener(listening_sockets("api", "127.0.0.1", 0, 16), greeter)
    listener.start()
    host, port = listener.sockets[0].getsockname()
    yield host, port
    listener.close()
    await listener.wait_closed()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), _LIMIT_SECONDS)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def _run(work: Callable[[], Awaitable[None]], errors: list[BaseException] | None = None) -> None:
    async def run() -> None:
        if errors is not None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: errors.append(context["exception"])
            )
        await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_connection_that_cannot_be_set_up_costs_that_one_alone() -> None:
    async def work() -> None:
        async with _listening(_Greeter(failures=2)) as address:
            greetings = [await _read(*await asyncio.open_connection(*address)) for _ in range(4)]
        assert greetings == [b"", b"", b"hello", b"hello"]

    errors: list[BaseException] = []
    _run(work, errors)
    assert [type(error) for error in errors] == [MemoryError, MemoryError]


def test_connections_wait_while_no_descriptor_is_free() -> None:
    async def work() -> None:
        async with _listening(_Greeter()) as address:
            client = socket.socket()
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(client.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                await loop.sock_connect(client, address)
                received = asyncio.ensure_future(loop.sock_recv(client, 100))
                done, _ = await asyncio.wait([received], timeout=0.5)
                assert not done
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert await asyncio.wait_for(received, _LIMIT_SECONDS) == b"hello"
            client.close()

    _run(work)


def test_nobody_is_accepted_after_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        path = str(tmp_path / "socket")
        listener = Listener([unix_socket(path, 16)], _Greeter())
        listener.start()
        assert listener.is_serving()
        assert await _read(*await asyncio.open_unix_connection(path)) == b"hello"
        listener.close()
        listener.close()
        assert not listener.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(path)

    _run(work)


def test_a_connection_whose_bytes_were_lost_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    async def work() -> None:
        runner = TimedRunner(web.Application())
        await runner.setup()
        await Site(runner, listening_sockets("api", "127.0.0.1", 0, 16)).start()
        with monkeypatch.context() as patched:
            patched.setattr(TimedConnection.__base__, "data_received", fail)
            reader, writer = await asyncio.open_connection(*runner.addresses[0])
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await _read(reader, writer) == b""
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await _read(reader, writer)).startswith(b"HTTP/1.1 404 ")
        await runner.cleanup()

    errors: list[BaseException] = []
    _run(work, errors)
    assert [type(error) for error in errors] == [MemoryError]
