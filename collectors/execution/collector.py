"""Samples the execution of every strategy at every venue that an order or a fill has named.

They appear when first seen and are retired after ``idle_seconds`` without an order event or fill, unless an
order is open. One that comes back starts anew, counters included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.mark_prices import Marks
from collectors.execution.desk import Desk, Memory
from collectors.execution.order import Leg
from collectors.execution.sample import ExecutionSample
from collectors.execution.signals import Signals
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Event, Fill, Order, OrderState, Quote, Signal
from decahertz.sample import Sample
from decahertz.settings import Seconds

_DAY_SECONDS = 86_400.0
_SWEEP_NS = 10 * NS_PER_SECOND
"""How often what is idle is looked for."""
_SIGNALS_REMEMBERED = 10_000


class ExecutionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.execution]``."""

    idle_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=2_678_400,
            description="A strategy without open orders is retired at a venue after this long without any.",
        ),
    ] = 86_400.0
    window_seconds: Annotated[
        Seconds, Meta(description="Trailing window of latency percentiles and slippage.")
    ] = 300.0
    window_size: Annotated[
        int, Meta(ge=1, le=100_000, description="Most observations in that window; the newest count.")
    ] = 1000
    finished_seconds: Annotated[
        Seconds, Meta(description="How long finished orders and signals are remembered.")
    ] = 3600.0
    max_orders: Annotated[
        int, Meta(ge=1, description="Orders remembered by strategy and venue; beyond it the oldest go.")
    ] = 100_000


class ExecutionCollector(BaseCollector[ExecutionOptions]):
    """Order life cycle, latencies and costs by strategy and venue."""

    sample_type: ClassVar[type[Sample]] = ExecutionSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Signal, Order, Fill})
    restored: ClassVar[Mapping[type[Event], float]] = {  # the orders of a day, with what belongs to them
        Signal: _DAY_SECONDS,
        Order: _DAY_SECONDS,
        Fill: _DAY_SECONDS,
    }
    options_type: ClassVar[type[msgspec.Struct]] = ExecutionOptions

    def __init__(self, clock: Clock, options: ExecutionOptions) -> None:
        """Nothing seen yet."""
        super().__init__(clock, options)
        self._idle_ns = round(options.idle_seconds * NS_PER_SECOND)
        self._memory = Memory(
            window_ns=round(options.window_seconds * NS_PER_SECOND),
            window_size=options.window_size,
            finished_ns=round(options.finished_seconds * NS_PER_SECOND),
            max_orders=options.max_orders,
        )
        self._desks: dict[tuple[str, str], Desk] = {}
        self._signals = Signals(_SIGNALS_REMEMBERED)
        self._marks = Marks()
        self._swept_ns = 0

    def on_event(self, event: Event, received_ns: int) -> None:
        """Fold an event in. Raises ``UnusableEventError`` for numbers too large to calculate with."""
        if isinstance(event, Quote):
            self._marks.take(event, received_ns)
        elif isinstance(event, Order):
            signal = None
            if event.signal_id is not None:
                signal = self._signals.get(event.strategy, event.signal_id)
            mid = None
            if event.state is OrderState.SUBMITTED:
                mid = self._marks.price(event.venue, event.instrument)
            self._desk(event, received_ns).take_order(event, received_ns, signal, mid)
        elif isinstance(event, Fill):
            self._desk(event, received_ns).take_fill(event, received_ns)
        elif isinstance(event, Signal):
            self._signals.add(event, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """One sample per strategy and venue at the instant ``now_ns``."""
        if not 0 <= now_ns - self._swept_ns < _SWEEP_NS:
            self._sweep(now_ns)
        return [_sample(desk, now_ns) for desk in self._desks.values()]

    def _desk(self, event: Order | Fill, received_ns: int) -> Desk:
        key = (event.strategy, event.venue)
        desk = self._desks.get(key)
        if desk is None:
            desk = self._desks[key] = Desk(event.strategy, event.venue, self._memory)
        desk.received_ns = received_ns
        return desk

    def _sweep(self, now_ns: int) -> None:
        self._swept_ns = now_ns
        before_ns = now_ns - self._idle_ns
        self._marks.retire(before_ns)
        self._signals.retire(now_ns - self._memory.finished_ns)
        for key, desk in list(self._desks.items()):
            desk.forget(now_ns)
            if desk.received_ns < before_ns and not desk.open_orders:
                del self._desks[key]


def _sample(desk: Desk, now_ns: int) -> ExecutionSample:
    desk.expire(now_ns)
    finals = desk.finals
    legs = desk.legs
    signal_to_submit = legs[Leg.SIGNAL_TO_SUBMIT]
    submit_to_ack = legs[Leg.SUBMIT_TO_ACK]
    ack_to_fill = legs[Leg.ACK_TO_FILL]
    submit_to_fill = legs[Leg.SUBMIT_TO_FILL]
    return ExecutionSample(
        strategy=desk.strategy,
        venue=desk.venue,
        orders_submitted=desk.submitted,
        orders_accepted=desk.accepted,
        orders_filled=finals[OrderState.FILLED],
        orders_cancelled=finals[OrderState.CANCELLED],
        orders_rejected=finals[OrderState.REJECTED],
        orders_expired=finals[OrderState.EXPIRED],
        orders_forgotten=desk.forgotten,
        order_conflicts=desk.conflicts,
        open_orders=desk.open_orders,
        fill_ratio=desk.ratio(OrderState.FILLED),
        cancel_ratio=desk.ratio(OrderState.CANCELLED),
        reject_ratio=desk.ratio(OrderState.REJECTED),
        fills=desk.fills,
        duplicate_fills=desk.duplicate_fills,
        maker_ratio=desk.maker_ratio,
        commissions=desk.commissions,
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
        negative_latencies=desk.negative_latencies,
        slippage_decision_bps=desk.slippage_decision.mean,
        slippage_decision_observations=len(desk.slippage_decision),
        slippage_arrival_bps=desk.slippage_arrival.mean,
        slippage_arrival_observations=len(desk.slippage_arrival),
    )
