"""The second level of the cache: responses in Redis, shared by processes that serve the same database.

Requests ask Redis within a short time limit only. After a failure they go to the database, as if there were
no second level, until Redis has answered in the background. A response carries the marks of the tables that
it was read from. The process that stores rows replaces the mark of their table; a response with an older mark
is not served. Until Redis has the new mark, that process does not read the second level for this table.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterable
from random import random
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry, Gauge

from decahertz.backoff import Backoff
from decahertz.clock import Clock
from decahertz.incident import Incident
from decahertz.settings import SettingsError
from decahertz.urls import UrlError, check_url

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CONNECT_SECONDS: Final = 1.0
_RETRY: Final = Backoff(first_seconds=1.0, most_seconds=15.0)
_MARK_SECONDS: Final = 3600
"""Lifetime of a mark; far longer than that of any response."""
_MOST_CONNECTIONS: Final = 8
_MOST_PUTS: Final = 64
"""Responses that may wait to be stored; further ones are not."""
_SCHEMES: Final = ("redis", "rediss", "unix")

Marks: TypeAlias = tuple[bytes, ...]


class SharedResponse(Struct, frozen=True, array_like=True):
    """A response as Redis keeps it."""

    made_ns: int
    """When it was read from the database, by the wall clock."""
    marks: Marks
    data: bytes


_DECODER: Final = msgspec.msgpack.Decoder(SharedResponse)


class SharedCache:
    """Responses in Redis.

    down ── answers in the background ──> up ── error, or no answer within ``timeout_seconds`` ──> down
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        timeout_seconds: float = 0.05,
    ) -> None:
        """``namespace`` tells databases apart that share a Redis. Raises :class:`SettingsError`."""
        self._redis = _client(url)
        self._timeout_seconds = timeout_seconds
        self._prefix = f"decahertz:{hashlib.blake2b(namespace.encode(), digest_size=12).hexdigest()}:"
        self._clock = clock
        self._incident = Incident("shared_cache", structlog.get_logger(part="api"))
        self._is_up = False
        self._failures = 0
        """Failures since the last answer to a request."""
        self._changed: set[str] = set()
        """Tables whose new mark is not in Redis yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._marking: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        Gauge(
            "decahertz_api_shared_cache_up",
            "1 while Redis answers as the second level of the cache, otherwise 0.",
            registry=registry,
        ).set_function(lambda: float(self._is_up))

    async def get(self, target: str, reads: tuple[str, ...]) -> tuple[Marks | None, SharedResponse | None]:
        """The marks of the tables now, and a response that has them.

        Without marks, for :meth:`put`, there is nothing to be had from Redis at the moment.
        """
        if not self._is_up:
            self._connect()
            return None, None
        if not self._changed.isdisjoint(reads):
            return None, None
        names = [*map(self._mark, reads), self._key(target)]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                *found, packed = cast("list[bytes | None]", await self._redis.mget(names))
        except Exception as error:  # noqa: BLE001 - whatever it is, the database answers
            self._failed(error)
            return None, None
        self._failures = 0
        if not self._changed.isdisjoint(reads):
            return None, None  # stored meanwhile
        marks = tuple(mark or b"" for mark in found)
        try:
            response = _DECODER.decode(packed) if packed is not None else None
        except msgspec.DecodeError:
            response = None
        return marks, response if response is not None and response.marks == marks else None

    def put(self, target: str, response: SharedResponse, seconds: float) -> None:
        """Stores a response in the background, for a number of seconds."""
        if self._is_up and len(self._tasks) < _MOST_PUTS:
            task = asyncio.create_task(self._put(target, response, seconds), name="shared-cache-put")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def changed(self, names: Iterable[str]) -> None:
        """Replaces the marks of these tables, in the background."""
        self._changed.update(names)
        if self._changed and self._marking is None:
            self._marking = asyncio.create_task(self._replace_marks(), name="shared-cache-marks")

    async def stop(self) -> None:
        """Closes the connections."""
        tasks = [*self._tasks, *(task for task in (self._marking, self._connecting) if task is not None)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._redis.aclose()

    def _mark(self, name: str) -> str:
        return f"{self._prefix}mark:{name}"

    def _key(self, target: str) -> str:
        return self._prefix + hashlib.blake2b(target.encode(), digest_size=16).hexdigest()

    async def _put(self, target: str, response: SharedResponse, seconds: float) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                packed = msgspec.msgpack.encode(response)
                await self._redis.set(self._key(target), packed, px=max(1, round(seconds * 1000)))
        except Exception as error:  # noqa: BLE001 - the response was served already
            self._failed(error)

    async def _replace_marks(self) -> None:
        try:
            while self._changed:
                if not self._is_up:
                    await self._connect()
                names = set(self._changed)
                try:
                    async with asyncio.timeout(_CONNECT_SECONDS):
                        for name in names:
                            await self._redis.set(self._mark(name), uuid.uuid4().bytes, ex=_MARK_SECONDS)
                except Exception as error:  # noqa: BLE001 - tried again
                    self._failed(error)
                else:
                    self._changed -= names
        finally:
            self._marking = None

    def _failed(self, error: Exception) -> None:
        # The text of the error only: it names the host, and no password.
        text = str(error).partition("\n")[0]
        reason = f"{type(error).__name__}: {text}" if text else "no answer in time"
        self._incident.fail(self._clock.monotonic_ns(), reason=reason)
        self._is_up = False
        self._failures += 1
        self._connect()

    def _connect(self) -> asyncio.Task[None]:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._until_up(), name="shared-cache-connect")
        return self._connecting

    async def _until_up(self) -> None:
        try:
            while not self._is_up:
                if self._failures:
                    await asyncio.sleep(_RETRY.seconds(self._failures - 1, random))
                try:
                    async with asyncio.timeout(_CONNECT_SECONDS):
                        await self._redis.set(self._prefix + "up", b"", px=1)
                except Exception as error:  # noqa: BLE001 - tried again
                    self._failed(error)
                else:
                    self._is_up = True
                    self._incident.recover()
        finally:
            self._connecting = None


def check_redis_url(url: str) -> None:
    """Raises :class:`SettingsError` for a URL or an environment that :class:`SharedCache` cannot use."""
    _client(url)


def _client(url: str) -> Redis:
    try:
        check_url(url, _SCHEMES)
    except UrlError as error:
        raise SettingsError("api.redis_url", str(error)) from error
    try:
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - an optional package
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        reason = "needs the package redis: pip install 'decahertz[redis]'"
        raise SettingsError("api.redis_url", reason) from error
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=_CONNECT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        # Not the error's own text, which may quote the password.
        raise SettingsError("api.redis_url", "is not a URL such as redis://host:6379/0") from error
    return Redis.from_pool(pool)
