"""Frames that are built here and written past aiohttp are frames to a client of another library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import websockets
from aiohttp import web

from api.live.frames import BINARY, PING, TEXT, frame, join, write

LENGTHS = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]


@pytest_asyncio.fixture
async def echo_lengths() -> AsyncIterator[str]:
    """A server that writes the lengths it is asked for straight to the transport."""

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        transport = request.transport
        assert transport is not None
        async for message in response:
            lengths = [int(text) for text in message.data.split(",")]
            write(transport, join(TEXT, [b"t" * length for length in lengths]))
            await response.ping(b"from the library, in between")
            for length in lengths:
                write(transport, frame(BINARY, b"\x00" * length))
        return response

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest.mark.parametrize("lengths", [[length] for length in LENGTHS] + [LENGTHS])
async def test_a_client_of_another_library_reads_every_frame(echo_lengths: str, lengths: list[int]) -> None:
    async with websockets.connect(echo_lengths, max_size=None, proxy=None) as client, asyncio.timeout(20):
        await client.send(",".join(map(str, lengths)))
        for length in lengths:
            assert await client.recv() == "t" * length
        for length in lengths:
            assert await client.recv() == b"\x00" * length


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (5, b"\x82\x05"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_header_is_as_rfc_6455_has_it(length: int, header: bytes) -> None:
    assert frame(BINARY, b"x" * length) == header + b"x" * length


def test_a_ping_without_payload_is_two_bytes() -> None:
    assert frame(PING, b"") == b"\x89\x00"
