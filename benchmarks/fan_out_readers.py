"""Readers of the fan-out benchmark, in a process of their own: measure how long a message takes to them.

    python -m benchmarks.fan_out_readers PORT READERS CRAWLING MODE

MODE is ``ws`` or ``raw``. Prints ``ready`` when all are connected. At the end of its input it prints the
latencies in nanoseconds, in order, as JSON. A crawling reader reads 256 bytes ten times a second, a fraction
of what is sent to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from typing import cast

import uvloop

_CRAWL_BYTES = 256
_CRAWL_SECONDS = 0.1
_AT_ONCE = 100
_HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SUBSCRIBE = b'{"type":"subscribe","topics":["metrics:**"]}'
_MARK = b'"type":"update"'
_TIME = b'"time_ns":'
_DIGITS = 19


def opening(port: int) -> bytes:
    """The handshake and a masked subscription, whose mask is zero."""
    frame = bytes((0x81, 0x80 | len(_SUBSCRIBE), 0, 0, 0, 0)) + _SUBSCRIBE
    return _HANDSHAKE.format(port=port).encode() + frame


class Reader(asyncio.Protocol):
    """Notes the time from sending to receipt of each update that it gets in one piece."""

    def __init__(self, hello: bytes, latencies: list[int]) -> None:
        self._hello = hello
        self._latencies = latencies
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the handshake and the subscription."""
        transport = cast("asyncio.WriteTransport", transport)
        transport.write(self._hello)
        if not self._hello:
            self.began.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Notes the latency of the first update in the data."""
        now_ns = time.time_ns()
        place = data.find(_MARK)
        if place < 0:
            if not self.began.done() and b'"snapshot"' in data:
                self.began.set_result(None)
            return
        place = data.find(_TIME, place) + len(_TIME)
        self._latencies.append(now_ns - int(data[place : place + _DIGITS]))


async def crawl(port: int, hello: bytes) -> None:
    """Read as slowly as can be."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await loop.sock_connect(raw, ("127.0.0.1", port))
    with raw:
        raw.send(hello)
        while True:
            await asyncio.sleep(_CRAWL_SECONDS)
            with contextlib.suppress(BlockingIOError):
                if not raw.recv(_CRAWL_BYTES):
                    return


async def main(port: int, readers: int, crawling: int, *, is_raw: bool) -> None:
    loop = asyncio.get_running_loop()
    hello = b"" if is_raw else opening(port)
    latencies: list[int] = []
    crawlers = [asyncio.create_task(crawl(port, hello)) for _ in range(crawling)]
    open_: list[asyncio.BaseTransport] = []
    for start in range(0, readers, _AT_ONCE):
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda: Reader(hello, latencies), "127.0.0.1", port)
                for _ in range(min(_AT_ONCE, readers - start))
            )
        )
        await asyncio.gather(*(reader.began for _, reader in made))
        open_ += [transport for transport, _ in made]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for crawler in crawlers:
        crawler.cancel()
    for transport in open_:
        transport.close()
    print(json.dumps(sorted(latencies)))


if __name__ == "__main__":
    port, readers, crawling = map(int, sys.argv[1:4])
    uvloop.run(main(port, readers, crawling, is_raw=sys.argv[4] == "raw"))
