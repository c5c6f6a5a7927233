"""The execution collector: orders, latencies and costs of every strategy at every venue.

A strategy appears at a venue with its first order or fill there, if the key budget has room for it, and is
retired after ``idle_seconds`` without one, unless an order is open. If it comes back, all its values start
over, counters included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.mark_prices import MarkPrices, MarkPricesState, MaxInstruments
from collectors.execution.markouts import NAMES, MarkoutQueue
from collectors.execution.order import End, Leg
from collectors.execution.sample import LATENCY_BOUNDS, ExecutionSample
from collectors.execution.signals import Signals
from collectors.execution.state import ExecutionState, Limits
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import FINAL_ORDER_STATES, Event, Fill, Instrument, Order, OrderState, Quote, Signal
from decahertz.histogram import Histogram
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
from decahertz.sample import Sample
from decahertz.settings import Seconds

_DAY_SECONDS = 86_400.0
_SWEEP_NS = 10 * NS_PER_SECOND
"""Interval between searches for idle strategies."""
_MAX_SIGNALS = 10_000


class ExecutionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.execution]``."""

    idle_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=2_678_400,
            description="Retire a strategy at a venue after this long without an order or fill.",
        ),
    ] = 86_400.0
    window_seconds: Annotated[
        Seconds, Meta(description="Trailing window of latency percentiles, costs and markouts.")
    ] = 300.0
    window_size: Annotated[
        int, Meta(ge=1, le=100_000, description="Maximum number of observations in that window.")
    ] = 1000
    finished_seconds: Annotated[
        Seconds,
        Meta(description="Keep finished orders and signals this long, to recognise late events."),
    ] = 3600.0
    unresolved_seconds: Annotated[
        Seconds,
        Meta(description="Count an order as unresolved after this long without an answer from the venue."),
    ] = 60.0
    max_orders: Annotated[
        int,
        Meta(
            ge=1, description="Maximum number of orders kept per strategy and venue; the oldest are dropped."
        ),
    ] = 100_000
    max_keys: MaxKeys = 500
    max_keys_per_emitter: MaxKeysPerEmitter = 250
    max_instruments: MaxInstruments = 10_000


class ExecutionCheckpoint(msgspec.Struct, frozen=True):
    """The state of the collector."""

    swept_ns: int
    states: dict[tuple[str, str], ExecutionState]
    signals: Signals
    mark_prices: MarkPricesState
    markouts: MarkoutQueue


class ExecutionCollector(BaseCollector[ExecutionOptions]):
    """Order life cycle, latencies and costs by strategy and venue."""

    sample_type: ClassVar[type[Sample]] = ExecutionSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Instrument, Signal, Order, Fill})
    restored: ClassVar[Mapping[type[Event], float]] = {  # the orders of a day, with their signals and fills
        Signal: _DAY_SECONDS,
        Order: _DAY_SECONDS,
        Fill: _DAY_SECONDS,
        Instrument: 400 * _DAY_SECONDS,
    }
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = ExecutionCheckpoint
    checkpoint_version: ClassVar[int] = 3
    options_type: ClassVar[type[msgspec.Struct]] = ExecutionOptions

    def __init__(self, clock: Clock, options: ExecutionOptions) -> None:
        super().__init__(clock, options)
        self._idle_ns = round(options.idle_seconds * NS_PER_SECOND)
        self._limits = Limits(
            window_ns=round(options.window_seconds * NS_PER_SECOND),
            window_size=options.window_size,
            finished_ns=round(options.finished_seconds * NS_PER_SECOND),
            max_orders=options.max_orders,
            live_ns=clock.time_ns(),
            unresolved_ns=round(options.unresolved_seconds * NS_PER_SECOND),
        )
        self._histograms = {
            leg: Histogram(
                leg.name.lower(),
                f"{leg.help}, without negative ones.",
                clock=clock,
                key=ExecutionSample.key,
                bounds=LATENCY_BOUNDS,
            )
            for leg in Leg
        }
        self.histograms = tuple(self._histograms.values())
        self._states: dict[tuple[str, str], ExecutionState] = {}
        self._signals = Signals(_MAX_SIGNALS)
        instruments = self.key_budget("max_instruments", options.max_instruments)
        self.budgets = (self.keys, instruments)
        for budget in self.budgets:
            budget.make_room = self._sweep
        self._mark_prices = MarkPrices(instruments)
        self._markouts = MarkoutQueue()
        self._swept_ns = 0
        self._samples: dict[tuple[str, str], tuple[ExecutionSample, int]] = {}
        """Newest samples without an event since, and when time changes them."""

    def checkpoint(self) -> ExecutionCheckpoint:
        """Returns the state."""
        for state in self._states.values():
            state.prepare_checkpoint()
        return ExecutionCheckpoint(
            self._swept_ns, self._states, self._signals, self._mark_prices.state(), self._markouts
        )

    def resume(self, checkpoint: ExecutionCheckpoint) -> None:
        """Continues from a state. All observations count in the histograms, as its own did."""
        self._limits = replace(self._limits, live_ns=0)
        self._swept_ns, self._signals = checkpoint.swept_ns, checkpoint.signals
        self._states, self._markouts = checkpoint.states, checkpoint.markouts
        self._mark_prices.resume(checkpoint.mark_prices)
        self._samples.clear()
        for key, state in self._states.items():
            state.apply_limits(self._limits)
            for leg, observations in state.histograms.items():
                self._histograms[leg].series[key] = observations

    def on_event(self, event: Event, received_ns: int) -> None:
        """Updates the state by an event. Raises ``UnusableEventError`` for excessive numbers."""
        if isinstance(event, Quote):
            self._mark_prices.take(event, received_ns)
        elif isinstance(event, Instrument):
            self._mark_prices.define(event, received_ns)
        elif isinstance(event, Order):
            self._take_order(event, received_ns)
        elif isinstance(event, Fill):
            state = self._state(event, received_ns)
            if state is not None:
                state.take_fill(event, received_ns, self._markouts)
        elif isinstance(event, Signal):
            self._signals.add(event, received_ns, self._limits.finished_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per strategy and venue."""
        if not 0 <= now_ns - self._swept_ns < _SWEEP_NS:
            self._sweep(now_ns)
        for reached in self._markouts.due(now_ns):
            key = (reached.strategy, reached.venue)
            state = self._states.get(key)
            if state is not None:
                self._samples.pop(key, None)
                mid = self._mark_prices.price(reached.venue, reached.instrument)
                state.take_markout(reached, mid, now_ns)
        return [self._sample(key, state, now_ns) for key, state in self._states.items()]

    def _sample(self, key: tuple[str, str], state: ExecutionState, now_ns: int) -> ExecutionSample:
        """The newest sample again, as long as neither an event nor time has changed it."""
        before = self._samples.get(key)
        if before is not None and now_ns < before[1]:
            return before[0]
        sample = _sample(state, now_ns)
        self._samples[key] = sample, state.due_ns
        return sample

    def ends(self) -> Mapping[tuple[str, str], Mapping[End, int]]:
        """Returns the finished orders of each strategy and venue by final state and reason."""
        return {key: state.ends for key, state in self._states.items()}

    def _take_order(self, event: Order, received_ns: int) -> None:
        signal = None
        if event.signal_id is not None:
            signal = self._signals.get(
                event.strategy, event.signal_id, received_ns - self._limits.finished_ns
            )
        mid = None
        if event.state is OrderState.SUBMITTED or event.state in FINAL_ORDER_STATES:
            mid = self._mark_prices.price(event.venue, event.instrument)
        state = self._state(event, received_ns)
        if state is not None:
            state.take_order(event, received_ns, signal, mid)

    def _state(self, event: Order | Fill, received_ns: int) -> ExecutionState | None:
        """Returns the state of an order's strategy at its venue; ``None`` if there is no room for it."""
        key = (event.strategy, event.venue)
        state = self._states.get(key)
        if state is None:
            if not self.keys.admit(key, received_ns):
                return None
            histograms = {leg: histogram.of(*key) for leg, histogram in self._histograms.items()}
            state = self._states[key] = ExecutionState(*key, self._limits, histograms)
        state.received_ns = received_ns
        self._samples.pop(key, None)
        return state

    def _sweep(self, now_ns: int) -> None:
        self._swept_ns = now_ns
        before_ns = now_ns - self._idle_ns
        self._mark_prices.retire(before_ns)
        self._signals.retire(now_ns - self._limits.finished_ns)
        for key, state in list(self._states.items()):
            state.forget(now_ns)
            if state.received_ns < before_ns and not state.open_orders:
                del self._states[key]
                self._samples.pop(key, None)
                self.keys.release(key)
                for histogram in self.histograms:
                    histogram.retire(*key)


def _sample(state: ExecutionState, now_ns: int) -> ExecutionSample:
    state.expire(now_ns)
    finals = state.finals
    decision, arrival = state.slippage_decision, state.slippage_arrival
    delay, trading, opportunity, fees = parts = state.shortfall
    known = [part for part in parts if part is not None]
    return ExecutionSample(
        strategy=state.strategy,
        venue=state.venue,
        orders_submitted=state.submitted,
        orders_accepted=state.accepted,
        orders_filled=finals[OrderState.FILLED],
        orders_cancelled=finals[OrderState.CANCELLED],
        orders_rejected=finals[OrderState.REJECTED],
        orders_expired=finals[OrderState.EXPIRED],
        orders_forgotten=state.forgotten,
        order_conflicts=state.conflicts,
        late_events=state.late_events,
        open_orders=state.open_orders,
        unresolved_orders=state.unresolved(now_ns),
        unanswered_seconds=state.unanswered_seconds(now_ns),
        fill_ratio=state.ratio(OrderState.FILLED),
        cancel_ratio=state.ratio(OrderState.CANCELLED),
        reject_ratio=state.ratio(OrderState.REJECTED),
        fills=state.fills,
        duplicate_fills=state.duplicate_fills,
        fill_conflicts=state.fill_conflicts,
        unpriced_fills=state.unpriced_fills,
        maker_ratio=state.maker_ratio,
        commissions=state.commissions,
        **_latencies(state),
        negative_latencies=state.negative_latencies,
        slippage_decision_bps=decision[0],
        slippage_decision_observations=decision[1],
        slippage_arrival_bps=arrival[0],
        slippage_arrival_observations=arrival[1],
        **_markouts(state),
        markouts_skipped=state.markouts_skipped,
        shortfall_bps=sum(known) if len(known) == len(parts) else None,
        shortfall_delay_bps=delay,
        shortfall_trading_bps=trading,
        shortfall_opportunity_bps=opportunity,
        shortfall_fees_bps=fees,
        shortfall_observations=state.shortfall_orders,
    )


def _latencies(state: ExecutionState) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for leg, (p50, p99, observations) in _LEG_FIELDS.items():
        latencies = state.legs[leg]
        values[p50], values[p99] = latencies.quantile(0.5), latencies.quantile(0.99)
        values[observations] = len(latencies)
    return values


def _markouts(state: ExecutionState) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for horizon, (mean, observations) in enumerate(_MARKOUT_FIELDS):
        values[mean], values[observations] = state.markout(horizon)
    return values


_MARKOUT_FIELDS = [(f"markout_{name}_bps", f"markout_{name}_observations") for name in NAMES]
_LEG_FIELDS = {
    leg: tuple(f"{leg.name.lower()}_{end}" for end in ("p50", "p99", "observations")) for leg in Leg
}
