"""One provider behind its cache: who asks for the same at the same time gets the answer of one call."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from decahertz.clock import NS_PER_SECOND
from decahertz.provider import MarketData, ProviderError, UnknownSymbolError, decoded, encoded
from decahertz.shared_cache import SharedResponse
from providers.errors import GatewayError, LateError
from providers.scheduler import CallPriority, Ticket
from storage.database import DatabaseUnavailableError

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.provider import Provider
    from decahertz.shared_cache import SharedCache
    from providers.settings import ProvidersSettings
    from providers.upstream import Upstream

FAILURES: Final = (ProviderError, GatewayError, DatabaseUnavailableError)
"""Why there is no new answer."""
_FORGOTTEN: Final = 0.05
"""A symbol that was asked for once is no longer popular after five looks."""


class Found(StrEnum):
    """How an answer came about; the values are those of the metric."""

    HIT = "hit"
    """Fresh, from memory."""
    SHARED = "shared"
    """From Redis."""
    STALE = "stale"
    """From the cache, while it is renewed."""
    STALE_IF_ERROR = "stale_if_error"
    """From the cache, because there is no new answer."""
    COLLAPSED = "collapsed"
    """Of a call that another request had begun."""
    MISS = "miss"
    """Of a call that this request began."""


class Entry(Struct, frozen=True):
    """An answer in the cache: data, or that the source does not have the symbol."""

    data: MarketData | None
    reason: str
    """Why there is no data."""
    received_ns: int
    """When it arrived, by the wall clock."""
    made_ns: int
    """When it arrived, by the monotonic clock."""
    is_shared: bool = False
    """Whether Redis had it."""


class Answer(Struct, frozen=True):
    """The answer to a request."""

    data: MarketData
    received_ns: int
    age_ns: int
    """Time since it arrived."""
    found: Found
    reason: str = ""
    """Why there is no newer one, if ``found`` is stale_if_error."""


class Ask(Struct, frozen=True, kw_only=True):
    """One request to a provider."""

    symbol: str
    priority: CallPriority = CallPriority.INTERACTIVE
    key: str
    """Name of the API key that a call is charged to."""
    timeout_seconds: float
    """How long the request waits."""
    takes_stale: bool = True
    """Whether a stale answer will do while it is renewed."""


class _Flight:
    """A look-up under way, for all that ask for the same symbol."""

    __slots__ = ("task", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.task: asyncio.Task[Entry]


class CachedProvider:
    """A provider, its cache of two levels and its flights.

    An entry of the cache::

        fresh ── fresh_seconds ──► stale ── stale_seconds ──► expired ── stale_if_error_seconds ──► gone

    A fresh one is served as it is. A stale one is served as well, while a flight renews it. An expired one is
    served only where the flight has failed. A flight looks into Redis, then calls the provider; all requests
    for its symbol wait for it, and it goes on when they have gone. An unknown symbol is kept too.
    """

    def __init__(
        self,
        provider: Provider,
        upstream: Upstream,
        settings: ProvidersSettings,
        clock: Clock,
        shared: SharedCache | None,
    ) -> None:
        """``shared`` is the second level; ``None``: there is none."""
        self.name = provider.name
        self.provider = provider
        self.upstream = upstream
        self._clock = clock
        self._shared = shared
        fresh_seconds = provider.options.fresh_seconds
        # What is never fresh is never old either: the recorder's own data, for instance.
        kept = 1 if fresh_seconds else 0
        self._fresh_ns = round(fresh_seconds * NS_PER_SECOND)
        self._stale_ns = self._fresh_ns + round(settings.stale_seconds * NS_PER_SECOND) * kept
        self._gone_ns = self._stale_ns + round(settings.stale_if_error_seconds * NS_PER_SECOND) * kept
        self._unknown_ns = round(settings.unknown_seconds * NS_PER_SECOND) * kept
        self._most = settings.cache_entries * kept
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self.found: Counter[str] = Counter()
        """Answers, by how they came about."""
        self.failed = 0
        """Requests without an answer."""
        self._counts_symbols = settings.warm_popular > 0
        self._asked: dict[str, float] = {}
        """Requests by symbol, each worth half as much after every look at them."""

    @property
    def entries(self) -> int:
        """Answers in memory."""
        return len(self._entries)

    @property
    def flights(self) -> int:
        """Look-ups under way."""
        return len(self._flights)

    async def get(self, ask: Ask) -> Answer:
        """The newest data of a symbol.

        Raises :class:`~decahertz.provider.ProviderError`, :class:`~providers.errors.GatewayError` and
        :class:`~storage.database.DatabaseUnavailableError`.
        """
        try:
            answer = await self._get(ask)
        except FAILURES:
            self.failed += 1
            raise
        self.found[answer.found.value] += 1
        if self._counts_symbols and ask.priority is CallPriority.INTERACTIVE:
            self._asked[ask.symbol] = self._asked.get(ask.symbol, 0.0) + 1.0
        return answer

    async def stop(self) -> None:
        """Ends the flights."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def popular(self, most: int) -> list[str]:
        """The symbols that were asked for most of late."""
        found = sorted(self._asked, key=lambda symbol: -self._asked[symbol])[:most]
        halved = {symbol: worth / 2 for symbol, worth in self._asked.items()}
        self._asked = {symbol: worth for symbol, worth in halved.items() if worth > _FORGOTTEN}
        return found

    async def _get(self, ask: Ask) -> Answer:
        if not self.provider.is_symbol(ask.symbol):
            raise UnknownSymbolError(f"{ask.symbol!r} is not a symbol of {self.name}")
        entry = self._entries.get(ask.symbol)
        if entry is not None:
            age_ns = self._clock.monotonic_ns() - entry.made_ns
            if age_ns < (self._fresh_ns if entry.data is not None else self._unknown_ns):
                self._entries.move_to_end(ask.symbol)
                return self._answer(entry, Found.HIT)
            if entry.data is not None and age_ns < self._stale_ns and ask.takes_stale:
                self._flight(ask)
                return self._answer(entry, Found.STALE)
        flight, is_new = self._flight(ask)
        try:
            entry = await self._landed(flight, ask.timeout_seconds)
        except FAILURES as error:
            return self._kept(ask.symbol, error)
        if entry.is_shared:
            age_ns = self._clock.monotonic_ns() - entry.made_ns
            if entry.data is not None and age_ns >= self._fresh_ns:
                self._flight(ask)  # Redis had a stale one
                return self._answer(entry, Found.STALE)
            return self._answer(entry, Found.SHARED)
        return self._answer(entry, Found.MISS if is_new else Found.COLLAPSED)

    def _kept(self, symbol: str, error: Exception) -> Answer:
        """An expired answer in place of an error, which it raises without one."""
        entry = self._entries.get(symbol)
        if entry is None or entry.data is None or isinstance(error, UnknownSymbolError):
            raise error
        if self._clock.monotonic_ns() - entry.made_ns >= self._gone_ns:
            raise error
        return self._answer(entry, Found.STALE_IF_ERROR, str(error))

    def _answer(self, entry: Entry, found: Found, reason: str = "") -> Answer:
        if entry.data is None:
            raise UnknownSymbolError(entry.reason)
        age_ns = max(0, self._clock.monotonic_ns() - entry.made_ns)
        return Answer(entry.data, entry.received_ns, age_ns, found, reason)

    async def _landed(self, flight: _Flight, timeout_seconds: float) -> Entry:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(flight.task)
        except TimeoutError as error:
            raise LateError(timeout_seconds) from error

    def _flight(self, ask: Ask) -> tuple[_Flight, bool]:
        """The flight of a symbol, and whether it is new."""
        flight = self._flights.get(ask.symbol)
        if flight is not None:
            if ask.priority is CallPriority.INTERACTIVE:
                self.upstream.scheduler.promote(flight.ticket)
            return flight, False
        flight = self._flights[ask.symbol] = _Flight(Ticket(ask.priority))
        flight.task = asyncio.create_task(
            self._fly(ask, flight.ticket), name=f"provider {self.name} {ask.symbol}"
        )
        flight.task.add_done_callback(lambda task: self._end(ask.symbol, task))
        return flight, True

    def _end(self, symbol: str, task: asyncio.Task[Entry]) -> None:
        del self._flights[symbol]
        if not task.cancelled():
            task.exception()  # nobody may be waiting

    async def _fly(self, ask: Ask, ticket: Ticket) -> Entry:
        symbol = ask.symbol
        entry = await self._from_shared(symbol)
        own = self._entries.get(symbol)
        if entry is not None and (own is None or entry.received_ns > own.received_ns):
            self._keep(symbol, entry)
            if self._clock.monotonic_ns() - entry.made_ns < self._stale_ns:
                return entry
        try:
            data = await self.upstream.call(symbol, ticket, ask.key)
        except UnknownSymbolError as error:
            entry = Entry(None, str(error), self._clock.time_ns(), self._clock.monotonic_ns())
            self._keep(symbol, entry)
            return entry
        entry = Entry(data, "", self._clock.time_ns(), self._clock.monotonic_ns())
        self._keep(symbol, entry)
        self._share(symbol, entry)
        return entry

    def _keep(self, symbol: str, entry: Entry) -> None:
        self._entries[symbol] = entry
        self._entries.move_to_end(symbol)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    async def _from_shared(self, symbol: str) -> Entry | None:
        if self._shared is None or not self._fresh_ns:
            return None
        _, found = await self._shared.get(self._target(symbol), ())
        if found is None:
            return None
        age_ns = self._clock.time_ns() - found.made_ns
        if not 0 <= age_ns < self._gone_ns:
            return None
        try:
            data = decoded(found.data)
        except msgspec.MsgspecError:
            return None  # of another version
        return Entry(data, "", found.made_ns, self._clock.monotonic_ns() - age_ns, is_shared=True)

    def _share(self, symbol: str, entry: Entry) -> None:
        if self._shared is not None and self._fresh_ns and entry.data is not None:
            response = SharedResponse(entry.received_ns, (), encoded(entry.data))
            self._shared.put(self._target(symbol), response, self._gone_ns / NS_PER_SECOND)

    def _target(self, symbol: str) -> str:
        return f"provider {self.name} {symbol}"
