"""Refuses frames of WebSocket clients that are not masked, as RFC 6455 demands; aiohttp takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp._websocket.reader import WebSocketReader

_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_MORE_LENGTH: Final = {126: 2, 127: 8}
_KEY_BYTES: Final = 4
_REFUSED: Final = b"\xb0\x80"
"""The beginning of a frame that is a protocol error: aiohttp closes with 1002."""


class MaskedFrames:
    """Stands before aiohttp's reader and puts a protocol error in the place of a frame without a mask."""

    def __init__(self, reader: WebSocketReader) -> None:
        self._reader = reader
        self._rest = 0
        """Bytes until the next frame."""
        self._head = b""
        """Begins a frame, and is too short to tell its length."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Passes bytes on; returns what the reader returns."""
        data = self._head + data
        self._head = b""
        at = self._rest
        while at < len(data):
            head_length = 2 + (_MORE_LENGTH.get(data[at + 1] & _LENGTH, 0) if at + 1 < len(data) else 0)
            if len(data) - at < head_length:
                self._head, data = data[at:], data[:at]
            elif not data[at + 1] & _MASKED:
                data = data[:at] + _REFUSED
            else:
                length = data[at + 1] & _LENGTH
                if head_length > 2:  # noqa: PLR2004 - the two bytes that every head has
                    length = int.from_bytes(data[at + 2 : at + head_length])
                at += head_length + _KEY_BYTES + length
        self._rest = at - len(data)
        return self._reader.feed_data(data)

    def feed_eof(self) -> None:
        """Passes the end on."""
        self._reader.feed_eof()
