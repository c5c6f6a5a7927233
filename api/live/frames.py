"""WebSocket frames, encoded once and written to many clients.

A server does not mask its frames (RFC 6455, section 5.1), so their bytes are the same for every client. They
go straight to the transports, bypassing the WebSocket class of aiohttp, whose ``send`` costs several times
the write itself. Only this module knows of the bypass: a frame is always written whole, so it cannot
interleave with what aiohttp writes (its response to a close frame).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

TEXT: Final = 0x81
"""First byte of an unfragmented text message (FIN set, no extension)."""
BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

_SHORT = 126
_MEDIUM = 1 << 16


def header(first_byte: int, length: int) -> bytes:
    """Encodes the header of an unmasked frame with ``length`` bytes of payload (RFC 6455, section 5.2)."""
    if length < _SHORT:
        return bytes((first_byte, length))
    if length < _MEDIUM:
        return bytes((first_byte, 126)) + length.to_bytes(2, "big")
    return bytes((first_byte, 127)) + length.to_bytes(8, "big")


def frame(first_byte: int, payload: bytes) -> bytes:
    """Encodes one message."""
    return header(first_byte, len(payload)) + payload


def join(first_byte: int, payloads: Iterable[bytes]) -> bytes:
    """Encodes several messages for a single write."""
    parts: list[bytes] = []
    for payload in payloads:
        parts.append(header(first_byte, len(payload)))
        parts.append(payload)
    return b"".join(parts)


def write(transport: asyncio.WriteTransport, data: bytes) -> int:
    """Writes whole frames; returns the number of bytes then in the transport's buffer.

    Never blocks. Does nothing on a closing transport and returns 0.
    """
    if transport.is_closing():
        return 0
    transport.write(data)
    return transport.get_write_buffer_size()
