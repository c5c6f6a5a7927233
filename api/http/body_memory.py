"""Reads request bodies, within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from api.http.problems import ProblemError, content_too_large

BODY_SECONDS: Final = 30.0
"""Time limit of a body."""
FREE_BYTES: Final = 64 * 1024
"""A smaller body always has room: a connection buffers that much anyway."""


class BodyMemory:
    """Counts the bytes of the larger bodies that are read or handled now, those of all connections."""

    def __init__(self, limit: int, registry: CollectorRegistry | None = None) -> None:
        """``limit`` is ``api.max_inflight_bytes``. A single body always has room."""
        self.limit = limit
        self.bytes = 0
        if registry is not None:
            Gauge(
                "decahertz_api_body_bytes",
                "Bytes of the request bodies above 64 KiB that are read or handled now.",
                registry=registry,
            ).set_function(lambda: self.bytes)

    def hold(self) -> HeldBody:
        """Returns the room of one request, to be used as a context manager."""
        return HeldBody(self)


class HeldBody:
    """The room that the body of one request takes until the request is handled."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.bytes -= self._held
        self._held = 0

    async def read(self, request: web.Request, max_bytes: int) -> bytes:
        """Reads the body of a request. Raises :class:`ProblemError` for one that is too large, too slow, or
        that finds no room.
        """
        length = request.content_length
        if (length or 0) > max_bytes:
            raise content_too_large(max_bytes)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                if length is not None and length <= FREE_BYTES:
                    return await request.read()
                return await self._read_large(request, max_bytes)
        except TimeoutError as error:
            detail = f"the body did not arrive within {BODY_SECONDS:g} s"
            raise ProblemError("request-timeout", detail) from error

    async def _read_large(self, request: web.Request, max_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := await request.content.readany():
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                raise content_too_large(max_bytes)
            if size > FREE_BYTES:
                self._grow(size)
        return b"".join(parts)

    def _grow(self, size: int) -> None:
        memory = self._memory
        others = memory.bytes - self._held
        if others and others + size > memory.limit:
            raise ProblemError(
                "overloaded",
                f"bodies of other requests take {others} of api.max_inflight_bytes, {memory.limit} bytes",
            )
        memory.bytes, self._held = others + size, size
