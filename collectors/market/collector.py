"""The market collector: the state of every instrument that a quote, tick or heartbeat has named.

An instrument appears with its first event, if the key budget has room for it, and is retired after
``idle_seconds`` without one. If it comes back, all its values start over, counters included.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.windows import CountWindow, TradeWindow
from collectors.market.feed_verdict import Thresholds, judge
from collectors.market.instrument import InstrumentState, VenueState
from collectors.market.link import Link
from collectors.market.sample import LATENCY_BOUNDS, MarketSample
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import ConnectionState, Event, Heartbeat, Quote, Tick
from decahertz.histogram import Histogram
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
from decahertz.sample import Sample
from decahertz.settings import Seconds

Window = Annotated[float, Meta(ge=0.1, le=3600)]


_STEP_NS = NS_PER_SECOND
"""A time of receipt this far in the future is from before a backward step of the wall clock. It is clamped:
otherwise a dead feed would look live until the clock has caught up."""
_SWEEP_NS = 10 * NS_PER_SECOND
"""Interval between searches for idle venues."""
_PER_SECOND = NS_PER_SECOND // CYCLE_NS
"""Cycles per second."""


class MarketOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.market]``."""

    idle_seconds: Annotated[
        Seconds, Meta(description="Retire an instrument after this long without a message or heartbeat.")
    ] = 3600.0
    window_seconds: Annotated[Window, Meta(description="Trailing window of vwap and volume.")] = 60.0
    rate_seconds: Annotated[Window, Meta(description="Trailing window of tick_rate and quote_rate.")] = 10.0
    quiet_seconds: Annotated[
        Seconds, Meta(description="Verdict quiet: no message of the instrument for this long.")
    ] = 5.0
    stale_seconds: Annotated[
        Seconds, Meta(description="Verdict stale: no message or heartbeat from the venue for this long.")
    ] = 15.0
    mute_seconds: Annotated[
        Seconds, Meta(description="Verdict mute: connected for this long without a message.")
    ] = 15.0
    gap_seconds: Annotated[
        Seconds, Meta(description="Verdict gap: for this long after messages were missed.")
    ] = 10.0
    max_keys: MaxKeys = 2_000
    max_keys_per_emitter: MaxKeysPerEmitter = 1_000


class MarketCheckpoint(msgspec.Struct, frozen=True):
    """The state of the collector."""

    swept_ns: int
    venues: dict[str, VenueState]
    instruments: list[InstrumentState]


class MarketCollector(BaseCollector[MarketOptions]):
    """Market state by venue and instrument."""

    sample_type: ClassVar[type[Sample]] = MarketSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Tick, Heartbeat})
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = MarketCheckpoint
    options_type: ClassVar[type[msgspec.Struct]] = MarketOptions

    def __init__(self, clock: Clock, options: MarketOptions) -> None:
        super().__init__(clock, options)
        self._thresholds = Thresholds(
            mute_ns=_nanoseconds(options.mute_seconds),
            stale_ns=_nanoseconds(options.stale_seconds),
            gap_ns=_nanoseconds(options.gap_seconds),
            quiet_ns=_nanoseconds(options.quiet_seconds),
        )
        self._idle_ns = _nanoseconds(options.idle_seconds)
        self._rate_size = round(options.rate_seconds * NS_PER_SECOND / CYCLE_NS)
        self._trade_size = round(options.window_seconds * NS_PER_SECOND / CYCLE_NS)
        self._latencies = Histogram(
            "receipt_latency",
            "Receipt minus venue time of quotes and ticks, without late and negative ones.",
            clock=clock,
            key=("venue",),
            bounds=LATENCY_BOUNDS,
        )
        self.histograms = (self._latencies,)
        self._venue_keys = self.key_budget("max_keys", options.max_keys, options.max_keys_per_emitter)
        """For venues of which only heartbeats are known."""
        self.budgets = (self.keys, self._venue_keys)
        self._venues: dict[str, VenueState] = {}
        self._swept_ns = 0
        self._instruments: dict[tuple[str, str], InstrumentState] = {}

    def checkpoint(self) -> MarketCheckpoint:
        """Returns the state."""
        return MarketCheckpoint(self._swept_ns, self._venues, list(self._instruments.values()))

    def resume(self, checkpoint: MarketCheckpoint) -> None:
        """Continues from a state. Windows whose length was changed in the settings begin empty."""
        self._swept_ns, self._venues = checkpoint.swept_ns, checkpoint.venues
        for name, venue in self._venues.items():
            venue.link.stale_ns = self._thresholds.stale_ns
            self._latencies.series[name,] = venue.latencies
        self._instruments = {}
        for state in checkpoint.instruments:
            self._instruments[state.venue, state.instrument] = state
            state.venue_state = self._venues[state.venue]
            if state.link is not None:
                state.link.stale_ns = self._thresholds.stale_ns
            if state.quote_window.size != self._rate_size:
                index = state.quote_window.index
                state.quote_window = CountWindow(self._rate_size, index)
                state.tick_window = CountWindow(self._rate_size, index)
            if state.trade_window.size != self._trade_size:
                state.trade_window = TradeWindow(self._trade_size, state.trade_window.index)

    def on_event(self, event: Event, received_ns: int) -> None:
        """Updates the state by a quote, tick or heartbeat."""
        if isinstance(event, Quote):
            state = self._instrument(event.venue, event.instrument, received_ns)
            if state is not None:
                state.take_quote(event, received_ns)
        elif isinstance(event, Tick):
            state = self._instrument(event.venue, event.instrument, received_ns)
            if state is not None:
                state.take_tick(event, received_ns)
        elif isinstance(event, Heartbeat):
            self._take_heartbeat(event, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per instrument."""
        index = now_ns // CYCLE_NS
        samples: list[Sample] = []
        idle = []
        before_ns = now_ns - self._idle_ns
        latest_ns = now_ns + _STEP_NS
        for venue in self._venues.values():
            venue.received_ns = min(venue.received_ns, latest_ns)
        for state in self._instruments.values():
            received_ns = state.received_ns
            if received_ns < before_ns and (state.link is None or state.link.received_ns < before_ns):
                idle.append(state)
                continue
            if received_ns > latest_ns:
                state.received_ns = latest_ns
            state.push(index)
            samples.append(self._sample(state, now_ns))
        if idle or now_ns - self._swept_ns >= _SWEEP_NS:
            self._swept_ns = now_ns
            self._retire(idle, before_ns)
        return samples

    def _sample(self, state: InstrumentState, now_ns: int) -> MarketSample:
        spread = state.spread
        latency_ns = state.latency_ns
        received_ns = state.received_ns
        trades = state.trade_window
        rate_size = self._rate_size
        return MarketSample(
            venue=state.venue,
            instrument=state.instrument,
            verdict=judge(state, now_ns, self._thresholds),
            last=state.last,
            bid=state.bid,
            ask=state.ask,
            mid=state.mid,
            spread=spread,
            spread_bps=state.spread_bps,
            bid_size=state.bid_size,
            ask_size=state.ask_size,
            crossed=spread is not None and spread < 0,
            locked=spread == 0,
            vwap=trades.mean_price,
            volume=trades.quantity,
            tick_rate=state.tick_window.total * _PER_SECOND / rate_size,
            quote_rate=state.quote_window.total * _PER_SECOND / rate_size,
            age_seconds=max(now_ns - received_ns, 0) / NS_PER_SECOND if received_ns else None,
            latency_seconds=None if latency_ns is None else latency_ns / NS_PER_SECOND,
            quotes=state.quotes,
            ticks=state.ticks,
            traded=state.traded,
            gaps=state.gaps,
            late=state.late,
        )

    def _instrument(self, venue: str, instrument: str, received_ns: int) -> InstrumentState | None:
        """Returns the state of an instrument; ``None`` if there is no room for it."""
        state = self._instruments.get((venue, instrument))
        if state is None and self.keys.admit((venue, instrument), received_ns):
            index = received_ns // CYCLE_NS
            state = self._instruments[venue, instrument] = InstrumentState(
                venue,
                instrument,
                self._venue(venue),
                quote_window=CountWindow(self._rate_size, index),
                tick_window=CountWindow(self._rate_size, index),
                trade_window=TradeWindow(self._trade_size, index),
            )
        return state

    def _venue(self, name: str) -> VenueState:
        venue = self._venues.get(name)
        if venue is None:
            venue = self._venues[name] = VenueState(Link(self._thresholds.stale_ns), self._latencies.of(name))
        return venue

    def _take_heartbeat(self, heartbeat: Heartbeat, received_ns: int) -> None:
        if heartbeat.venue is None:
            return
        state = None
        if heartbeat.instrument is not None:
            state = self._instrument(heartbeat.venue, heartbeat.instrument, received_ns)
            if state is None:
                return
        elif heartbeat.venue not in self._venues and not self._venue_keys.admit(
            (heartbeat.venue,), received_ns
        ):
            return
        venue = self._venue(heartbeat.venue)
        if heartbeat.connection is not ConnectionState.DISCONNECTED or not venue.received_ns:
            venue.received_ns = received_ns
        if state is None:
            venue.link.update(heartbeat, received_ns)
            return
        if state.link is None:
            state.link = Link(self._thresholds.stale_ns)
        state.link.update(heartbeat, received_ns)

    def _retire(self, idle: list[InstrumentState], before_ns: int) -> None:
        for state in idle:
            del self._instruments[state.venue, state.instrument]
            self.keys.release((state.venue, state.instrument))
        used = {venue for venue, _ in self._instruments}
        for name in self._venues.keys() - used:
            if self._venues[name].received_ns < before_ns:
                del self._venues[name]
                self._venue_keys.release((name,))
                self._latencies.retire(name)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NS_PER_SECOND)
