"""Samples every instrument that a quote, a print or a heartbeat has named.

Instruments appear when first seen and are retired after ``idle_seconds`` without a message or a heartbeat
of their own. One that comes back starts anew, counters included, as after a restart of the process.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.market.connection import Line
from collectors.market.instrument import Instrument, Venue
from collectors.market.sample import MarketSample
from collectors.market.verdict import Limits, judge
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Event, Heartbeat, Quote, Tick
from decahertz.sample import Sample
from decahertz.settings import Seconds

Window = Annotated[float, Meta(ge=0.1, le=3600)]


_STEP_NS = NS_PER_SECOND
"""A receipt later than this after the instant was stamped before the wall clock stepped back. It counts as
received then, so that a dead feed is not taken for a live one until the clock has caught up."""
_PER_SECOND = NS_PER_SECOND // CYCLE_NS
"""Instants of the grid per second."""


class MarketOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.market]``."""

    idle_seconds: Annotated[
        Seconds, Meta(description="An instrument without any message for this long is retired.")
    ] = 3600.0
    window_seconds: Annotated[Window, Meta(description="Trailing window of VWAP and volume.")] = 60.0
    rate_seconds: Annotated[Window, Meta(description="Trailing window of tick and quote rate.")] = 10.0
    quiet_seconds: Annotated[
        Seconds, Meta(description="Verdict quiet: no message of the instrument for this long.")
    ] = 5.0
    stale_seconds: Annotated[
        Seconds, Meta(description="Verdict stale: nothing at all from the venue for this long.")
    ] = 15.0
    mute_seconds: Annotated[
        Seconds, Meta(description="Verdict mute: connected for this long without a message since.")
    ] = 15.0
    gap_seconds: Annotated[
        Seconds, Meta(description="Verdict gap: how long it is held after messages were missed.")
    ] = 10.0


class MarketCollector(BaseCollector[MarketOptions]):
    """State of the market by venue and instrument."""

    sample_type: ClassVar[type[Sample]] = MarketSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Tick, Heartbeat})
    options_type: ClassVar[type[msgspec.Struct]] = MarketOptions

    def __init__(self, clock: Clock, options: MarketOptions) -> None:
        """Nothing seen yet."""
        super().__init__(clock, options)
        self._limits = Limits(
            mute_ns=_nanoseconds(options.mute_seconds),
            stale_ns=_nanoseconds(options.stale_seconds),
            gap_ns=_nanoseconds(options.gap_seconds),
            quiet_ns=_nanoseconds(options.quiet_seconds),
        )
        self._idle_ns = _nanoseconds(options.idle_seconds)
        self._rate_size = round(options.rate_seconds * NS_PER_SECOND / CYCLE_NS)
        self._trade_size = round(options.window_seconds * NS_PER_SECOND / CYCLE_NS)
        self._venues: dict[str, Venue] = {}
        self._instruments: dict[tuple[str, str], Instrument] = {}

    def on_event(self, event: Event, received_ns: int) -> None:
        """Fold a quote, a print or a heartbeat in."""
        if isinstance(event, Quote):
            self._instrument(event.venue, event.instrument, received_ns).take_quote(event, received_ns)
        elif isinstance(event, Tick):
            self._instrument(event.venue, event.instrument, received_ns).take_tick(event, received_ns)
        elif isinstance(event, Heartbeat):
            self._hear(event, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """One sample per instrument at the instant ``now_ns``."""
        index = now_ns // CYCLE_NS
        samples: list[Sample] = []
        idle = []
        before_ns = now_ns - self._idle_ns
        latest_ns = now_ns + _STEP_NS
        for venue in self._venues.values():
            venue.received_ns = min(venue.received_ns, latest_ns)
        for state in self._instruments.values():
            received_ns = state.received_ns
            if received_ns < before_ns and (state.line is None or state.line.received_ns < before_ns):
                idle.append(state)
                continue
            if received_ns > latest_ns:
                state.received_ns = latest_ns
            state.push(index)
            samples.append(self._sample(state, now_ns))
        if idle:
            self._retire(idle, before_ns)
        return samples

    def _sample(self, state: Instrument, now_ns: int) -> MarketSample:
        spread = state.spread
        latency_ns = state.latency_ns
        received_ns = state.received_ns
        trades = state.trade_window
        rate_size = self._rate_size
        return MarketSample(
            venue=state.venue,
            instrument=state.instrument,
            verdict=judge(state, now_ns, self._limits),
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

    def _instrument(self, venue: str, instrument: str, received_ns: int) -> Instrument:
        state = self._instruments.get((venue, instrument))
        if state is None:
            state = self._instruments[venue, instrument] = Instrument(
                venue,
                instrument,
                self._venue(venue),
                index=received_ns // CYCLE_NS,
                rate_size=self._rate_size,
                trade_size=self._trade_size,
            )
        return state

    def _venue(self, name: str) -> Venue:
        venue = self._venues.get(name)
        if venue is None:
            venue = self._venues[name] = Venue(self._limits.stale_ns)
        return venue

    def _hear(self, heartbeat: Heartbeat, received_ns: int) -> None:
        if heartbeat.venue is None:
            return
        venue = self._venue(heartbeat.venue)
        venue.received_ns = received_ns
        if heartbeat.instrument is None:
            venue.line.hear(heartbeat, received_ns)
            return
        state = self._instrument(heartbeat.venue, heartbeat.instrument, received_ns)
        if state.line is None:
            state.line = Line(self._limits.stale_ns)
        state.line.hear(heartbeat, received_ns)

    def _retire(self, idle: list[Instrument], before_ns: int) -> None:
        for state in idle:
            del self._instruments[state.venue, state.instrument]
        used = {venue for venue, _ in self._instruments}
        for name in self._venues.keys() - used:
            if self._venues[name].received_ns < before_ns:
                del self._venues[name]


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NS_PER_SECOND)
