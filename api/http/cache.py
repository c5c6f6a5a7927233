"""A cache of encoded responses: single flight, time to live, exact invalidation, stale-while-revalidate.

A route declares what its response is read from and for how long it is fresh (:class:`Caching`). The cache
holds the encoded body by target of the request and codec: ::

      stored ── fresh ──seconds──> stale ──stale_seconds──> expired
         └─────────────── a source has changed ─────────────────^

A fresh response is served as it is. A stale one is served as well, while one request renews it. An expired
one, or one of which a source has changed meanwhile, is never served: the next request computes it, and others
that ask for the same wait for that one. The cache does not hear of rows that other processes store; its times
bound how late those appear.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.http.revalidation import entity_tag
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.shared_cache import SharedCache, SharedResponse
from decahertz.wire import Codec

_ENTRY_BYTES: Final = 500
"""Memory of an entry in addition to its key and body."""
_LARGEST_SHARE: Final = 8
"""An entry may use one part in so many of the memory."""

Key: TypeAlias = tuple[str, Codec]
"""The target of the request, with its query, and the codec of the response."""
Produce: TypeAlias = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """How long the responses of a route may be kept, and what makes them wrong."""

    reads: tuple[str, ...]
    """Names of what the response is read from, such as tables."""
    seconds: float = 1.0
    """A response is fresh for this long, unless something that it is read from changes."""
    stale_seconds: float = 2.0
    """For this long after that it is still served while it is being renewed."""


class Found(StrEnum):
    """How a response came about; the values are those of the metric."""

    HIT = "hit"
    SHARED = "shared"
    STALE = "stale"
    COLLAPSED = "collapsed"
    MISS = "miss"
    BYPASS = "bypass"


class Cached(NamedTuple):
    """A response out of the cache, or just computed."""

    entry: Entry
    found: Found
    age_seconds: int


class Entry:
    """An encoded response."""

    __slots__ = ("compressed", "data", "generation", "is_shared", "made_ns", "tag")

    def __init__(self, data: bytes, made_ns: int, generation: int, *, is_shared: bool = False) -> None:
        self.data = data
        self.tag = entity_tag(data)
        self.is_shared = is_shared
        """Whether it came from the second level."""
        self.compressed: bytes | None = None
        """The same with gzip, from the first request for it on."""
        self.made_ns = made_ns
        """When it began to be computed, by the monotonic clock."""
        self.generation = generation


class Watch:
    """Counts the changes of what one route reads."""

    __slots__ = ("caching", "generation", "most_stale_ns", "ttl_ns")

    def __init__(self, caching: Caching) -> None:
        self.caching = caching
        self.ttl_ns = round(caching.seconds * NS_PER_SECOND)
        self.most_stale_ns = round((caching.seconds + caching.stale_seconds) * NS_PER_SECOND)
        self.generation = 0


class _Flight:
    """A computation in progress that others wait for."""

    __slots__ = ("done", "generation")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()


class ResponseCache:
    """Responses by key, bounded in bytes; the least recently used leave first."""

    def __init__(
        self,
        clock: Clock,
        registry: CollectorRegistry,
        max_bytes: int,
        shared: SharedCache | None = None,
    ) -> None:
        """With 0 bytes nothing is kept, and only requests of the same moment share a computation.

        ``shared`` is a second level that other processes use too.
        """
        self._clock = clock
        self._shared = shared
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._flights: dict[Key, _Flight] = {}
        self._watches: dict[str, list[Watch]] = {}
        self._renewals: dict[Key, asyncio.Task[None]] = {}
        self._log = structlog.get_logger(part="api")
        requests = Counter(
            "decahertz_api_cache_requests",
            "Requests to routes with a cache, by how the response came about.",
            ("found",),
            registry=registry,
        )
        self._counters = {found: requests.labels(found.value) for found in Found}
        Gauge("decahertz_api_cache_bytes", "Memory of the cached responses.", registry=registry).set_function(
            lambda: self._bytes
        )

    def watch(self, caching: Caching) -> Watch:
        """The changes that concern a route."""
        watch = Watch(caching)
        for name in caching.reads:
            self._watches.setdefault(name, []).append(watch)
        return watch

    def changed(self, names: Iterable[str]) -> None:
        """Ends the responses that were read from these tables, which have changed."""
        read = self._watches.keys() & set(names)
        for name in read:
            for watch in self._watches[name]:
                watch.generation += 1
        if self._shared is not None and read:
            self._shared.changed(read)

    def lookup(self, key: Key, watch: Watch) -> Cached | None:
        """A fresh response; ``None`` if :meth:`respond` has more to do."""
        entry = self._entries.get(key)
        if entry is None or entry.generation != watch.generation:
            return None
        age_ns = self._clock.monotonic_ns() - entry.made_ns
        if age_ns >= watch.ttl_ns:
            return None
        self._entries.move_to_end(key)
        self._counters[Found.HIT].inc()
        return Cached(entry, Found.HIT, age_ns // NS_PER_SECOND)

    async def respond(self, key: Key, watch: Watch, produce: Produce, *, bypass: bool = False) -> Cached:
        """A response that is not fresh in the cache: stale, of a computation in progress, or a new one.

        With ``bypass``, always a new one. Raises what ``produce`` raises.
        """
        if bypass:
            return self._served(await self._compute(key, watch, produce, bypass=True), Found.BYPASS)
        stale = self._stale(key, watch)
        if stale is not None:
            if key not in self._renewals and key not in self._flights:
                self._renew(key, watch, produce)
            return self._served(stale, Found.STALE)
        flight = self._flights.get(key)
        while flight is not None and flight.generation == watch.generation:
            try:
                return self._served(await asyncio.shield(flight.done), Found.COLLAPSED)
            except asyncio.CancelledError:
                if not flight.done.cancelled():
                    raise  # this request was cancelled, not the one it waits for
            flight = self._flights.get(key)
        entry = await self._lead(key, watch, produce)
        return self._served(entry, Found.SHARED if entry.is_shared else Found.MISS)

    async def stop(self) -> None:
        """Ends renewals in progress."""
        for task in self._renewals.values():
            task.cancel()
        if self._renewals:
            await asyncio.wait(self._renewals.values())
        if self._shared is not None:
            await self._shared.stop()

    def _stale(self, key: Key, watch: Watch) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None or entry.generation != watch.generation:
            return None
        return entry if self._clock.monotonic_ns() - entry.made_ns < watch.most_stale_ns else None

    def _served(self, entry: Entry, found: Found) -> Cached:
        self._counters[found].inc()
        return Cached(entry, found, (self._clock.monotonic_ns() - entry.made_ns) // NS_PER_SECOND)

    async def _lead(self, key: Key, watch: Watch, produce: Produce) -> Entry:
        """Computes the response, and gives it to all who wait for it."""
        flight = self._flights[key] = _Flight(watch.generation)
        try:
            entry = await self._compute(key, watch, produce)
        except Exception as error:
            flight.done.set_exception(error)
            flight.done.exception()  # nobody may be waiting
            raise
        except BaseException:
            flight.done.cancel()
            raise
        else:
            flight.done.set_result(entry)
            return entry
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _compute(self, key: Key, watch: Watch, produce: Produce, *, bypass: bool = False) -> Entry:
        generation = watch.generation
        if self._shared is None:
            made_ns = self._clock.monotonic_ns()
            entry = Entry(await produce(), made_ns, generation)
        else:
            entry = await self._shared_or_computed(self._shared, key, watch, produce, bypass=bypass)
        if generation == watch.generation:
            self._keep(key, entry)
        return entry

    async def _shared_or_computed(
        self, shared: SharedCache, key: Key, watch: Watch, produce: Produce, *, bypass: bool
    ) -> Entry:
        """The response of the second level if it is fresh, or a new one, which the second level then gets."""
        generation, target = watch.generation, f"{key[1]} {key[0]}"
        marks, found = await shared.get(target, watch.caching.reads)
        made_ns, wall_ns = self._clock.monotonic_ns(), self._clock.time_ns()
        if found is not None and not bypass and 0 <= wall_ns - found.made_ns < watch.ttl_ns:
            return Entry(found.data, made_ns - (wall_ns - found.made_ns), generation, is_shared=True)
        entry = Entry(await produce(), made_ns, generation)
        if marks is not None:
            shared.put(target, SharedResponse(wall_ns, marks, entry.data), watch.caching.seconds)
        return entry

    def _renew(self, key: Key, watch: Watch, produce: Produce) -> None:
        async def renew() -> None:
            try:
                await self._lead(key, watch, produce)
            except Exception as error:  # noqa: BLE001 - the next request reports it to its client
                self._log.debug("cache_renewal_failed", error=str(error))

        task = asyncio.create_task(renew(), name="cache-renewal")
        self._renewals[key] = task
        task.add_done_callback(lambda _: self._renewals.pop(key, None))

    def compressed(self, key: Key, entry: Entry, data: bytes) -> None:
        """Keeps the compressed body of an entry with it."""
        entry.compressed = data
        if self._entries.get(key) is entry:
            self._bytes += len(data)
            self._evict()

    def _keep(self, key: Key, entry: Entry) -> None:
        self._drop(key)
        size = _size(key, entry)
        if size <= self._max_bytes // _LARGEST_SHARE:
            self._entries[key] = entry
            self._bytes += size
            self._evict()

    def _evict(self) -> None:
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry)


def _size(key: Key, entry: Entry) -> int:
    return len(key[0]) + len(entry.data) + len(entry.compressed or b"") + _ENTRY_BYTES
