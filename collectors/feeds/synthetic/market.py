"""The synthetic market: seeded random quotes and ticks of many instruments.

The events depend only on seed, options and elapsed time: the same events come in the same order, however
the time is divided into steps. Each instrument has its own random generator, so its prices do not depend on
the number of instruments. The perpetual swap has the price of its underlying instead.

Mid prices follow a geometric random walk; waiting times are exponential; sizes are log-normal. In a burst
rates are multiplied, in a pause they are zero. A waiting time that crosses the edge of a burst or pause is
drawn again from that edge, which is exact because the exponential distribution is memoryless.
"""

from __future__ import annotations

import math
from heapq import heapify, heapreplace
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from collectors.feeds.synthetic.names import Listing
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent, Quote, Side, Tick

_SECONDS_PER_YEAR = 365.25 * 86_400
_MOST_SKIPPED = 5
_MEDIAN_LATENCY_SECONDS = 0.004
_SIZE_FIGURES = 4
"""Significant figures of sizes."""
_WIDEST_TICKS = 4
_Rate = Annotated[float, Meta(ge=0, le=10_000)]
_Length = Annotated[float, Meta(ge=0, le=86_400)]
_Period = Annotated[int, Meta(ge=0, le=86_400)]


class Rates(Struct, frozen=True, kw_only=True):
    """Event rates per instrument, with their bursts and pauses. Pauses take precedence over bursts."""

    quotes_per_second: Annotated[_Rate, Meta(description="Quotes a second per instrument.")] = 4.0
    ticks_per_second: Annotated[_Rate, Meta(description="Ticks a second per instrument.")] = 1.0
    burst_interval_seconds: Annotated[
        _Period, Meta(description="Whole seconds between the starts of bursts; 0: none.")
    ] = 0
    burst_seconds: Annotated[_Length, Meta(description="Length of a burst.")] = 1.0
    burst_factor: Annotated[
        float,
        Meta(ge=1, le=1000, description="Factor by which a burst multiplies the rates."),
    ] = 10.0
    pause_interval_seconds: Annotated[
        _Period, Meta(description="Whole seconds between the starts of pauses; 0: none.")
    ] = 0
    pause_seconds: Annotated[_Length, Meta(description="Length of a pause.")] = 5.0
    gap_probability: Annotated[
        float,
        Meta(ge=0, le=1, description="Probability that sequence numbers are skipped before an event."),
    ] = 0.0

    def factor(self, at: float) -> float:
        """Returns the factor of the rates at a time in seconds since the start; 0 in a pause."""
        if self.is_pause(at):
            return 0.0
        return self.burst_factor if _is_within(at, self.burst_interval_seconds, self.burst_seconds) else 1.0

    def is_pause(self, at: float) -> bool:
        """Whether a time lies in a pause."""
        return _is_within(at, self.pause_interval_seconds, self.pause_seconds)

    def next_edge(self, at: float) -> float:
        """Returns the first time after ``at`` when the factor may change; infinity if it never does."""
        if self.is_pause(at) and self.pause_seconds >= self.pause_interval_seconds:
            return math.inf  # a pause without end
        return min(
            _next_edge(at, self.burst_interval_seconds, self.burst_seconds),
            _next_edge(at, self.pause_interval_seconds, self.pause_seconds),
        )


class SyntheticMarket:
    """All instruments, in the order of their next events."""

    def __init__(self, listings: list[Listing], rates: Rates, seed: int) -> None:
        walks: list[_Walk] = []
        by_name: dict[str, _Walk] = {}
        for listing in listings:
            walk = _Walk(listing, rates, seed, by_name.get(listing.follows or ""))
            walks.append(walk)
            by_name[listing.instrument] = walk
        # The position breaks ties: walks cannot be compared.
        self._queue = [(walk.next_arrival(), position, walk) for position, walk in enumerate(walks)]
        self._queue = [entry for entry in self._queue if entry[0] < math.inf]
        heapify(self._queue)

    def until(self, elapsed: float, start_ns: int) -> list[AnyEvent]:
        """Returns the events that arrived since the last call, up to ``elapsed`` seconds after the start.

        ``start_ns`` is the wall time of the start, to which event times are relative.
        """
        queue = self._queue
        events: list[AnyEvent] = []
        while queue and queue[0][0] <= elapsed:
            _, position, walk = queue[0]
            events.append(walk.happen(start_ns))
            heapreplace(queue, (walk.next_arrival(), position, walk))
        return events


class _Walk:
    """The random walk of one instrument."""

    def __init__(self, listing: Listing, rates: Rates, seed: int, underlying: _Walk | None = None) -> None:
        self._listing = listing
        self._underlying = underlying
        self._rates = rates
        self._random = Random(f"{seed}:{listing.venue}:{listing.instrument}")  # noqa: S311 - prices, no secret
        self._total_rate = rates.quotes_per_second + rates.ticks_per_second
        self._tick_share = rates.ticks_per_second / self._total_rate if self._total_rate else 0.0
        self._volatility = listing.volatility / math.sqrt(_SECONDS_PER_YEAR)
        self._latency = _MEDIAN_LATENCY_SECONDS * self._random.lognormvariate(0.0, 0.5)
        self._log_mid = math.log(listing.price)
        self._spread_ticks = 1
        self._sequence = self._random.randrange(1, 10**9)
        self._trade_id = self._random.randrange(1, 10**7)
        self._moved_at = 0.0
        self._at = self._next_time(0.0)

    def next_arrival(self) -> float:
        """Returns the arrival time of the next event: its own time plus the instrument's latency."""
        return self._at + self._latency

    def happen(self, start_ns: int) -> AnyEvent:
        """Returns the next event and draws the one after it."""
        random = self._random
        time_ns = start_ns + int(self._at * NS_PER_SECOND)
        self._move()
        missed = 0
        if self._rates.gap_probability and random.random() < self._rates.gap_probability:
            missed = random.randint(1, _MOST_SKIPPED)
        self._sequence += 1 + missed
        event: AnyEvent
        if random.random() < self._tick_share:
            event = self._tick(time_ns, missed)
        else:
            event = self._quote(time_ns, missed)
        self._at = self._next_time(self._at)
        return event

    def _move(self) -> None:
        if self._underlying is not None:
            self._log_mid = self._underlying._log_mid  # noqa: SLF001 - of its own class
            return
        elapsed = self._at - self._moved_at
        self._log_mid += self._random.gauss(0.0, self._volatility * math.sqrt(elapsed))
        self._moved_at = self._at

    def _quote(self, time_ns: int, missed: int) -> Quote:
        self._spread_ticks = min(1 + int(self._random.expovariate(1.5)), _WIDEST_TICKS)
        bid, ask = self._prices()
        return Quote(
            time_ns=time_ns,
            venue=self._listing.venue,
            instrument=self._listing.instrument,
            sequence=self._sequence,
            missed=missed,
            bid=bid,
            ask=ask,
            bid_size=self._size(1.0),
            ask_size=self._size(1.0),
        )

    def _tick(self, time_ns: int, missed: int) -> Tick:
        bid, ask = self._prices()
        is_buy = self._random.random() < 0.5  # noqa: PLR2004 - a fair coin
        self._trade_id += 1
        return Tick(
            time_ns=time_ns,
            venue=self._listing.venue,
            instrument=self._listing.instrument,
            sequence=self._sequence,
            missed=missed,
            price=ask if is_buy else bid,
            size=self._size(0.2),
            side=Side.BUY if is_buy else Side.SELL,
            trade_id=str(self._trade_id),
        )

    def _prices(self) -> tuple[float, float]:
        decimals = self._listing.decimals
        scale = float(self._listing.steps)
        # At least one price increment, however far the walk has fallen.
        bid_ticks = max(1, math.floor(math.exp(self._log_mid) * scale - self._spread_ticks / 2))
        return round(bid_ticks / scale, decimals), round((bid_ticks + self._spread_ticks) / scale, decimals)

    def _size(self, share: float) -> float:
        size = self._listing.size * share * self._random.lognormvariate(0.0, 1.0)
        lot_size = self._listing.lot_size
        if lot_size is not None:
            return max(1, round(size / lot_size)) * lot_size
        return float(f"{size:.{_SIZE_FIGURES}g}")

    def _next_time(self, at: float) -> float:
        if not self._total_rate:
            return math.inf
        while True:
            edge = self._rates.next_edge(at)
            rate = self._total_rate * self._rates.factor(at)
            at_next = at + self._random.expovariate(rate) if rate else math.inf
            if at_next < edge or edge == math.inf:
                return at_next
            at = edge


def _is_within(at: float, every: float, length: float) -> bool:
    # The same sum as in _next_edge: with another rounding an edge could lie on both of its sides.
    return every > 0 and at >= every and at < math.floor(at / every) * every + length


def _next_edge(at: float, every: float, length: float) -> float:
    if not (every > 0 and length > 0):
        return math.inf
    if at < every:
        return every
    if length >= every:
        return math.inf
    begin = math.floor(at / every) * every
    return begin + length if at < begin + length else begin + every
