"""Bodies that are refused unread, on bare sockets: what they could cost is not paid."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from aiohttp.http_parser import DeflateBuffer

from tests.api.helpers import LIMIT_SECONDS, Stack

BOMB = gzip.compress(bytes(20_000_000), 9)
"""20 KB that unpack to 20 MB."""
MORE = 50_000_000
"""Bytes announced and never sent: an answer cannot have waited for them."""


@dataclass(frozen=True)
class Refused:
    """An answer, after which the server closed the connection."""

    status: int
    headers: dict[str, str]
    problem: dict[str, Any]


async def ask(stack: Stack, *lines: str, body: bytes) -> Refused:
    """Sends a head and a body; reads until the server closes, which it has to."""
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", stack.api.port)
    try:
        head = "\r\n".join((*lines, "Host: 127.0.0.1", "Content-Type: application/json", "", ""))
        outgoing.write(head.encode() + body)
        async with asyncio.timeout(LIMIT_SECONDS):
            answered = await incoming.readuntil(b"\r\n\r\n")
            status, *fields = answered.decode().strip().split("\r\n")
            headers = dict(field.split(": ", 1) for field in fields)
            document = await incoming.readexactly(int(headers["Content-Length"]))
            with contextlib.suppress(ConnectionResetError):  # closed with bytes of ours unread
                assert await incoming.read() == b""
    finally:
        outgoing.transport.abort()
    return Refused(int(status.split()[1]), headers, msgspec.json.decode(document))


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the server was given to unpack, by call."""
    calls: list[int] = []
    feed: Callable[[DeflateBuffer, bytes, int], bool] = DeflateBuffer.feed_data

    def counted(self: DeflateBuffer, chunk: bytes, size: int) -> bool:
        calls.append(len(chunk))
        return feed(self, chunk, size)

    monkeypatch.setattr(DeflateBuffer, "feed_data", counted)
    return calls


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "nonsense"])
async def test_a_compressed_body_is_415_before_it_is_read_and_is_not_unpacked(
    stack: Stack, unpacked: list[int], encoding: str
) -> None:
    body = zlib.compress(bytes(20_000_000)) if encoding == "deflate" else BOMB
    answer = await ask(
        stack,
        "POST /api/v1/events HTTP/1.1",
        f"Content-Encoding: {encoding}",
        f"Content-Length: {MORE if encoding != 'deflate' else len(body)}",
        body=body,
    )
    assert answer.status == 415
    assert answer.problem["type"] == "urn:decahertz:problem:unsupported-media-type"
    assert [error["field"] for error in answer.problem["errors"]] == ["Content-Encoding"]
    assert answer.headers["Accept-Encoding"] == "identity"
    assert answer.headers["Connection"] == "close"
    assert unpacked == []
    assert stack.ingest.events == 0


async def test_a_compressed_body_in_chunks_is_not_unpacked(stack: Stack, unpacked: list[int]) -> None:
    answer = await ask(
        stack,
        "POST /api/v1/events HTTP/1.1",
        "Content-Encoding: gzip",
        "Transfer-Encoding: chunked",
        body=f"{len(BOMB):x}\r\n".encode() + BOMB + b"\r\n",
    )
    assert (answer.status, unpacked) == (415, [])


@pytest.mark.parametrize(("line", "status"), [("GET /api/v1/ping", 200), ("POST /api/v1/nothing", 404)])
async def test_a_compressed_body_that_nobody_reads_is_neither_unpacked_nor_waited_for(
    stack: Stack, unpacked: list[int], line: str, status: int
) -> None:
    answer = await ask(
        stack, f"{line} HTTP/1.1", "Content-Encoding: gzip", f"Content-Length: {MORE}", body=BOMB
    )
    assert (answer.status, answer.headers["Connection"], unpacked) == (status, "close", [])


async def test_a_body_that_is_too_large_is_413_and_not_waited_for(stack: Stack) -> None:
    answer = await ask(stack, "POST /api/v1/events HTTP/1.1", f"Content-Length: {MORE}", body=b"[" * 1000)
    assert (answer.status, answer.headers["Connection"]) == (413, "close")


async def test_a_body_in_chunks_is_413_once_it_is_too_large(stack: Stack) -> None:
    limit = stack.settings.max_body_bytes
    answer = await ask(
        stack,
        "POST /api/v1/events HTTP/1.1",
        "Transfer-Encoding: chunked",
        body=f"{MORE:x}\r\n".encode() + b" " * (limit + 1),
    )
    assert (answer.status, answer.headers["Connection"]) == (413, "close")
