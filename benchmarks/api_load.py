"""Load of the isolation benchmark, in a process of its own: paced requests, and WebSocket readers.

    python -m benchmarks.api_load PORT REQUESTS_PER_SECOND READERS

Prints ``ready`` when all readers have their snapshot. At the end of its input it prints the figures as JSON.
A request is sent when it is due, whether the earlier ones of other connections were answered or not; its
latency counts from then, so a server that stalls does not hide it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections import deque
from functools import partial
from typing import cast
from urllib.parse import quote

import uvloop

CONNECTIONS = 20
_AT_ONCE = 50
_STATUS = b"HTTP/1.1 "
_LENGTH = b"\r\nContent-Length: "
_PATHS = (
    "/api/v1/fills?limit=20",
    "/api/v1/metrics/current?collector=market&instrument={instrument}",
    "/api/v1/fills?limit=20&strategy=strategy-0{digit}",
    "/api/v1/trades?limit=20",
)
_HEALTH = "/api/v1/health"
"""Only the recorder can answer it."""
_HEALTH_EVERY = 50


class Requests(asyncio.Protocol):
    """One connection that is kept: sends each request when it is due, and reads the answers in order."""

    def __init__(self, instruments: list[str], latencies: list[float]) -> None:
        """``instruments`` are quoted as in URLs."""
        self.failed = 0
        self.waiting: deque[float] = deque()
        self._instruments = instruments
        self._latencies = latencies
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Counts the requests that were not answered."""
        self.failed += len(self.waiting)
        self.waiting.clear()

    def send(self, due: float, number: int) -> None:
        """Sends a request that is due now."""
        path = _HEALTH if number % _HEALTH_EVERY == 0 else _PATHS[number % len(_PATHS)]
        path = path.format(instrument=self._instruments[number % len(self._instruments)], digit=number % 10)
        assert self._transport is not None  # noqa: S101 - connected before
        if self._transport.is_closing():
            self.failed += 1
            return
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self.waiting.append(due)

    def data_received(self, data: bytes) -> None:
        """Takes the answers that are complete."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end]
            place = head.index(_LENGTH) + len(_LENGTH)
            length = int(head[place:].split(b"\r\n", 1)[0])
            total = end + 4 + length
            if len(self._buffer) < total:
                return
            self._buffer = self._buffer[total:]
            if not head.startswith(_STATUS + b"200"):
                self.failed += 1
            self._latencies.append(self._loop.time() - self.waiting.popleft())


class Reader(asyncio.Protocol):
    """A WebSocket client with a few instruments, which counts what it gets."""

    def __init__(self, port: int, topics: list[str]) -> None:
        self.updates = 0
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        subscribe = json.dumps({"type": "subscribe", "topics": [*topics, "fills"]}).encode()
        length = len(subscribe).to_bytes(2, "big")
        self._hello = (
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ).encode() + b"".join((b"\x81\xfe", length, b"\0\0\0\0", subscribe))  # masked, with a mask of zero

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the handshake and the subscription."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._hello)

    def connection_lost(self, error: Exception | None) -> None:
        """Notes a connection that was refused."""
        if not self.began.done():
            self.began.set_exception(error or ConnectionError("a reader was refused"))

    def data_received(self, data: bytes) -> None:
        """Counts updates, and answers pings: the server disconnects readers that do not."""
        self.updates += data.count(b'"type":"update"')
        if not self.began.done() and b'"snapshot"' in data:
            self.began.set_result(None)
        if data.startswith(b"\x89\x00"):
            self._transport.write(b"\x8a\x80\0\0\0\0")


def market(port: int) -> list[dict[str, str]]:
    """The keys of all instruments: venue and instrument."""
    url = f"http://127.0.0.1:{port}/api/v1/metrics/current?collector=market"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return [item["key"] for item in json.load(answer)["items"]]


async def main(port: int, rate: float, count: int) -> None:
    loop = asyncio.get_running_loop()
    keys = await asyncio.to_thread(market, port)
    topics = [f"metrics:market:{key['venue']}:{key['instrument']}" for key in keys]
    instruments = [quote(key["instrument"], safe="") for key in keys]
    readers: list[Reader] = []
    for start in range(0, count, _AT_ONCE):
        made = await asyncio.gather(
            *(
                loop.create_connection(partial(Reader, port, topics[n::count]), "127.0.0.1", port)
                for n in range(start, min(start + _AT_ONCE, count))
            )
        )
        await asyncio.gather(*(reader.began for _, reader in made))
        readers += [reader for _, reader in made]
    latencies: list[float] = []
    connections = [
        (await loop.create_connection(lambda: Requests(instruments, latencies), "127.0.0.1", port))[1]
        for _ in range(min(CONNECTIONS, round(rate)))  # the server closes idle ones
    ]
    print("ready", flush=True)
    ended = loop.run_in_executor(None, sys.stdin.read)
    began = loop.time()
    sent = 0
    while not ended.done():
        while (due := began + sent / rate) <= loop.time():
            connections[sent % len(connections)].send(due, sent)
            sent += 1
        await asyncio.sleep(0.001)
    passed = loop.time() - began
    latencies.sort()
    failed = sum(connection.failed for connection in connections)
    print(
        json.dumps(
            {
                "requests": (len(latencies) - failed) / passed,
                "p99": latencies[int(0.99 * len(latencies))],
                "failed": failed,
                "waiting": sum(len(connection.waiting) for connection in connections),
                "updates": sum(reader.updates for reader in readers) / passed,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
