"""A request that repeats the previous one of its connection: the same answers as from aiohttp."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
from aiohttp import web

from api.http.repeats import Connection, RepeatRunner, rendered
from tests.api.helpers import Stack

HEAD = b"GET /api/v1/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_ID = re.compile(rb"(?im)^x-request-id: (\S+)\r$")

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Client:
    """A client that writes bytes as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, data: bytes, answers: int = 1) -> list[bytes]:
        self.writer.write(data)
        return [await self.answer() for _ in range(answers)]

    async def answer(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?im)^content-length: (\d+)\r$", head)
        return head + await self._reader.readexactly(int(found[1]) if found else 0)

    async def rest(self) -> bytes:
        return await self._reader.read()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[RepeatRunner, int]]:
    """A server whose requests may be repeated."""

    async def remembering(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        assert isinstance(request.protocol, Connection)
        request.protocol.remember(request, functools.partial(handler, request))
        return response

    async def plain(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", remembering)
    app.router.add_post("/{path:.*}", plain)
    runner = RepeatRunner(app, access_log=None, handle_signals=False, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner, runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Gate:
    """A handler that counts, and can be held up."""

    def __init__(self) -> None:
        self.requests = 0
        self.open = asyncio.Event()
        self.open.set()
        self.came = asyncio.Condition()
        self.abandoned, self.finished = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        self.requests += 1
        number = self.requests
        async with self.came:
            self.came.notify_all()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.abandoned.set()
            raise
        self.finished.set()
        return web.Response(body=f"{number} {request.path}".encode())

    async def until(self, requests: int) -> None:
        async with self.came:
            await self.came.wait_for(lambda: self.requests >= requests)


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def head(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_a_repeated_request_gets_the_same_headers_and_a_request_id_of_its_own(stack: Stack) -> None:
    async with connected(stack.api.port) as client:
        answers = [(await client.ask(HEAD))[0] for _ in range(3)]
    ids = {found[1] for answer in answers if (found := _ID.search(answer))}
    names = [
        {line.partition(b":")[0].lower() for line in answer.partition(b"\r\n\r\n")[0].splitlines()}
        for answer in answers
    ]
    assert len(ids) == 3
    assert names[0] == names[1] == names[2]
    assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in answers)


async def test_access_is_decided_for_each_request(stack: Stack) -> None:
    path = b"GET /api/v1/collectors HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with connected(stack.api.port) as client:
        for _ in range(2):
            assert (await client.ask(path))[0].startswith(b"HTTP/1.1 200 ")
        stack.api._access.required = True
        for _ in range(2):
            assert (await client.ask(path))[0].startswith(b"HTTP/1.1 401 ")
        stack.api._access.required = False
        assert (await client.ask(path))[0].startswith(b"HTTP/1.1 200 ")


async def test_repeated_requests_are_counted(stack: Stack) -> None:
    async with connected(stack.api.port) as client:
        for _ in range(5):
            await client.ask(HEAD)
    labels = {"route": "/api/v1/ping", "method": "GET", "status": "200"}
    assert stack.registry.get_sample_value("decahertz_api_requests_total", labels) == 5


async def test_pipelined_and_split_requests_are_served_in_order() -> None:
    async with serving(Gate()) as (_, port), connected(port) as client:
        a, b = head("/a"), head("/b")
        answers = [*await client.ask(a), *await client.ask(a), *await client.ask(a + b + a, 3)]
        client.writer.write(a[:10])
        await asyncio.sleep(0.01)
        answers += await client.ask(a[10:])
        answers += await client.ask(a)
    assert list(map(body, answers)) == [b"1 /a", b"2 /a", b"3 /a", b"4 /b", b"5 /a", b"6 /a", b"7 /a"]


async def test_a_connection_remembers_its_last_requests() -> None:
    gate = Gate()
    paths = [f"/{number}" for number in range(12)]
    async with serving(gate) as (runner, port), connected(port) as client:
        for _ in range(2):
            for path in paths:
                (answer,) = await client.ask(head(path))
                assert body(answer) == f"{gate.requests} {path}".encode()
        assert runner.server is not None
        (connection,) = runner.server.connections
        assert isinstance(connection, Connection)
        assert set(connection._known) == {head(path) for path in paths[-8:]}


async def test_two_requests_in_one_segment_are_not_one_head() -> None:
    async with serving(Gate()) as (_, port), connected(port) as client:
        both = head("/a") + head("/b")
        answers = [*await client.ask(both, 2), *await client.ask(both, 2), *await client.ask(both, 2)]
    expected = [b"1 /a", b"2 /b", b"3 /a", b"4 /b", b"5 /a", b"6 /b"]
    assert list(map(body, answers)) == expected


async def test_what_arrives_while_a_repeated_request_is_in_progress_waits() -> None:
    gate = Gate()
    a, b = head("/a"), head("/b")
    async with serving(gate) as (_, port), connected(port) as client:
        await client.ask(a)
        gate.open.clear()
        client.writer.write(a)
        await gate.until(2)
        for data in (b, a, a[:7], a[7:]):
            client.writer.write(data)
            await asyncio.sleep(0.01)
        assert gate.requests == 2
        gate.open.set()
        answers = [await client.answer() for _ in range(4)]
    assert list(map(body, answers)) == [b"2 /a", b"3 /b", b"4 /a", b"5 /a"]


async def test_a_flood_while_a_request_is_in_progress_is_not_read() -> None:
    gate = Gate()
    a = head("/a")
    async with serving(gate) as (runner, port), connected(port) as client:
        await client.ask(a)
        gate.open.clear()
        client.writer.write(a)
        await gate.until(2)
        client.writer.write(a * 50_000)
        assert runner.server is not None
        (connection,) = runner.server.connections
        assert isinstance(connection, Connection)
        async with asyncio.timeout(20):
            while connection.transport is None or connection.transport.is_reading():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.001)
        assert len(connection._waiting) < 1024 * 1024
        gate.open.set()
        for number in range(2, 100):
            assert body(await client.answer()) == f"{number} /a".encode()


@pytest.mark.parametrize("extra", ["Content-Length: {}", "content-length:{}", "Transfer-Encoding: chunked"])
async def test_a_body_that_looks_like_the_remembered_head_is_a_body(extra: str) -> None:
    gate = Gate()
    a = head("/a")
    async with serving(gate) as (_, port), connected(port) as client:
        await client.ask(a)
        await client.ask(a)
        framed = a[:-2] + extra.format(len(a)).encode() + b"\r\n\r\n"
        (answer,) = await client.ask(framed)
        assert body(answer) == b"3 /a"
        chunk = b"%x\r\n" % len(a) if "chunked" in extra else b""
        client.writer.write(chunk)
        await asyncio.sleep(0.01)
        client.writer.write(a)
        await asyncio.sleep(0.01)
        client.writer.write(b"\r\n0\r\n\r\n" if chunk else b"")
        client.writer.write(head("/b"))
        assert body(await client.answer()) == b"4 /b"
    assert gate.requests == 4


async def test_a_connection_that_is_to_be_closed_is_closed() -> None:
    async with serving(Gate()) as (_, port), connected(port) as client:
        closing = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await client.ask(head("/a"))
        await client.ask(head("/a"))
        await client.ask(closing)
        assert await client.rest() == b""


async def test_a_stop_waits_for_the_repeated_request() -> None:
    gate = Gate()
    async with serving(gate) as (runner, port), connected(port) as client:
        await client.ask(head("/a"))
        gate.open.clear()
        client.writer.write(head("/a"))
        await gate.until(2)
        stopping = asyncio.create_task(runner.cleanup())
        await asyncio.sleep(0.05)
        gate.open.set()
        assert body(await client.answer()) == b"2 /a"
        assert await client.rest() == b""
        await stopping


async def test_a_client_that_leaves_is_forgotten() -> None:
    gate = Gate()
    async with serving(gate) as (runner, port):
        async with connected(port) as client:
            await client.ask(head("/a"))
            gate.open.clear()
            client.writer.write(head("/a"))
            await gate.until(2)
            assert runner.server is not None
            (connection,) = runner.server.connections
            assert isinstance(connection, Connection)
            repeat, lost = connection._repeat, connection._task_handler
        assert repeat is not None
        assert lost is not None
        await asyncio.wait([lost])
        await asyncio.wait([repeat])
        assert repeat.cancelled()
        assert (connection.transport, connection._known) == (None, {})


@pytest.mark.parametrize("repeats", [0, 1])
async def test_a_read_is_abandoned_when_its_client_leaves(repeats: int) -> None:
    gate = Gate()
    async with serving(gate) as (_, port):
        async with connected(port) as client:
            for _ in range(repeats):
                await client.ask(head("/a"))
            gate.open.clear()
            client.writer.write(head("/a"))
            await gate.until(repeats + 1)
        async with asyncio.timeout(20):
            await gate.abandoned.wait()
        gate.open.set()
        async with connected(port) as other:
            assert body((await other.ask(head("/b")))[0]) == f"{repeats + 2} /b".encode()


async def test_a_change_is_not_abandoned_when_its_client_leaves() -> None:
    gate = Gate()
    gate.open.clear()
    async with serving(gate) as (_, port):
        async with connected(port) as client:
            client.writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            await gate.until(1)
        async with connected(port) as other:  # by now the server knows that the first one has left
            other.writer.write(head("/b"))
            await gate.until(2)
            gate.open.set()
            await other.answer()
        async with asyncio.timeout(20):
            await gate.finished.wait()
        assert not gate.abandoned.is_set()


async def test_a_failed_repeat_closes_the_connection() -> None:
    async def fails(_: web.Request) -> web.Response:
        calls.append(1)
        if len(calls) > 1:
            raise ConnectionResetError
        return web.Response(body=b"x")

    calls: list[int] = []
    async with serving(fails) as (_, port), connected(port) as client:
        await client.ask(head("/a"))
        client.writer.write(head("/a"))
        assert await client.rest() == b""


def test_a_header_cannot_bring_another() -> None:
    with pytest.raises(ValueError, match="header injection"):
        rendered(web.Response(body=b"", headers={"X": "a\r\nSet-Cookie: b"}))


def test_a_response_without_a_plain_body_is_not_rendered() -> None:
    with pytest.raises(TypeError, match="cannot be sent again"):
        rendered(web.StreamResponse())
