"""The orders of one strategy at one venue."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from msgspec import Struct, field

from collectors.common.values import UnusableEventError, is_usable
from collectors.common.windows import Quantiles, RecentSet, WeightedMean
from collectors.execution.order import Leg, OrderRecord
from collectors.execution.signals import SignalRecord
from decahertz.clock import NS_PER_SECOND
from decahertz.event import FINAL_ORDER_STATES, Fill, Liquidity, Order, OrderState
from decahertz.histogram import Observations

_MAX_FILLS = 10_000
_ACCEPTED_STATES = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.FILLED})


@dataclass(frozen=True, slots=True)
class Limits:
    """How many orders and observations are kept, and for how long; and which are counted in histograms."""

    window_ns: int
    """Trailing window of latency percentiles and slippage."""
    window_size: int
    """Maximum number of observations in the window."""
    finished_ns: int
    """How long a finished order is kept, to recognise late and repeated events."""
    max_orders: int
    live_ns: int
    """Events received before this time were restored, and are not counted in the histograms."""


class ExecutionState(Struct):
    """The orders of one strategy at one venue.

    An order appears with its first event and is counted once in each state, even if events are repeated or
    arrive out of order. The first final state is kept. ``histograms`` get the latencies of the events that
    arrive after the start.
    """

    strategy: str
    venue: str
    limits: Limits
    histograms: dict[Leg, Observations]
    received_ns: int = 0
    submitted: int = 0
    accepted: int = 0
    forgotten: int = 0
    conflicts: int = 0
    finals: Counter[OrderState] = field(default_factory=Counter)
    fills: int = 0
    duplicate_fills: int = 0
    commissions: float = 0.0
    negative_latencies: int = 0
    legs: dict[Leg, Quantiles] = {}
    slippage_decision: WeightedMean = field(default_factory=lambda: WeightedMean(0, 0))
    slippage_arrival: WeightedMean = field(default_factory=lambda: WeightedMean(0, 0))
    _open: OrderedDict[str, OrderRecord] = field(default_factory=OrderedDict)
    _unanswered: dict[str, int] = {}
    """Receipt of the submission of each open order without an answer from the venue; oldest first."""
    _closed: OrderedDict[str, OrderRecord] = field(default_factory=OrderedDict)
    _fills_seen: RecentSet = field(default_factory=lambda: RecentSet(_MAX_FILLS))
    _maker_value: float = 0.0
    _taker_value: float = 0.0

    def __post_init__(self) -> None:
        self.legs = self.legs or {leg: Quantiles(0, 0) for leg in Leg}
        self.apply_limits(self.limits)

    def apply_limits(self, limits: Limits) -> None:
        """Sets the limits."""
        self.limits = limits
        windows: list[Quantiles | WeightedMean] = [self.slippage_decision, self.slippage_arrival]
        for window in [*self.legs.values(), *windows]:
            window.limit, window.window_ns = limits.window_size, limits.window_ns

    def prepare_checkpoint(self) -> None:
        """Rebuilds the orders in their order, because msgspec encodes them as they were inserted."""
        self._open, self._closed = OrderedDict(self._open), OrderedDict(self._closed)

    @property
    def open_orders(self) -> int:
        """Orders without a final state."""
        return len(self._open)

    def unanswered_seconds(self, now_ns: int) -> float | None:
        """Returns the age of the oldest order without an answer from the venue; ``None`` without one."""
        for submitted_ns in self._unanswered.values():
            return max(now_ns - submitted_ns, 0) / NS_PER_SECOND
        return None

    def ratio(self, state: OrderState) -> float | None:
        """Returns the share of finished orders that ended in ``state``; ``None`` without any."""
        finished = self.finals.total()
        return self.finals[state] / finished if finished else None

    @property
    def maker_ratio(self) -> float | None:
        """Share of the value filled as maker, where the liquidity is known; ``None`` without any."""
        known = self._maker_value + self._taker_value
        return self._maker_value / known if known else None

    def take_order(
        self, order: Order, received_ns: int, signal: SignalRecord | None, mid: float | None
    ) -> None:
        """Applies a change of an order; ``signal`` is the one it refers to, ``mid`` the current mid."""
        record = self._record(order, received_ns)
        if not record.is_submitted:
            self._submit(record, order.order_id, received_ns)
        state = order.state
        if not record.is_accepted and state in _ACCEPTED_STATES:
            record.is_accepted = True
            self.accepted += 1
            self._unanswered.pop(order.order_id, None)
        record.arrival.set(order.arrival_price)
        if state is OrderState.SUBMITTED:
            if record.submit_ns is None:
                record.submit_ns = order.time_ns
            record.arrival.set(mid)
        elif state is OrderState.ACCEPTED and record.ack_ns is None:
            record.ack_ns = order.time_ns
        if signal is not None:
            _refer(record, signal)
        if state in FINAL_ORDER_STATES:
            self._finish(record, order.order_id, state)
        self._measure(record, received_ns)

    def take_fill(self, fill: Fill, received_ns: int) -> None:
        """Adds a fill unless it is a duplicate. Raises :class:`UnusableEventError`."""
        value = abs(fill.price * fill.quantity)
        if not (
            is_usable(value) and is_usable(fill.price) and is_usable(fill.quantity) and is_usable(fill.fee)
        ):
            raise UnusableEventError(f"fill {fill.fill_id!r} of {fill.strategy!r} is too large to add up")
        if not self._fills_seen.add((fill.instrument, fill.order_id, fill.fill_id)):
            self.duplicate_fills += 1
            return
        self.fills += 1
        self.commissions += fill.fee
        if fill.liquidity is Liquidity.MAKER:
            self._maker_value += value
        elif fill.liquidity is Liquidity.TAKER:
            self._taker_value += value
        record = self._record(fill, received_ns)
        if record.fill_ns is None:
            record.fill_ns = fill.time_ns
            self._unanswered.pop(fill.order_id, None)
        record.decision.fill(fill.quantity, fill.price)
        record.arrival.fill(fill.quantity, fill.price)
        self._measure(record, received_ns)

    def expire(self, now_ns: int) -> None:
        """Advances the windows to ``now_ns``."""
        for leg in self.legs.values():
            leg.expire(now_ns)
        self.slippage_decision.expire(now_ns)
        self.slippage_arrival.expire(now_ns)

    def forget(self, now_ns: int) -> None:
        """Drops finished orders, and fills of unknown orders, without an event for ``finished_ns``."""
        before_ns = now_ns - self.limits.finished_ns
        while self._closed and next(iter(self._closed.values())).updated_ns < before_ns:
            self._closed.popitem(last=False)

    def _record(self, event: Order | Fill, received_ns: int) -> OrderRecord:
        """Returns the record of an order and makes it the newest. A new record is closed until submitted."""
        order_id = event.order_id
        records = self._open if order_id in self._open else self._closed
        record = records.get(order_id)
        if record is None:
            record = records[order_id] = OrderRecord.of(event.side)
            if len(records) > self.limits.max_orders:
                records.popitem(last=False)
        else:
            records.move_to_end(order_id)
        record.updated_ns = received_ns
        return record

    def _submit(self, record: OrderRecord, order_id: str, received_ns: int) -> None:
        record.is_submitted = True
        self.submitted += 1
        self._open[order_id] = self._closed.pop(order_id)
        if record.fill_ns is None:
            self._unanswered[order_id] = received_ns
        if len(self._open) > self.limits.max_orders:
            forgotten_id, _ = self._open.popitem(last=False)
            self._unanswered.pop(forgotten_id, None)
            self.forgotten += 1

    def _finish(self, record: OrderRecord, order_id: str, state: OrderState) -> None:
        if record.final is None:
            record.final = state
            self.finals[state] += 1
            self._closed[order_id] = self._open.pop(order_id)
            self._unanswered.pop(order_id, None)
        elif record.final is not state:
            self.conflicts += 1

    def _measure(self, record: OrderRecord, received_ns: int) -> None:
        for leg, duration_ns in record.measure():
            self.legs[leg].add(received_ns, duration_ns / NS_PER_SECOND)
            self.negative_latencies += duration_ns < 0
            if duration_ns >= 0 and received_ns >= self.limits.live_ns:
                self.histograms[leg].observe(duration_ns / NS_PER_SECOND)
        for benchmark, slippage in (
            (record.decision, self.slippage_decision),
            (record.arrival, self.slippage_arrival),
        ):
            observation = benchmark.take(record.side)
            if observation is not None:
                slippage.add(received_ns, *observation)


def _refer(record: OrderRecord, signal: SignalRecord) -> None:
    record.decision.set(signal.price)
    if not signal.is_measured:
        signal.is_measured = True
        if record.signal_ns is None:
            record.signal_ns = signal.time_ns
