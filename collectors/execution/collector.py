"""The execution collector: orders, latencies and costs of every strategy at every venue.

A strategy appears at a venue with its first order or fill there, if the key budget has room for it, and is
retired after ``idle_seconds`` without one, unless an order is open. If it comes back, all its values start
over, counters included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.mark_prices import MarkPrices, MaxInstruments
from collectors.execution.order import Leg
from collectors.execution.sample import LATENCY_BOUNDS, ExecutionSample
from collectors.execution.signals import Signals
from collectors.execution.state import ExecutionState, Limits
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Event, Fill, Instrument, Order, OrderState, Quote, Signal
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
        Seconds, Meta(description="Trailing window of latency percentiles and slippage.")
    ] = 300.0
    window_size: Annotated[
        int, Meta(ge=1, le=100_000, description="Maximum number of observations in that window.")
    ] = 1000
    finished_seconds: Annotated[
        Seconds,
        Meta(description="Keep finished orders and signals this long, to recognise late events."),
    ] = 3600.0
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
    mark_prices: MarkPrices


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
        )
        self._histograms = {
            leg: Histogram(
                leg.name.lower(),
                f"Latency from {leg.help}, without negative ones.",
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
        self._swept_ns = 0

    def checkpoint(self) -> ExecutionCheckpoint:
        """Returns the state."""
        for state in self._states.values():
            state.prepare_checkpoint()
        return ExecutionCheckpoint(self._swept_ns, self._states, self._signals, self._mark_prices)

    def resume(self, checkpoint: ExecutionCheckpoint) -> None:
        """Continues from a state. All observations count in the histograms, as its own did."""
        self._limits = replace(self._limits, live_ns=0)
        self._swept_ns, self._signals = checkpoint.swept_ns, checkpoint.signals
        self._states = checkpoint.states
        self._mark_prices.resume(checkpoint.mark_prices)
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
            signal = None
            if event.signal_id is not None:
                signal = self._signals.get(event.strategy, event.signal_id)
            mid = None
            if event.state is OrderState.SUBMITTED:
                mid = self._mark_prices.price(event.venue, event.instrument)
            state = self._state(event, received_ns)
            if state is not None:
                state.take_order(event, received_ns, signal, mid)
        elif isinstance(event, Fill):
            state = self._state(event, received_ns)
            if state is not None:
                state.take_fill(event, received_ns)
        elif isinstance(event, Signal):
            self._signals.add(event, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per strategy and venue."""
        if not 0 <= now_ns - self._swept_ns < _SWEEP_NS:
            self._sweep(now_ns)
        return [_sample(state, now_ns) for state in self._states.values()]

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
                self.keys.release(key)
                for histogram in self.histograms:
                    histogram.retire(*key)


def _sample(state: ExecutionState, now_ns: int) -> ExecutionSample:
    state.expire(now_ns)
    finals = state.finals
    legs = state.legs
    signal_to_submit = legs[Leg.SIGNAL_TO_SUBMIT]
    submit_to_ack = legs[Leg.SUBMIT_TO_ACK]
    ack_to_fill = legs[Leg.ACK_TO_FILL]
    submit_to_fill = legs[Leg.SUBMIT_TO_FILL]
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
        open_orders=state.open_orders,
        unanswered_seconds=state.unanswered_seconds(now_ns),
        fill_ratio=state.ratio(OrderState.FILLED),
        cancel_ratio=state.ratio(OrderState.CANCELLED),
        reject_ratio=state.ratio(OrderState.REJECTED),
        fills=state.fills,
        duplicate_fills=state.duplicate_fills,
        maker_ratio=state.maker_ratio,
        commissions=state.commissions,
        signal_to_submit_p50=signal_to_submit.quantile(0.5),
        signal_to_submit_p99=signal_to_submit.quantile(0.99),
        signal_to_submit_observations=len(signal_to_submit),
        submit_to_ack_p50=submit_to_ack.quantile(0.5),
        submit_to_ack_p99=submit_to_ack.quantile(0.99),
        submit_to_ack_observations=len(submit_to_ack),
        ack_to_fill_p50=ack_to_fill.quantile(0.5),
        ack_to_fill_p99=ack_to_fill.quantile(0.99),
        ack_to_fill_observations=len(ack_to_fill),
        submit_to_fill_p50=submit_to_fill.quantile(0.5),
        submit_to_fill_p99=submit_to_fill.quantile(0.99),
        submit_to_fill_observations=len(submit_to_fill),
        negative_latencies=state.negative_latencies,
        slippage_decision_bps=state.slippage_decision.mean,
        slippage_decision_observations=len(state.slippage_decision),
        slippage_arrival_bps=state.slippage_arrival.mean,
        slippage_arrival_observations=len(state.slippage_arrival),
    )
