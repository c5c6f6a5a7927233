"""Broken and hostile connections to ``/ws`` and ``/api/v1/events``, drawn at random."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import zlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeAlias

import msgspec

from decahertz.fakes import example_events

LIMIT_SECONDS = 20.0
_ANSWER_SECONDS = 0.3
_PATIENCE_SECONDS = 0.02
"""Between two bytes of a connection that dawdles."""
_BODY_LIMIT = 8 * 1024 * 1024
_MESSAGE_LIMIT = 64 * 1024
_BOMB: Final = gzip.compress(bytes(20_000_000), 9)
_DEFLATED_BOMB: Final = zlib.compress(bytes(20_000_000), 9, wbits=-15)
_JSON, _MSGPACK = "application/json", "application/msgpack"

Attack: TypeAlias = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One TCP connection of an attacker, and what it received."""

    def __init__(self, random: Random, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.random = random
        self.received = b""
        self._incoming, self._outgoing = streams

    async def send(self, data: bytes) -> None:
        """Sends, in one piece or in a few."""
        pieces = self.random.choice((1, 1, 1, 2, 5))
        size = max(1, len(data) // pieces)
        for start in range(0, len(data), size):
            self._outgoing.write(data[start : start + size])
            await self._outgoing.drain()

    async def dawdle(self, data: bytes, most: int = 30) -> None:
        """Sends the first bytes one by one."""
        for byte in data[: self.random.randint(1, most)]:
            await self.send(bytes((byte,)))
            await asyncio.sleep(_PATIENCE_SECONDS)

    async def read(self) -> None:
        """Reads until the server closes, or says nothing for a moment."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    data = await self._incoming.read(1 << 16)
                if not data:
                    return
                self.received += data

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it."""
        return self._incoming.at_eof()

    async def upgrade(self, *lines: str, follows: bytes = b"") -> None:
        """The opening handshake of a WebSocket, ``follows`` in the same packet."""
        head = (
            "GET /ws HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            *lines,
        )
        self._outgoing.write("\r\n".join((*head, "", "")).encode() + follows)
        self.received += await self._incoming.readuntil(b"\r\n\r\n")

    async def post(self, body: bytes, *lines: str, length: int | None = None, media: str = _JSON) -> None:
        """Posts events."""
        size = () if length == -1 else (f"Content-Length: {len(body) if length is None else length}",)
        head = ("POST /api/v1/events HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media}", *size, *lines)
        await self.send("\r\n".join((*head, "", "")).encode() + body)


def frame(
    random: Random, first: int, payload: bytes, *, mask: bool = True, length: int | None = None
) -> bytes:
    """A frame of a client; ``length``: the length that its header claims."""
    size = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 1 << 16:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = random.randbytes(4)
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + key + masked.to_bytes(len(payload), "big")


def value(random: Random, depth: int = 3) -> Any:  # noqa: ANN401 - any value of JSON
    """A random value."""
    if depth and random.random() < 0.15:
        return [value(random, depth - 1) for _ in range(random.randint(0, 4))]
    if depth and random.random() < 0.15:
        return {random.choice(_KEYS): value(random, depth - 1) for _ in range(random.randint(0, 4))}
    return random.choice(_SCALARS)


_SCALARS: Final = (
    *(None, True, False),
    *(0, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 0.0, -0.5, 1e308, 5e-324),
    *("", "*", "**", "a:b", "metrics:**", "é\0", "x" * 300, "subscribe", "\ufffd"),
)
_KEYS: Final = ("type", "topics", "id", "max_hz", "epoch", "sequence", "key", "x")
_MESSAGES: Final[tuple[dict[str, Any], ...]] = (
    {"type": "subscribe", "topics": ["metrics:**", "risk"]},
    {"type": "subscribe", "topics": ["**"], "max_hz": 3},
    {"type": "subscribe", "topics": [f"quotes:{number}" for number in range(300)]},
    {"type": "unsubscribe", "topics": ["never:subscribed"]},
    {"type": "resume", "topics": ["fills"], "epoch": 1, "sequence": 2**53},
    {"type": "resume", "topics": ["**"], "epoch": 0, "sequence": 0},
    {"type": "authenticate", "key": "dhz_no"},
    {"type": "ping", "id": "x"},
)


def changed(random: Random, message: dict[str, Any]) -> dict[str, Any]:
    """The message with a few fields changed, added or left out."""
    other = dict(message)
    for _ in range(random.randint(0, 2)):
        key = random.choice((*other, *_KEYS))
        if random.random() < 0.3:
            other.pop(key, None)
        else:
            other[key] = value(random)
    return other


def damaged(random: Random, data: bytes) -> bytes:
    """The bytes with some flipped, cut off or repeated."""
    copy = bytearray(data)
    for _ in range(random.randint(1, 5)):
        if not copy:
            break
        at = random.randrange(len(copy))
        match random.randrange(4):
            case 0:
                copy[at] ^= 1 << random.randrange(8)
            case 1:
                del copy[at:]
            case 2:
                copy[at:at] = copy[at : at + 20] * random.randint(1, 50)
            case _:
                copy[at:at] = random.randbytes(4)
    return bytes(copy)


def batch(random: Random) -> dict[str, Any]:
    """A valid batch of events."""
    events = random.sample(example_events(), 3)
    number = random.randrange(1, 2**40)
    return {
        "source": "attacker",
        "epoch": random.randint(1, 3),
        "first_sequence": number,
        "events": msgspec.to_builtins(events),
    }


# Attacks on /ws.


async def messages_nearly_right(c: Connection) -> None:
    is_binary = c.random.random() < 0.5
    await c.upgrade(f"Sec-WebSocket-Protocol: decahertz.v1.{'msgpack' if is_binary else 'json'}")
    for _ in range(c.random.randint(1, 25)):
        message = changed(c.random, c.random.choice(_MESSAGES))
        payload = msgspec.msgpack.encode(message) if is_binary else json.dumps(message).encode()
        if c.random.random() < 0.3:
            payload = damaged(c.random, payload)
        is_other_type = c.random.random() < 0.1
        await c.send(frame(c.random, 0x82 if is_binary ^ is_other_type else 0x81, payload))


async def messages_before_the_answer(c: Connection) -> None:
    follows = frame(c.random, 0x81, b'{"type":"subscribe","topics":["**"]}') + c.random.randbytes(20)
    await c.upgrade(follows=follows)


async def broken_frames(c: Connection) -> None:
    await c.upgrade()
    random, text = c.random, b'{"type":"ping"}'
    for _ in range(random.randint(1, 3)):
        await c.send(
            random.choice(
                (
                    lambda: random.randbytes(random.randint(1, 300)),
                    lambda: frame(random, 0x81, text, mask=False),
                    lambda: frame(random, 0x81 | random.choice((0x10, 0x20, 0x40)), text),
                    lambda: frame(random, 0x80 | random.choice((3, 4, 5, 6, 7, 11, 15)), text),
                    lambda: frame(random, 0x80, text),  # continues nothing
                    lambda: frame(random, 0x01, text) + frame(random, 0x81, text),
                    lambda: frame(random, 0x09, text),  # a ping in fragments
                    lambda: frame(random, 0x89, bytes(126)),  # a ping too long
                    lambda: frame(random, 0x81, b"\xff\xfe\xc0"),
                    lambda: frame(random, 0x88, b"\x03"),
                    lambda: frame(random, 0x88, random.choice((b"\x00\x00", b"\x03\xed", b"\x0f\xa0\xff"))),
                    lambda: frame(random, 0x88, b"\x03\xe8") + frame(random, 0x81, text),
                )
            )()
        )


async def frames_too_large(c: Connection) -> None:
    await c.upgrade()
    claimed = c.random.choice((_MESSAGE_LIMIT + 1, 1 << 31, (1 << 63) - 1, (1 << 64) - 1))
    await c.send(frame(c.random, 0x81, bytes(1000), length=claimed))
    for _ in range(c.random.randint(0, 80)):  # fragments without an end
        await c.send(frame(c.random, 0x00, bytes(4000)))


async def frames_compressed(c: Connection) -> None:
    """The extension that was not agreed on, and a bomb in it."""
    await c.upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    await c.send(frame(c.random, 0xC1, _DEFLATED_BOMB))


async def half_open(c: Connection) -> None:
    await c.upgrade()
    await c.send(frame(c.random, 0x81, b'{"type":"subscribe","topics":["metrics:**"]}'))
    await c.send(frame(c.random, 0x81, bytes(500))[: c.random.randint(1, 400)])
    await asyncio.sleep(c.random.random() * 2)


async def slow_message(c: Connection) -> None:
    await c.upgrade()
    await c.dawdle(frame(c.random, 0x81, b'{"type":"subscribe","topics":["metrics:**"]}'))


async def pings_without_end(c: Connection) -> None:
    await c.upgrade()
    await c.send(b"".join(frame(c.random, 0x89, bytes(100)) for _ in range(c.random.randint(1, 2000))))


async def handshakes(c: Connection) -> None:
    lines = c.random.choice(
        (
            ("Sec-WebSocket-Protocol: soap",),
            ("Origin: http://evil.example",),
            ("Sec-WebSocket-Version: 8",),
            ("Sec-WebSocket-Key: x",),
            ("Host: evil.example",),
            ("X: " + "y" * 20_000,),
            ("Authorization: Bearer \x80\x81",),
            ("Content-Length: 5",),
            ("Transfer-Encoding: chunked",),
        )
    )
    await c.upgrade(*lines)


# Attacks on /api/v1/events.


async def events_nearly_right(c: Connection) -> None:
    for _ in range(c.random.randint(1, 5)):
        body = batch(c.random)
        if c.random.random() < 0.5:
            events = body["events"]
            events[0] = changed(c.random, events[0])
            body = changed(c.random, body)
        is_json = c.random.random() < 0.5
        data = json.dumps(body).encode() if is_json else msgspec.msgpack.encode(body)
        if c.random.random() < 0.5:
            data = damaged(c.random, data)
        await c.post(data, media=_JSON if is_json else _MSGPACK)


async def bodies_of_another_kind(c: Connection) -> None:
    random = c.random
    body, media = random.choice(
        (
            (b"[" * random.randint(1, 100_000), _JSON),
            (b'{"a":' * random.randint(1, 50_000), _JSON),
            (b"\x91" * random.randint(1, 100_000), _MSGPACK),
            (b"\xdd\xff\xff\xff\xff", _MSGPACK),  # a list of four billion
            (b"\xdf\xff\xff\xff\xff\xa1a", _MSGPACK),
            (b"\xc6\xff\xff\xff\xff", _MSGPACK),
            (b"\xd4\x01\x00" * 100, _MSGPACK),  # extension types
            (b'{"source":"a","events":[NaN]}', _JSON),
            (b"1" * random.randint(1, 100_000), _JSON),
            (b'"' + b"\\ud800" * 1000 + b'"', _JSON),
            (
                random.randbytes(random.randint(0, 5000)),
                random.choice((_JSON, _MSGPACK, "text/plain", ";", "a/b")),
            ),
        )
    )
    await c.post(body, media=media)


async def lengths_that_lie(c: Connection) -> None:
    random, body = c.random, json.dumps(batch(c.random)).encode()
    match random.randrange(7):
        case 0:
            await c.post(body, length=len(body) + random.randint(1, 1000))  # never sent: half open
        case 1:
            await c.post(body, length=random.randint(0, len(body) - 1))  # the rest is no request
        case 2:
            await c.post(body, length=_BODY_LIMIT + random.choice((1, 10**6, 2**62)))
        case 3:
            await c.post(body, "Content-Length: 3")
        case 4:
            await c.post(body, "Transfer-Encoding: chunked")
        case 5:
            await c.post(b"zz\r\n" + body, "Transfer-Encoding: chunked", length=-1)
        case _:
            await c.post(b"ffffffffffffffff\r\n" + body, "Transfer-Encoding: chunked", length=-1)


async def bodies_without_end(c: Connection) -> None:
    await c.post(b"", "Transfer-Encoding: chunked", length=-1)
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    for _ in range(_BODY_LIMIT // 0x10000 + 10):
        await c.send(chunk)


async def bodies_compressed(c: Connection) -> None:
    encoding = c.random.choice(("gzip", "deflate", "br", "zstd", "gzip, gzip"))
    await c.post(_BOMB, f"Content-Encoding: {encoding}")


async def slow_request(c: Connection) -> None:
    await c.dawdle(b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{", 100)


async def requests_in_pieces(c: Connection) -> None:
    """Whole requests, cut anywhere: each has its answer."""
    path = c.random.choice(("ping", "fills?limit=1", "live/state", "nothing"))
    count = c.random.randint(1, 20)
    data = f"GET /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    cuts = sorted(c.random.randrange(len(data) * count) for _ in range(c.random.randint(0, 5)))
    sizes = (len(data) * number for number in range(count))
    data *= count
    places = sorted({*cuts, *(size for size in sizes if c.random.random() < 0.5), 0, len(data)})
    for start, end in itertools.pairwise(places):
        await c.send(data[start:end])
        await asyncio.sleep(c.random.choice((0, 0, 0.005)))
    while c.received.count(b"HTTP/1.1 ") < count and not c.is_closed:
        await c.read()
    assert c.received.count(b"HTTP/1.1 ") == count, c.received[-500:]


async def broken_requests(c: Connection) -> None:
    random = c.random
    await c.send(
        random.choice(
            (
                random.randbytes(random.randint(1, 2000)),
                b"POST /api/v1/events\r\n\r\n",
                b"POST /api/v1/events HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
                b"POST  /api/v1/events HTTP/1.1\r\n\r\n",
                b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n",
                b"POST /api/v1/events HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n",
                b"POST /api/v1/events HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
                b"POST /api/v1/" + b"e" * 100_000 + b" HTTP/1.1\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(300),  # TLS
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 200,  # none is read
                b"\r\n" * 1000,
            )
        )
    )


ATTACKS: Final[tuple[Attack, ...]] = (
    messages_nearly_right,
    messages_nearly_right,
    messages_before_the_answer,
    broken_frames,
    broken_frames,
    frames_too_large,
    frames_compressed,
    half_open,
    slow_message,
    pings_without_end,
    handshakes,
    events_nearly_right,
    events_nearly_right,
    bodies_of_another_kind,
    lengths_that_lie,
    bodies_without_end,
    bodies_compressed,
    slow_request,
    requests_in_pieces,
    requests_in_pieces,
    broken_requests,
)


async def attack(port: int, random: Random, chosen: Attack) -> bytes:
    """Makes one attack; returns what the server sent."""
    streams = await asyncio.open_connection("127.0.0.1", port)
    connection = Connection(random, streams)
    try:
        with contextlib.suppress(TimeoutError):  # the server does not read on, as it may
            async with asyncio.timeout(LIMIT_SECONDS):
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await chosen(connection)
                if random.random() < 0.8:  # the others leave without a word
                    with contextlib.suppress(ConnectionError):
                        await connection.read()
    finally:
        streams[1].transport.abort()
    return connection.received
