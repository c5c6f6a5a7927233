"""Readers of the fan-out benchmark, in a process of their own: measure how long a message takes to them.

    python -m benchmarks.fan_out_readers PORT READERS CRAWLING MODE

MODE is ``ws`` or ``raw``. Prints ``ready`` when all are connected. At the end of its input it prints, as
JSON, the latencies in nanoseconds and the processor time that reading took, in seconds. A crawling
reader reads 256 bytes ten times a second, a fraction of what is sent to it.

They share two cores with the server, so they are one loop around ``epoll`` and ``recv``: with a protocol
object of asyncio for each reader, the readers would take longer than the server, and p99 would be theirs.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time

_CRAWL_BYTES = 256
_CRAWL_SECONDS = 0.1
_RECEIVE_BYTES = 4096
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


def connect(port: int, hello: bytes) -> socket.socket:
    """A reader that has its snapshot."""
    connection = socket.create_connection(("127.0.0.1", port))
    if hello:
        connection.sendall(hello)
        received = b""
        while b'"snapshot"' not in received:
            received += connection.recv(_RECEIVE_BYTES)
    connection.setblocking(False)
    return connection


def connect_crawling(port: int, hello: bytes) -> socket.socket:
    """A reader with a small buffer that has read nothing yet."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(hello)
    connection.setblocking(False)
    return connection


def read(readers: list[socket.socket], crawling: list[socket.socket]) -> list[int]:
    """Reads until the end of the input; returns the latency of each update."""
    latencies: list[int] = []
    poll = select.epoll()
    by_number = {reader.fileno(): reader.recv for reader in readers}
    for number in (sys.stdin.fileno(), *by_number):
        poll.register(number, select.EPOLLIN)
    next_crawl = time.monotonic() + _CRAWL_SECONDS
    while True:
        wait = max(0.0, next_crawl - time.monotonic()) if crawling else -1
        for number, _ in poll.poll(wait):
            receive = by_number.get(number)
            if receive is None:
                return latencies
            data = receive(_RECEIVE_BYTES)
            now_ns = time.time_ns()
            place = data.find(_MARK)
            while place >= 0:
                place = data.find(_TIME, place) + len(_TIME)
                latencies.append(now_ns - int(data[place : place + _DIGITS]))
                place = data.find(_MARK, place)
            if not data:
                poll.unregister(number)
        if crawling and time.monotonic() >= next_crawl:
            next_crawl += _CRAWL_SECONDS
            for connection in crawling:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    connection.recv(_CRAWL_BYTES)


def main(port: int, readers: int, crawling: int, *, is_raw: bool) -> None:
    hello = b"" if is_raw else opening(port)
    slow = [connect_crawling(port, hello) for _ in range(crawling)]
    open_ = [connect(port, hello) for _ in range(readers)]
    print("ready", flush=True)
    used = time.process_time()
    latencies = read(open_, slow)
    used = time.process_time() - used
    print(json.dumps({"latencies": latencies, "processor_seconds": used}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), is_raw=sys.argv[4] == "raw")
