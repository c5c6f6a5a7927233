"""Answers that are streamed: written piece by piece, as fast as the client takes them.

What fails before the first piece is answered with a problem document. What fails later cuts the connection,
so that nobody takes a part for the whole. A client that goes away, or takes nothing for a minute, ends the
work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import structlog
from aiohttp import web

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
Finish: TypeAlias = Callable[[web.StreamResponse], None]
FINISH: Final[web.RequestKey[Finish]] = web.RequestKey("finish")
"""Where a request carries what gives its answer the headers that all answers have."""

_STALLED_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
"""How often to look whether the client is still there while nothing is written to it."""


class StreamCutError(ConnectionResetError):
    """A stream ended before its end, and what there is to say of it has been said."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer to be streamed."""

    media_type: str
    file_name: str
    send: Callable[[Write], Awaitable[None]]
    """Hands over all pieces and returns."""


class _Response:
    """The answer under way: its head goes out with the first piece."""

    def __init__(self, request: web.Request, stream: Stream) -> None:
        self._request = request
        self.response = web.StreamResponse(
            headers={
                "Content-Type": stream.media_type,
                "Content-Disposition": f'attachment; filename="{stream.file_name}"',
                "Cache-Control": "no-store",
            }
        )

    async def write(self, data: bytes) -> None:
        """Returns when the client has taken enough of it."""
        await self.begin()
        async with asyncio.timeout(_STALLED_SECONDS):
            await self.response.write(data)

    async def begin(self) -> None:
        """Send the head, once."""
        if not self.response.prepared:
            self._request[FINISH](self.response)
            await self.response.prepare(self._request)

    def is_gone(self) -> bool:
        """Whether the client has gone away."""
        transport = self._request.transport
        return transport is None or transport.is_closing()

    def cut(self) -> None:
        """End the connection without ending the answer."""
        if self._request.transport is not None:
            self._request.transport.abort()


async def streamed(request: web.Request, stream: Stream) -> web.StreamResponse:
    """Serve a stream. Raises what its work raised before the first piece, :class:`StreamCutError` later."""
    answer = _Response(request, stream)
    if request.method == "HEAD":
        await answer.begin()
        return answer.response
    work = asyncio.ensure_future(stream.send(answer.write))
    try:
        await _watched(work, answer)
        await answer.begin()
        await answer.response.write_eof()
    except Exception as error:
        if not answer.response.prepared:
            raise
        if not answer.is_gone():
            structlog.get_logger(part="api").warning("stream_cut", exc_info=error)
        answer.cut()
        raise StreamCutError("the stream was cut") from error
    return answer.response


async def _watched(work: asyncio.Future[Any], answer: _Response) -> None:
    try:
        while not work.done():
            await asyncio.wait((work,), timeout=_LOOK_SECONDS)
            if answer.is_gone() and not work.done():
                raise ConnectionResetError("the client has gone away")
    finally:
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work
    await work
