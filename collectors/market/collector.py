"""The market collector: the state of every instrument that a quote, tick or heartbeat has named.

An instrument appears with its first event, if the key budget has room for it, and is retired after
``idle_seconds`` of its trading session without one. If it comes back, all its values start over, counters
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from collectors.common.windows import RateWindow, TradeWindow
from collectors.market.cadence import Cadence
from collectors.market.feed_state import FeedState
from collectors.market.feed_verdict import LIVE, Finding, Thresholds, judge
from collectors.market.instrument import InstrumentState, VenueState
from collectors.market.link import Link
from collectors.market.sample import LATENCY_BOUNDS, MarketSample, Verdict, VerdictReason
from collectors.market.sessions import Calendars, SessionsCheckpoint
from collectors.market.volatility import RealisedVariance
from collectors.market.watch import Watch
from decahertz.accounting import AccountingSettings
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import ConnectionState, Event, Gap, Heartbeat, Instrument, Quote, Tick
from decahertz.histogram import Histogram
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
from decahertz.sample import Sample
from decahertz.settings import Seconds
from decahertz.trading_days import TradingDays

Window = Annotated[float, Meta(ge=0.1, le=3600)]


_STEP_NS = NS_PER_SECOND
"""A time of receipt this far in the future is from before a backward step of the wall clock. It is clamped:
otherwise a dead feed would look live until the clock has caught up."""
_SWEEP_NS = 10 * NS_PER_SECOND
"""Interval between searches for idle venues."""
_MOST_FEEDS = 64
"""Feeds of a venue that are told apart; beyond it the longest silent one is forgotten."""
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
    mute_cadences: Annotated[
        float,
        Meta(
            ge=1,
            le=1000,
            description="Verdict mute: connected, and silent for this many times the learned cadence.",
        ),
    ] = 3.0
    mute_floor_seconds: Annotated[
        Seconds, Meta(description="Shortest silence that can be mute, however short the learned cadence.")
    ] = 3.0
    gap_seconds: Annotated[
        Seconds, Meta(description="Verdict gap: for this long after messages were missed.")
    ] = 10.0
    volatility_seconds: Annotated[Window, Meta(description="Trailing window of volatility.")] = 300.0
    volatility_step_seconds: Annotated[
        Window, Meta(description="Interval of the returns that volatility is computed from.")
    ] = 1.0
    year_seconds: Annotated[
        Seconds,
        Meta(
            description="Length of the year that volatility is scaled to: 31536000 for markets that never"
            " close; 5896800 for 252 sessions of 6.5 h."
        ),
    ] = 31_536_000.0
    max_keys: MaxKeys = 2_000
    max_keys_per_emitter: MaxKeysPerEmitter = 1_000


class MarketCheckpoint(msgspec.Struct, frozen=True):
    """The state of the collector."""

    swept_ns: int
    venues: dict[str, VenueState]
    instruments: list[InstrumentState]
    calendars: SessionsCheckpoint
    watch: Watch


@dataclass(frozen=True, slots=True)
class JudgedInstrument:
    """An instrument with its feed verdict."""

    state: InstrumentState
    verdict: Verdict
    reason: VerdictReason
    calendar: str | None
    is_in_session: bool


class MarketCollector(BaseCollector[MarketOptions]):
    """Market state by venue and instrument."""

    sample_type: ClassVar[type[Sample]] = MarketSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Tick, Gap, Heartbeat, Instrument})
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = MarketCheckpoint
    checkpoint_version: ClassVar[int] = 2
    options_type: ClassVar[type[msgspec.Struct]] = MarketOptions

    def __init__(
        self, clock: Clock, options: MarketOptions, accounting: AccountingSettings | None = None
    ) -> None:
        super().__init__(clock, options)
        self._days = TradingDays(accounting)
        self._thresholds = Thresholds(
            mute_ns=_nanoseconds(options.mute_seconds),
            mute_floor_ns=_nanoseconds(options.mute_floor_seconds),
            mute_cadences=options.mute_cadences,
            stale_ns=_nanoseconds(options.stale_seconds),
            gap_ns=_nanoseconds(options.gap_seconds),
            quiet_ns=_nanoseconds(options.quiet_seconds),
        )
        self._live_ns = self._thresholds.live_ns
        self._is_shaken = False
        """Whether a verdict may have changed for another reason than time or a message."""
        self._idle_ns = _nanoseconds(options.idle_seconds)
        self._rate_size = round(options.rate_seconds * NS_PER_SECOND / CYCLE_NS)
        self._trade_size = round(options.window_seconds * NS_PER_SECOND / CYCLE_NS)
        self._step = round(options.volatility_step_seconds * NS_PER_SECOND / CYCLE_NS)
        self._steps = max(1, round(options.volatility_seconds / options.volatility_step_seconds))
        self._steps_per_year = options.year_seconds / options.volatility_step_seconds
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
        self._calendars = Calendars(options.max_keys)
        self._watch = Watch()
        self._venues: dict[str, VenueState] = {}
        self._swept_ns = 0
        self._instruments: dict[tuple[str, str], InstrumentState] = {}
        self._samples: dict[tuple[str, str], MarketSample] = {}
        """Those of the newest cycle."""

    def checkpoint(self) -> MarketCheckpoint:
        """Returns the state."""
        return MarketCheckpoint(
            self._swept_ns,
            self._venues,
            list(self._instruments.values()),
            self._calendars.state,
            self._watch,
        )

    def resume(self, checkpoint: MarketCheckpoint) -> None:
        """Continues from a state. Windows whose length was changed in the settings begin empty."""
        self._swept_ns, self._venues = checkpoint.swept_ns, checkpoint.venues
        self._calendars.resume(checkpoint.calendars)
        self._watch = checkpoint.watch
        for name, venue in self._venues.items():
            venue.link.stale_ns = self._thresholds.stale_ns
            self._latencies.series[name,] = venue.latencies
        self._instruments, self._samples = {}, {}
        for state in checkpoint.instruments:
            self._instruments[state.venue, state.instrument] = state
            state.live_until_ns = 0
            state.venue_state = venue = self._venues[state.venue]
            if state.feed is not None:
                state.feed = venue.feeds.get(state.feed.emitter, state.feed)
            if state.link is not None:
                state.link.stale_ns = self._thresholds.stale_ns
            if state.rate_window.size != self._rate_size:
                state.rate_window = RateWindow(self._rate_size)
            if state.trade_window.size != self._trade_size:
                state.trade_window = TradeWindow(self._trade_size)
            if (state.variance.step, state.variance.size) != (self._step, self._steps):
                state.variance = self._variance(state.variance.index, len(self._instruments) - 1)
                state.volatility = None
            state.resume_session(self._days)

    def on_event(self, event: Event, received_ns: int) -> None:
        """Updates the state by a quote, tick or heartbeat."""
        if isinstance(event, Quote):
            state = self._instrument(event.venue, event.instrument, received_ns)
            if state is not None:
                state.take_quote(event, received_ns)
                self._attribute(state, received_ns)
        elif isinstance(event, Tick):
            state = self._instrument(event.venue, event.instrument, received_ns)
            if state is not None:
                state.take_tick(event, received_ns, self._days)
                self._attribute(state, received_ns)
        elif isinstance(event, Heartbeat):
            self._take_heartbeat(event, received_ns)
        elif isinstance(event, Instrument):
            self._calendars.define(event.venue, event.instrument, event.calendar)
            self._is_shaken = True
        elif isinstance(event, Gap) and event.announced and not event.recovered:
            # All others are in ``missed`` of the message that revealed them.
            state = self._instrument(event.venue, event.instrument, received_ns)
            if state is not None:
                state.miss(event.missing, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per instrument.

        An instrument without a message since the last cycle gets a copy of its last sample, with the values
        that change by time alone.
        """
        index = now_ns // CYCLE_NS
        step = self._step
        samples = self._samples
        idle = []
        before_ns = now_ns - self._idle_ns
        latest_ns = now_ns + _STEP_NS
        self._calendars.advance()
        self._advance(now_ns, latest_ns)
        for key, state in self._instruments.items():
            received_ns = state.received_ns
            if received_ns < before_ns and (state.link is None or state.link.received_ns < before_ns):
                session_ns = self._calendars.opened_ns(state.venue, state.instrument, now_ns)
                if session_ns is not None and session_ns < before_ns:
                    idle.append(state)
                    continue
            if received_ns > latest_ns:
                state.received_ns = latest_ns
                state.is_changed = True
            variance = state.variance
            step_index = (index + variance.phase) // step
            if step_index != variance.index:
                variance.push(step_index, state.mid, state.last)
                state.volatility = variance.volatility(self._steps_per_year)
            before = None if state.is_changed else samples.get(key)
            if before is None:
                state.push(index)
                samples[key] = self._sample(state, now_ns)
            elif index < state.rate_window.due and index < state.trade_window.due:
                samples[key] = self._aged(before, state, now_ns)
            else:
                state.push(index)
                samples[key] = self._aged_windows(self._aged(before, state, now_ns), state)
        self._is_shaken = False
        if idle or now_ns - self._swept_ns >= _SWEEP_NS:
            self._swept_ns = now_ns
            self._retire(idle, before_ns)
        return list(samples.values())

    def _advance(self, now_ns: int, latest_ns: int) -> None:
        """Takes the time of a cycle for what instruments share; receipts may be ``latest_ns`` at most."""
        watch = self._watch
        if now_ns < watch.cycle_ns:  # a backward step of the wall clock
            self._is_shaken = True
            for state in self._instruments.values():
                state.shift((now_ns - watch.cycle_ns) // CYCLE_NS - 1)
        watch.advance(now_ns)
        for venue in self._venues.values():
            venue.received_ns = min(venue.received_ns, latest_ns)
            for feed in venue.feeds.values():
                feed.received_ns = min(feed.received_ns, latest_ns)
                feed.heartbeat_ns = min(feed.heartbeat_ns, latest_ns)
                feed.cadence.observe(feed.received_ns, max(feed.opened_ns, watch.resumed_ns))

    def judged(self, now_ns: int) -> list[JudgedInstrument]:
        """Returns every instrument with its verdict at ``now_ns``."""
        found = []
        for state in self._instruments.values():
            session_ns = self._calendars.opened_ns(state.venue, state.instrument, now_ns)
            verdict, reason = judge(state, now_ns, self._thresholds, self._watch, session_ns)
            calendar = self._calendars.name(state.venue, state.instrument)
            found.append(JudgedInstrument(state, verdict, reason, calendar, session_ns is not None))
        return found

    def _verdict(self, state: InstrumentState, now_ns: int, session_ns: int | None) -> Finding:
        if now_ns < state.live_until_ns and not self._is_shaken:
            state.live_until_ns = state.received_ns + self._live_ns
            return LIVE
        found = judge(state, now_ns, self._thresholds, self._watch, session_ns)
        # Sessions end by time alone.
        is_lasting = found is LIVE and self._calendars.name(state.venue, state.instrument) is None
        state.live_until_ns = state.received_ns + self._live_ns if is_lasting else 0
        return found

    def _aged(self, before: MarketSample, state: InstrumentState, now_ns: int) -> MarketSample:
        """The sample of an instrument without a message since the sample before."""
        verdict, reason = LIVE
        if now_ns >= state.live_until_ns or self._is_shaken:
            session_ns = self._calendars.opened_ns(state.venue, state.instrument, now_ns)
            verdict, reason = self._verdict(state, now_ns, session_ns)
        received_ns = state.received_ns
        return replace(
            before,
            verdict=verdict,
            verdict_reason=reason,
            volatility=state.volatility,
            age_seconds=max(now_ns - received_ns, 0) / NS_PER_SECOND if received_ns else None,
        )

    def _aged_windows(self, sample: MarketSample, state: InstrumentState) -> MarketSample:
        """A sample with the windows as they are now."""
        rates, trades, rate_size = state.rate_window, state.trade_window, self._rate_size
        return replace(
            sample,
            vwap=trades.mean_price,
            imbalance=trades.imbalance,
            volume=trades.quantity,
            tick_rate=rates.ticks * _PER_SECOND / rate_size,
            quote_rate=rates.quotes * _PER_SECOND / rate_size,
        )

    def _sample(self, state: InstrumentState, now_ns: int) -> MarketSample:
        state.is_changed = False
        spread = state.spread
        latency_ns = state.latency_ns
        received_ns = state.received_ns
        rates, trades = state.rate_window, state.trade_window
        rate_size = self._rate_size
        cadence = state.cadence
        session_ns = self._calendars.opened_ns(state.venue, state.instrument, now_ns)
        opened_ns = 0 if state.feed is None else state.feed.opened_ns
        if received_ns != cadence.received_ns:
            state.sampling_ns = now_ns - received_ns
        cadence.observe(received_ns, max(opened_ns, session_ns or 0, self._watch.resumed_ns))
        verdict, reason = self._verdict(state, now_ns, session_ns)
        return MarketSample(
            venue=state.venue,
            instrument=state.instrument,
            verdict=verdict,
            verdict_reason=reason,
            cadence_seconds=cadence.ns / NS_PER_SECOND if cadence.is_known else None,
            last=state.last,
            bid=state.bid,
            ask=state.ask,
            mid=state.mid,
            micro_price=state.micro_price,
            spread=spread,
            spread_bps=state.spread_bps,
            bid_size=state.bid_size,
            ask_size=state.ask_size,
            crossed=spread is not None and spread < 0,
            locked=spread == 0,
            vwap=trades.mean_price,
            session_vwap=state.session_vwap,
            volatility=state.volatility,
            imbalance=trades.imbalance,
            volume=trades.quantity,
            tick_rate=rates.ticks * _PER_SECOND / rate_size,
            quote_rate=rates.quotes * _PER_SECOND / rate_size,
            age_seconds=max(now_ns - received_ns, 0) / NS_PER_SECOND if received_ns else None,
            latency_seconds=None if latency_ns is None else latency_ns / NS_PER_SECOND,
            sampling_latency_seconds=None if state.sampling_ns is None else state.sampling_ns / NS_PER_SECOND,
            clock_faults=state.clock_faults,
            quotes=state.quotes,
            ticks=state.ticks,
            crossed_quotes=state.crossed_quotes,
            locked_quotes=state.locked_quotes,
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
                rate_window=RateWindow(self._rate_size),
                trade_window=TradeWindow(self._trade_size),
                variance=self._variance(index, len(self._instruments)),
                cadence=Cadence(),
            )
        return state

    def _attribute(self, state: InstrumentState, received_ns: int) -> None:
        """Counts a message of an instrument for the feed that sent it."""
        feed = state.feed
        if feed is None or feed.emitter != self.keys.emitter:
            feed = state.feed = self._feed(state.venue_state)
        feed.received_ns = received_ns

    def _feed(self, venue: VenueState) -> FeedState:
        """Returns the feed of the event that is being handled."""
        emitter = self.keys.emitter
        feed = venue.feeds.get(emitter)
        if feed is None:
            if len(venue.feeds) >= _MOST_FEEDS:
                del venue.feeds[min(venue.feeds, key=lambda name: venue.feeds[name].received_ns)]
            feed = venue.feeds[emitter] = FeedState(emitter, Cadence())
        return feed

    def _variance(self, index: int, number: int) -> RealisedVariance:
        phase = number % self._step
        return RealisedVariance(self._step, self._steps, phase, (index + phase) // self._step)

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
        self._feed(venue).update(heartbeat, received_ns)
        if heartbeat.connection is not ConnectionState.OPEN:
            self._is_shaken = True
        if state is None:
            venue.link.update(heartbeat, received_ns)
            return
        if state.link is None:
            state.link = Link(self._thresholds.stale_ns)
        state.link.update(heartbeat, received_ns)

    def _retire(self, idle: list[InstrumentState], before_ns: int) -> None:
        for state in idle:
            del self._instruments[state.venue, state.instrument]
            self._samples.pop((state.venue, state.instrument), None)
            self.keys.release((state.venue, state.instrument))
        used = {venue for venue, _ in self._instruments}
        for name in self._venues.keys() - used:
            if self._venues[name].received_ns < before_ns:
                del self._venues[name]
                self._venue_keys.release((name,))
                self._latencies.retire(name)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NS_PER_SECOND)
