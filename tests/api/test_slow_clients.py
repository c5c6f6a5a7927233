"""Clients that do not finish their request: what they hold is bounded in time and in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api.settings import ApiSettings
from tests.api.helpers import LIMIT_SECONDS, Stack, wait_for

PING = b"GET /api/v1/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LARGE = 300_000
"""Bytes of a body that is counted."""


@pytest.fixture
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decahertz.http_server.HEAD_SECONDS", 0.3)
    monkeypatch.setattr("api.app.IDLE_SECONDS", 0.6)


@contextlib.asynccontextmanager
async def connection(stack: Stack) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", stack.api.port)
    try:
        yield incoming, outgoing
    finally:
        outgoing.transport.abort()


async def response(incoming: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    async with asyncio.timeout(LIMIT_SECONDS):
        head = (await incoming.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        body = await incoming.readexactly(int(fields["Content-Length"]))
    return int(head.split()[1]), msgspec.json.decode(body)


async def closed(incoming: asyncio.StreamReader) -> bytes:
    """Returns the bytes that arrive until the server closes."""
    async with asyncio.timeout(LIMIT_SECONDS):
        with contextlib.suppress(ConnectionResetError):
            return await incoming.read()
    return b""


@pytest.mark.usefixtures("_short_limits")
async def test_a_connection_without_a_whole_head_is_closed() -> None:
    async with Stack().running() as stack:
        async with connection(stack) as (incoming, _):
            assert await closed(incoming) == b""
        async with connection(stack) as (incoming, outgoing):
            outgoing.write(PING[:20])
            status, problem = await response(incoming)
            assert (status, problem["type"]) == (408, "urn:decahertz:problem:request-timeout")
            assert await closed(incoming) == b""


@pytest.mark.usefixtures("_short_limits")
async def test_bytes_that_trickle_do_not_prolong_the_head() -> None:
    async with Stack().running() as stack, connection(stack) as (incoming, outgoing):
        ended = asyncio.create_task(response(incoming))
        for byte in PING[:-1]:
            outgoing.write(bytes((byte,)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), 0.05)
                break
        assert (await ended)[0] == 408


@pytest.mark.usefixtures("_short_limits")
async def test_a_kept_connection_may_be_idle_and_has_to_send_a_whole_head_when_it_begins_one() -> None:
    async with Stack().running() as stack:
        async with connection(stack) as (incoming, outgoing):
            outgoing.write(PING)
            assert (await response(incoming))[0] == 200
            await asyncio.sleep(0.4)  # longer than a head may take
            outgoing.write(PING[:20])
            outgoing.write(PING[20:])
            assert (await response(incoming))[0] == 200
            outgoing.write(PING[:20])
            assert (await response(incoming))[0] == 408
        async with connection(stack) as (incoming, outgoing):
            outgoing.write(PING)
            assert (await response(incoming))[0] == 200
            assert await closed(incoming) == b""


def post(size: int, *more: str) -> bytes:
    lines = ("POST /api/v1/events HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {size}", *more, "", "")).encode()


async def until_held(stack: Stack, size: int) -> None:
    """Waits until the bodies take this many bytes."""
    await wait_for(lambda: stack.counted("decahertz_api_body_bytes") == size, f"{size} bytes are held")


async def refused(stack: Stack, request: bytes) -> None:
    """Sends a request that finds no room for its body."""
    async with connection(stack) as (incoming, outgoing):
        outgoing.write(request)
        status, problem = await response(incoming)
    assert (status, problem["type"]) == (503, "urn:decahertz:problem:overloaded")
    assert "api.max_inflight_bytes" in problem["detail"]


async def test_unfinished_bodies_take_bounded_memory_and_small_ones_have_room() -> None:
    settings = ApiSettings(port=0, max_inflight_bytes=LARGE)
    small = msgspec.json.encode({"source": "s", "epoch": 1, "first_sequence": 1, "events": []})
    padded = small + b" " * LARGE
    async with Stack(settings=settings).running() as stack:
        async with connection(stack) as (_, slow):
            slow.write(post(LARGE) + b" " * (LARGE - 1))
            await until_held(stack, LARGE - 1)
            await refused(stack, post(LARGE) + b" " * LARGE)
            async with connection(stack) as (incoming, outgoing):
                outgoing.write(post(len(small)) + small)
                assert (await response(incoming))[0] == 200
        await until_held(stack, 0)
        async with connection(stack) as (incoming, outgoing):
            outgoing.write(post(len(padded)) + padded)
            assert (await response(incoming))[0] == 200
        await until_held(stack, 0)


async def test_a_chunked_body_is_counted_as_it_arrives() -> None:
    settings = ApiSettings(port=0, max_inflight_bytes=LARGE, max_body_bytes=2 * LARGE)
    head = post(0, "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    async with Stack(settings=settings).running() as stack:
        async with connection(stack) as (_, slow):
            slow.write(head + f"{LARGE:x}\r\n".encode() + b" " * LARGE + b"\r\n")
            await until_held(stack, LARGE)
            await refused(stack, head + f"{LARGE:x}\r\n".encode() + b" " * LARGE)
        await until_held(stack, 0)
        async with connection(stack) as (incoming, outgoing):
            outgoing.write(head + f"{3 * LARGE:x}\r\n".encode() + b" " * (3 * LARGE))
            assert (await response(incoming))[0] == 413


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", "the request is not valid HTTP/1.1"),
        (b"\x16\x03\x01 secret-key\r\n\r\n", "the request is not valid HTTP/1.1"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000,
            "a line of the head of the request is too long",
        ),
    ],
)
async def test_bytes_that_are_no_request_get_a_problem_document(
    stack: Stack, said: bytes, detail: str
) -> None:
    async with connection(stack) as (incoming, outgoing):
        outgoing.write(said)
        status, problem = await response(incoming)
    assert status == 400
    assert problem["type"] == "urn:decahertz:problem:bad-request"
    assert problem["detail"] == detail
    assert stack.counted("decahertz_api_bad_requests_total") == 1
