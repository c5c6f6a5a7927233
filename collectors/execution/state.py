"""The orders of one strategy at one venue."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct, field

from collectors.common.values import UnusableEventError, is_usable
from collectors.common.windows import Quantiles, RecentSet, digest_of
from collectors.execution.costs import shortfall, slippage
from collectors.execution.markouts import HORIZONS, MarkoutQueue, PendingMarkout
from collectors.execution.order import End, FillRecord, Leg, OrderRecord, earliest
from collectors.execution.signals import SignalRecord
from collectors.execution.sums import WindowSums, share
from decahertz.clock import NS_PER_SECOND
from decahertz.event import FINAL_ORDER_STATES, Fill, FillKind, Liquidity, Order, OrderState
from decahertz.histogram import Observations
from decahertz.order_states import is_acceptance, is_answer

OrderKey: TypeAlias = tuple[str, str, str]
"""(instrument, account, order id): an order of one strategy at one venue."""

_DECISION, _ARRIVAL, _SHORTFALL = 0, 3, 6
"""Where the values of an order begin in the window of costs: cost, value and 1 if there is one; of the
shortfall, its four parts before them."""
_COSTS = 12
MAX_ENDS = 50
"""Ends that are told apart: trading processes write order ids into reasons."""
OTHER_REASONS = "__other__"
_LONGEST_REASON = 100
_EXECUTIONS = frozenset({FillKind.TRADE, FillKind.CORRECTION, FillKind.BUST})
"""Other fills are not executions of an order on the market."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many orders and observations are kept, and for how long; and which are counted in histograms."""

    window_ns: int
    """Trailing window of latency percentiles and costs."""
    window_size: int
    """Maximum number of observations in the window."""
    finished_ns: int
    """How long a finished order is kept, to recognise late and repeated events."""
    max_orders: int
    live_ns: int
    """Events received before this time were restored, and are not counted in the histograms."""
    unresolved_ns: int = 60 * NS_PER_SECOND
    """An order that nothing has answered for this long is unresolved."""


class Fills(Struct):
    """The newest fills by digest, at least ``limit`` / 2 of them, in two generations."""

    limit: int
    _newer: dict[int, FillRecord] = {}
    _older: dict[int, FillRecord] = {}

    def get(self, digest: int) -> FillRecord | None:
        """Returns a fill; ``None`` if it is not known."""
        return self._newer.get(digest) or self._older.get(digest)

    def is_counted(self, digest: int) -> bool:
        """Whether a fill has not been taken away meanwhile."""
        fill = self.get(digest)
        return fill is None or fill.quantity > 0

    def put(self, digest: int, fill: FillRecord) -> None:
        """Adds or replaces a fill."""
        if len(self._newer) >= max(self.limit // 2, 1):
            self._older, self._newer = self._newer, {}
        self._newer[digest] = fill


class ExecutionState(Struct):
    """The orders of one strategy at one venue.

    An order appears with its first event, in whatever order its events arrive and however often
    (:mod:`decahertz.order_states`). ``histograms`` get the latencies of the events that arrive after the
    start.
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
    late_events: int = 0
    finals: Counter[OrderState] = field(default_factory=Counter)
    ends: dict[End, int] = {}
    """Finished orders by their end, of at most :data:`MAX_ENDS` kinds; those of others by their state."""
    fills: int = 0
    duplicate_fills: int = 0
    fill_conflicts: int = 0
    unpriced_fills: int = 0
    commissions: float = 0.0
    negative_latencies: int = 0
    legs: dict[Leg, Quantiles] = {}
    markouts: list[WindowSums] = []
    """By horizon: markout times value, and value, of each fill."""
    markouts_skipped: int = 0
    costs: WindowSums = field(default_factory=lambda: WindowSums(_COSTS))
    _open: OrderedDict[OrderKey, OrderRecord] = field(default_factory=OrderedDict)
    _unanswered: dict[OrderKey, int] = {}
    """Receipt of the submission of each open order without an answer from the venue; oldest first."""
    _overdue: dict[OrderKey, int] = {}
    """Those without an answer for so long that they are unresolved."""
    _unresolved: int = 0
    """Open orders that were reported as unresolved."""
    _closed: OrderedDict[OrderKey, OrderRecord] = field(default_factory=OrderedDict)
    _fills: Fills = field(default_factory=lambda: Fills(0))
    _gone: RecentSet = field(default_factory=lambda: RecentSet(0))
    """Orders that are no longer kept: their events are repeated, or too late."""
    _maker_value: float = 0.0
    _taker_value: float = 0.0

    def __post_init__(self) -> None:
        self.legs = self.legs or {leg: Quantiles(0, 0) for leg in Leg}
        self.markouts = self.markouts or [WindowSums(2) for _ in HORIZONS]
        self.apply_limits(self.limits)

    def apply_limits(self, limits: Limits) -> None:
        """Sets the limits."""
        self.limits = limits
        windows: list[Quantiles | WindowSums] = [*self.legs.values(), self.costs, *self.markouts]
        for window in windows:
            window.limit, window.window_ns = limits.window_size, limits.window_ns
        self._fills.limit = self._gone.limit = limits.max_orders

    def prepare_checkpoint(self) -> None:
        """Rebuilds the orders in their order, because msgspec encodes them as they were inserted."""
        self._open, self._closed = OrderedDict(self._open), OrderedDict(self._closed)
        for window in (self.costs, *self.markouts):
            window.prepare_checkpoint()

    @property
    def open_orders(self) -> int:
        """Orders without a final state."""
        return len(self._open)

    def unanswered_seconds(self, now_ns: int) -> float | None:
        """Returns the age of the oldest order without an answer from the venue; ``None`` without one."""
        for orders in (self._overdue, self._unanswered):
            for submitted_ns in orders.values():
                return max(now_ns - submitted_ns, 0) / NS_PER_SECOND
        return None

    def unresolved(self, now_ns: int) -> int:
        """Returns how many open orders are unresolved: reported so, or without an answer for too long."""
        before_ns = now_ns - self.limits.unresolved_ns
        while self._unanswered:
            key, submitted_ns = next(iter(self._unanswered.items()))
            if submitted_ns > before_ns:
                break
            del self._unanswered[key]
            self._overdue[key] = submitted_ns
        return self._unresolved + len(self._overdue)

    def ratio(self, state: OrderState) -> float | None:
        """Returns the share of finished orders that ended in ``state``; ``None`` without any."""
        finished = self.finals.total()
        return self.finals[state] / finished if finished else None

    @property
    def maker_ratio(self) -> float | None:
        """Share of the value filled as maker, where the liquidity is known; ``None`` without any."""
        return share(self._maker_value, self._maker_value + self._taker_value)

    @property
    def slippage_decision(self) -> tuple[float | None, int]:
        """Mean slippage against the decision price in basis points, and the number of orders."""
        return self._basis_points(_DECISION, _DECISION + 1), round(self.costs[_DECISION + 2])

    @property
    def slippage_arrival(self) -> tuple[float | None, int]:
        """Mean slippage against the arrival price in basis points, and the number of orders."""
        return self._basis_points(_ARRIVAL, _ARRIVAL + 1), round(self.costs[_ARRIVAL + 2])

    @property
    def shortfall(self) -> tuple[float | None, ...]:
        """Mean shortfall in basis points of the paper portfolio: delay, trading, opportunity, fees."""
        return tuple(self._basis_points(_SHORTFALL + part, _SHORTFALL + 4) for part in range(4))

    @property
    def shortfall_orders(self) -> int:
        """Number of these orders."""
        return round(self.costs[_SHORTFALL + 5])

    def take_order(
        self, order: Order, received_ns: int, signal: SignalRecord | None, mid: float | None
    ) -> None:
        """Applies a report of an order; ``signal`` is the one it refers to, ``mid`` the current mid."""
        key = (order.instrument, order.account, order.order_id)
        record = self._record(key, order, received_ns)
        if record is None:
            return
        state = order.state
        if record.rank is None:
            self._submit(key, record, received_ns)
        record.take_report(order)
        _describe(record, order)
        if state is OrderState.SUBMITTED:
            record.submit_ns = earliest(record.submit_ns, order.time_ns)
            record.arrival_mid = record.arrival_mid or mid
        elif state is OrderState.ACCEPTED:
            record.ack_ns = earliest(record.ack_ns, order.time_ns)
        elif state in FINAL_ORDER_STATES and record.end_mid is None:
            record.end_mid = mid
        if signal is not None:
            _refer(record, signal)
        if is_acceptance(state):
            self._accept(record)
        if is_answer(state):
            self._answer(key, record)
        self._settle(key, record, received_ns)

    def take_fill(self, fill: Fill, received_ns: int, queue: MarkoutQueue | None = None) -> None:
        """Adds a fill unless it is a duplicate; ``queue`` gets one whose markouts are to be measured.

        Raises :class:`UnusableEventError`.
        """
        if fill.kind not in _EXECUTIONS:
            return
        _check(fill)
        key = (fill.instrument, fill.account, fill.order_id)
        digest = digest_of((*key, fill.fill_id))
        found, before = FillRecord.of(fill), self._fills.get(digest)
        is_report = fill.kind is FillKind.TRADE
        if before is not None and is_report:
            self.duplicate_fills += 1
            self.fill_conflicts += not found.is_same(before)
            return
        record = self._record(key, fill, received_ns)
        if record is None:
            return
        if before is not None:
            self._count(record, before, fill.liquidity, -1)
            for markouts in self.markouts:
                markouts.remove(digest)
        if fill.kind is FillKind.BUST:
            found.quantity = 0.0  # a report of the fill itself may follow
        self._fills.put(digest, found)
        if found.quantity:
            self._count(record, found, fill.liquidity, 1)
            if record.reported is not None:
                self._accept(record)
            self._answer(key, record)
        if queue is not None and is_report and received_ns >= self.limits.live_ns:
            self._await_markouts(fill, digest, found, queue)
        self._settle(key, record, received_ns)

    def expire(self, now_ns: int) -> None:
        """Advances the windows to ``now_ns``."""
        for leg in self.legs.values():
            leg.expire(now_ns)
        self.costs.expire(now_ns)
        for markouts in self.markouts:
            markouts.expire(now_ns)

    @property
    def due_ns(self) -> int:
        """When the next sample differs from the newest one although nothing was taken; 0: at once."""
        if self._unanswered or self._overdue:
            return 0
        return min(
            self.costs.due_ns,
            *(latencies.due_ns for latencies in self.legs.values()),
            *(markouts.due_ns for markouts in self.markouts),
        )

    def take_markout(self, reached: PendingMarkout, mid: float | None, now_ns: int) -> None:
        """Adds the markout of a fill at a horizon, from the mid of now."""
        markout = None if mid is None or reached.is_late(now_ns) else reached.markout(mid)
        if markout is None:
            self.markouts_skipped += 1
        elif self._fills.is_counted(reached.fill):
            self.markouts[reached.horizon].put(reached.fill, now_ns, (markout * reached.value, reached.value))

    def markout(self, horizon: int) -> tuple[float | None, int]:
        """Mean markout at a horizon in basis points, and the number of fills."""
        window = self.markouts[horizon]
        return share(window[0], window[1]), len(window)

    def forget(self, now_ns: int) -> None:
        """Drops finished orders, and fills of unknown orders, without an event for ``finished_ns``."""
        while self._closed and self._is_past(next(iter(self._closed.values())), now_ns):
            self._gone.add_digest(self._closed.popitem(last=False)[1].key)

    def _is_past(self, finished: OrderRecord, now_ns: int) -> bool:
        return finished.updated_ns < now_ns - self.limits.finished_ns

    def _record(self, key: OrderKey, event: Order | Fill, received_ns: int) -> OrderRecord | None:
        """Returns the record of an order and makes it the newest. A new record is closed until submitted.

        ``None`` for an old event of an order that is no longer kept. A new one is of an order whose id has
        been used again.
        """
        records = self._open if key in self._open else self._closed
        record = records.get(key)
        if record is not None and records is self._closed and self._is_past(record, received_ns):
            self._gone.add_digest(records.pop(key).key)
            record = None
        if record is None:
            digest = digest_of(key)
            if digest in self._gone and event.time_ns < received_ns - self.limits.finished_ns:
                self.late_events += 1
                return None
            record = records[key] = OrderRecord(event.side, digest)
            if len(records) > self.limits.max_orders:
                self._gone.add_digest(records.popitem(last=False)[1].key)
        else:
            records.move_to_end(key)
        record.updated_ns = received_ns
        return record

    def _submit(self, key: OrderKey, record: OrderRecord, received_ns: int) -> None:
        self.submitted += 1
        self._open[key] = self._closed.pop(key)
        if record.fills:
            self._accept(record)
        if not record.is_answered:
            self._unanswered[key] = received_ns
        if len(self._open) > self.limits.max_orders:
            forgotten_key, forgotten = self._open.popitem(last=False)
            self._unanswered.pop(forgotten_key, None)
            self._overdue.pop(forgotten_key, None)
            self._unresolved -= forgotten.state is OrderState.UNRESOLVED
            self._gone.add_digest(forgotten.key)
            self.forgotten += 1

    def _accept(self, record: OrderRecord) -> None:
        if not record.is_accepted:
            record.is_accepted = True
            self.accepted += 1

    def _answer(self, key: OrderKey, record: OrderRecord) -> None:
        record.is_answered = True
        self._unanswered.pop(key, None)
        self._overdue.pop(key, None)

    def _settle(self, key: OrderKey, record: OrderRecord, received_ns: int) -> None:
        """Follows an order to the state that its events make."""
        before = record.state
        self.conflicts += record.settle()
        after = record.state
        if before is not after and after is not None:
            self._unresolved += (after is OrderState.UNRESOLVED) - (before is OrderState.UNRESOLVED)
            if after is OrderState.UNRESOLVED:
                self._unanswered.pop(key, None)
                self._overdue.pop(key, None)
            if before in FINAL_ORDER_STATES:
                self.finals[before] -= 1
            if after in FINAL_ORDER_STATES:
                self.finals[after] += 1
                self._answer(key, record)
                if key in self._open:
                    self._closed[key] = self._open.pop(key)
            elif key in self._closed:  # reopened
                self._open[key] = self._closed.pop(key)
        self._count_end(record)
        self._measure(record, received_ns)

    def _count_end(self, record: OrderRecord) -> None:
        """Counts an order under its end, and no longer under the one before."""
        end: End | None = None
        if record.state in FINAL_ORDER_STATES:
            reason = "" if record.state is OrderState.FILLED else record.reason[:_LONGEST_REASON]
            end = record.state, reason
            if end not in self.ends and len(self.ends) >= MAX_ENDS:
                end = record.state, OTHER_REASONS
        before = record.counted_as
        if end == before:
            return
        if before is not None:
            self.ends[before] -= 1
            if not self.ends[before]:
                del self.ends[before]
        if end is not None:
            self.ends[end] = self.ends.get(end, 0) + 1
        record.counted_as = end

    def _count(self, record: OrderRecord, fill: FillRecord, liquidity: Liquidity | None, sign: int) -> None:
        """Adds a fill to the totals, or takes it away."""
        record.take(fill, sign)
        self.fills += sign > 0
        if fill.fee is None or fill.value is None:
            self.unpriced_fills += sign > 0
            return
        self.commissions += sign * fill.fee
        if liquidity is Liquidity.MAKER:
            self._maker_value += sign * fill.value
        elif liquidity is Liquidity.TAKER:
            self._taker_value += sign * fill.value

    def _await_markouts(self, fill: Fill, digest: int, found: FillRecord, queue: MarkoutQueue) -> None:
        if found.value and fill.price > 0:
            about = (self.strategy, self.venue, fill.instrument)
            if not queue.add(about, digest, fill.time_ns, fill.price, found.value, is_buy=found.is_buy):
                self.markouts_skipped += 1

    def _measure(self, record: OrderRecord, received_ns: int) -> None:
        latencies = record.latencies()
        if latencies != record.legs:
            for leg in Leg:
                self._measure_leg(leg, record.legs[leg], latencies[leg], received_ns)
            record.legs = latencies
        values = [0.0] * _COSTS
        for index, reference in ((_DECISION, record.decision), (_ARRIVAL, record.arrival)):
            if (slipped := slippage(record, reference)) is not None:
                values[index : index + 3] = (*slipped, 1)
        if record.state in FINAL_ORDER_STATES:
            missed = shortfall(record)
            if missed is not None:
                values[_SHORTFALL:] = (*missed, 1)
        if any(values):
            self.costs.put(record.key, received_ns, values)
        else:
            self.costs.remove(record.key)

    def _measure_leg(self, leg: Leg, before: float | None, seconds: float | None, received_ns: int) -> None:
        if seconds is None or seconds == before:
            return
        self.negative_latencies += seconds < 0
        if before is not None:
            self.legs[leg].revise(before, seconds)
            return
        self.legs[leg].add(received_ns, seconds)
        if seconds >= 0 and received_ns >= self.limits.live_ns:
            self.histograms[leg].observe(seconds)

    def _basis_points(self, cost: int, value: int) -> float | None:
        return share(self.costs[cost] * 10_000, self.costs[value])


def _check(fill: Fill) -> None:
    numbers = (fill.price, fill.quantity, fill.fee, abs(fill.price * fill.quantity))
    if not all(map(is_usable, numbers)):
        raise UnusableEventError(f"fill {fill.fill_id!r} of {fill.strategy!r} is too large to add up")


def _describe(record: OrderRecord, order: Order) -> None:
    """Takes over what a report says of the order itself; the first value of each counts."""
    if record.arrival_price is None:
        record.arrival_price = order.arrival_price
    if record.decision_price is None:
        record.decision_price = order.decision_price
    if record.queue_seconds is None:
        record.queue_seconds = order.queue_seconds
    if record.limiter_seconds is None:
        record.limiter_seconds = order.limiter_seconds
    if record.signal_ns is None:
        record.signal_ns = order.decided_ns


def _refer(record: OrderRecord, signal: SignalRecord) -> None:
    if record.signal_price is None:
        record.signal_price = signal.price
    if not signal.is_measured:
        signal.is_measured = True
        record.signal_ns = signal.time_ns
