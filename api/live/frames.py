"""WebSocket frames, built once and written to many.

A server does not mask what it sends (RFC 6455, section 5.1), so the bytes of a frame are the same for every
reader. They go straight to the transports, past the WebSocket class of the HTTP library, whose ``send`` costs
several times what the write itself costs. This module is the only one that knows of that: a frame is always
written whole, so it cannot mix with what the library writes (its answer to a close frame).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

TEXT: Final = 0x81
"""First byte of a whole text message (FIN set, no extension)."""
BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

_SHORT = 126
_MEDIUM = 1 << 16


def header(first_byte: int, length: int) -> bytes:
    """The header of an unmasked frame with ``length`` bytes of payload (RFC 6455, section 5.2)."""
    if length < _SHORT:
        return bytes((first_byte, length))
    if length < _MEDIUM:
        return bytes((first_byte, 126)) + length.to_bytes(2, "big")
    return bytes((first_byte, 127)) + length.to_bytes(8, "big")


def frame(first_byte: int, payload: bytes) -> bytes:
    """One whole message."""
    return header(first_byte, len(payload)) + payload


def join(first_byte: int, payloads: Iterable[bytes]) -> bytes:
    """Several whole messages in a row, ready for one write."""
    parts: list[bytes] = []
    for payload in payloads:
        parts.append(header(first_byte, len(payload)))
        parts.append(payload)
    return b"".join(parts)


def write(transport: asyncio.WriteTransport, data: bytes) -> int:
    """Write whole frames; returns the bytes that now wait in the transport's buffer.

    Never blocks. On a transport that is closing it does nothing and returns 0.
    """
    if transport.is_closing():
        return 0
    transport.write(data)
    return transport.get_write_buffer_size()
