"""Streamed responses, written chunk by chunk as fast as the client reads.

An error before the first chunk becomes a problem document. A later error aborts the connection, so that no
client mistakes a part for the whole. A client that disconnects, or reads nothing for a minute, ends the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import structlog
from aiohttp import web

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
FinishResponse: TypeAlias = Callable[[web.StreamResponse], None]
FINISH_RESPONSE: Final[web.RequestKey[FinishResponse]] = web.RequestKey("finish_response")
"""Key under which a request carries the function that adds the common headers to its response."""

_RESET: Final = struct.pack("ii", 1, 0)
"""Linger for no time: a closed connection is reset."""
_WRITE_TIMEOUT_SECONDS: Final = 60.0
_DISCONNECT_CHECK_SECONDS: Final = 0.2
"""Interval of checks for a disconnected client while nothing is written."""


class StreamAbortedError(ConnectionResetError):
    """A stream ended early and the cause is already logged."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A response to be streamed."""

    media_type: str
    file_name: str
    send: Callable[[Write], Awaitable[None]]
    """Writes all chunks and returns."""
    security_policy: str = ""
    """Content-Security-Policy of a page that browsers show; empty: a file to be saved."""


class _StreamedResponse:
    """A response in progress; the head is sent with the first chunk."""

    def __init__(self, request: web.Request, stream: Stream) -> None:
        self._request = request
        shown = "inline" if stream.security_policy else "attachment"
        headers = {
            "Content-Type": stream.media_type,
            "Content-Disposition": f'{shown}; filename="{stream.file_name}"',
            "Cache-Control": "no-store",
        }
        if stream.security_policy:
            headers["Content-Security-Policy"] = stream.security_policy
        self.response = web.StreamResponse(headers=headers)

    async def write(self, data: bytes) -> None:
        """Writes a chunk; returns when the client has read enough to make room."""
        await self.begin()
        async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
            await self.response.write(data)

    async def begin(self) -> None:
        """Sends the head; safe to call twice."""
        if not self.response.prepared:
            self._request[FINISH_RESPONSE](self.response)
            await self.response.prepare(self._request)

    def is_disconnected(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    def abort(self) -> None:
        """Resets the connection without completing the response.

        Over HTTP/1.0 the end of the connection is the end of the response: only a reset says that it is
        incomplete.
        """
        transport = self._request.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()


async def stream_response(request: web.Request, stream: Stream) -> web.StreamResponse:
    """Serves a stream. Raises its own error before the first chunk, :class:`StreamAbortedError` after."""
    streamed = _StreamedResponse(request, stream)
    if request.method == "HEAD":
        await streamed.begin()
        return streamed.response
    task = asyncio.ensure_future(stream.send(streamed.write))
    try:
        await _until_done(task, streamed)
        await streamed.begin()
        await streamed.response.write_eof()
    except Exception as error:
        if not streamed.response.prepared:
            raise
        if not streamed.is_disconnected():
            structlog.get_logger(part="api").warning("stream_aborted", exc_info=error)
        streamed.abort()
        raise StreamAbortedError("the stream was aborted") from error
    return streamed.response


async def _until_done(task: asyncio.Future[Any], streamed: _StreamedResponse) -> None:
    """Waits for the task, and cancels it when the client disconnects."""
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_DISCONNECT_CHECK_SECONDS)
            if streamed.is_disconnected() and not task.done():
                raise ConnectionResetError("the client has disconnected")
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
    await task
