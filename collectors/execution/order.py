"""The record of one order, independent of the order in which its events arrive."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct

from collectors.common.values import is_usable
from decahertz.clock import NS_PER_SECOND
from decahertz.event import FINAL_ORDER_STATES, Fill, Order, OrderState, Side
from decahertz.order_states import Rank, contradictions, rank, state_of, with_report

End: TypeAlias = tuple[OrderState, str]
"""Final state of an order, and the reason given for it; empty: none."""


class Leg(IntEnum):
    """A leg of an order's life cycle whose latency is measured."""

    SIGNAL_TO_SUBMIT = 0
    SUBMIT_TO_ACK = 1
    ACK_TO_FILL = 2
    SUBMIT_TO_FILL = 3
    SUBMIT_TO_LAST_FILL = 4
    QUEUE = 5
    LIMITER = 6

    @property
    def help(self) -> str:
        """The measured time, in words."""
        return _MEASURED[self]


_MEASURED = {
    Leg.SIGNAL_TO_SUBMIT: "Latency from signal to first order",
    Leg.SUBMIT_TO_ACK: "Latency from submission to acceptance",
    Leg.ACK_TO_FILL: "Latency from acceptance to first fill",
    Leg.SUBMIT_TO_FILL: "Latency from submission to first fill",
    Leg.SUBMIT_TO_LAST_FILL: "Latency from submission to last fill of orders that have ended",
    Leg.QUEUE: "Wait in queues of the trading process before the submission",
    Leg.LIMITER: "Wait for the rate limiter of the trading process before the submission",
}


class FillRecord(Struct, gc=False, array_like=True):
    """The known facts about one fill."""

    price: float
    quantity: float
    time_ns: int
    is_buy: bool
    scale: float | None
    """Account currency per unit of quantity and price; ``None`` if a rate is missing."""
    fee: float | None
    """In the account currency; ``None`` if a rate is missing."""
    is_inverse: bool

    def is_same(self, other: FillRecord) -> bool:
        """Whether both are the same execution."""
        return (self.price, self.quantity, self.is_buy) == (other.price, other.quantity, other.is_buy)

    @classmethod
    def of(cls, fill: Fill) -> FillRecord:
        """Reads a fill."""
        return cls(
            price=fill.price,
            quantity=fill.quantity,
            time_ns=fill.time_ns,
            is_buy=fill.side is Side.BUY,
            scale=scale_of(fill),
            fee=_fee_of(fill),
            is_inverse=bool(fill.inverse),
        )

    @property
    def value(self) -> float | None:
        """Value exchanged, in the account currency; ``None`` if a rate is missing."""
        return (
            None
            if self.scale is None
            else abs(self.scale * self.quantity * worth(self.price, self.is_inverse))
        )


def worth(price: float, is_inverse: bool) -> float:  # noqa: FBT001 - one of two kinds
    """Returns the value of one unit at a price: what a long position gains as it rises.

    That of an inverse contract is counted in its base currency: it is worth ``1 / price`` of it, and a long
    position gains as this falls.
    """
    if not is_inverse:
        return price
    return -1 / price if price else 0.0


def scale_of(event: Fill | Order) -> float | None:
    """Account currency per unit of quantity and price; ``None`` if a rate is missing.

    An event without a definition of its instrument counts one to one.
    """
    rate = 1.0 if event.currency is None else event.rate
    if rate is None:
        return None
    scale = (event.multiplier or 1.0) * rate
    return scale if is_usable(scale) else None


def _fee_of(fill: Fill) -> float | None:
    if not fill.fee:
        return 0.0
    if fill.fee_rate is not None:
        return fill.fee * fill.fee_rate
    if fill.fee_currency is None:  # the settlement currency
        return fill.fee if fill.currency is None else None if fill.rate is None else fill.fee * fill.rate
    return fill.fee if fill.fee_currency == fill.currency and fill.rate == 1 else None


class OrderRecord(Struct, gc=False, array_like=True):
    """The known facts about one order. Times are event times; ``None`` until known.

    The records are not tracked by the garbage collector: there are hundreds of thousands of them, and they
    cannot form reference cycles.
    """

    side: Side
    key: int
    """Digest of its identity."""
    reported: OrderState | None = None
    """The greatest report; ``None`` before an order event has arrived: a fill may arrive first."""
    rank: Rank | None = None
    reports: int = 0
    """The states that were reported, as bits."""
    quantity: float = 0.0
    """Quantity ordered, by the greatest report."""
    state: OrderState | None = None
    """By reports and fills."""
    reason: str = ""
    """Of the greatest report."""
    counted_as: End | None = None
    """The end under which it is counted."""
    is_accepted: bool = False
    is_answered: bool = False
    contradictions: int = 0
    updated_ns: int = 0

    executed: float = 0.0
    """Quantity of the fills."""
    fills: int = 0
    amount: float = 0.0
    """Sum of scale times quantity of the fills."""
    value: float = 0.0
    """Sum of scale times quantity times worth of the price."""
    fees: float = 0.0
    is_inverse: bool = False
    scale: float | None = 1.0
    """Account currency per unit of quantity and price, by the report of its end; ``None``: not known."""
    unpriced: int = 0
    """Fills with a scale or fee that is not known: the costs of the order are not known."""

    signal_ns: int | None = None
    """Time of the signal, or of the decision. These times bound the legs; the first of each counts."""
    submit_ns: int | None = None
    ack_ns: int | None = None
    fill_ns: int | None = None
    last_fill_ns: int | None = None
    queue_seconds: float | None = None
    limiter_seconds: float | None = None
    legs: tuple[float | None, ...] = (None,) * len(Leg)
    """The latencies measured so far, in seconds."""

    signal_price: float | None = None
    decision_price: float | None = None
    arrival_price: float | None = None
    arrival_mid: float | None = None
    end_mid: float | None = None
    """The mid when the order had ended: the price of what was not filled."""

    @property
    def decision(self) -> float | None:
        """The reference price at the decision; ``None``: not known."""
        return _positive(self.signal_price) or _positive(self.decision_price)

    @property
    def arrival(self) -> float | None:
        """The reference price at the submission; ``None``: not known."""
        return _positive(self.arrival_price) or _positive(self.arrival_mid)

    def take(self, fill: FillRecord, sign: int = 1) -> None:
        """Adds a fill; with ``sign`` -1, takes it away again."""
        self.executed += sign * fill.quantity
        self.fills += sign
        self.is_inverse = fill.is_inverse
        if fill.scale is None or fill.fee is None:
            self.unpriced += sign
        else:
            amount = sign * fill.scale * fill.quantity
            self.amount += amount
            self.value += amount * worth(fill.price, fill.is_inverse)
            self.fees += sign * fill.fee
        if not self.fills:
            self.executed = self.amount = self.value = self.fees = 0.0
        if sign > 0 and (self.fill_ns is None or fill.time_ns < self.fill_ns):
            self.fill_ns = fill.time_ns
        if sign > 0 and (self.last_fill_ns is None or fill.time_ns > self.last_fill_ns):
            self.last_fill_ns = fill.time_ns

    def take_report(self, report: Order) -> None:
        """Adds a report; the greatest tells state, side, quantity and reason, and the end the contract."""
        state = report.state
        self.reports = with_report(self.reports, state)
        place = rank(state, report.time_ns, report.quantity)
        if self.rank is not None and place <= self.rank:
            return
        self.rank, self.reported, self.quantity = place, state, report.quantity
        self.side, self.reason = report.side, report.reason or ""
        if state in FINAL_ORDER_STATES:
            self.scale = scale_of(report)
            if not self.fills:
                self.is_inverse = bool(report.inverse)

    def settle(self) -> int:
        """Derives the state from reports and fills; returns the number of new contradictions."""
        if self.reported is None:
            return 0
        self.state = state_of(self.reported, self.quantity, self.executed)
        before = self.contradictions
        self.contradictions = max(before, contradictions(self.reports, self.quantity, self.executed))
        return self.contradictions - before

    def latencies(self) -> tuple[float | None, ...]:
        """The latencies of all legs as known now, in seconds."""
        last_fill = self.legs[Leg.SUBMIT_TO_LAST_FILL]
        if self.state in FINAL_ORDER_STATES:
            last_fill = _between(self.submit_ns, self.last_fill_ns)
        return (
            _between(self.signal_ns, self.submit_ns),
            _between(self.submit_ns, self.ack_ns),
            _between(self.ack_ns, self.fill_ns),
            _between(self.submit_ns, self.fill_ns),
            last_fill,
            self.queue_seconds,
            self.limiter_seconds,
        )


def earliest(known: int | None, found: int) -> int:
    """The earlier of two times, the first of which may not be known."""
    return found if known is None or found < known else known


def _between(start_ns: int | None, end_ns: int | None) -> float | None:
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / NS_PER_SECOND


def _positive(price: float | None) -> float | None:
    return price if price is not None and price > 0 and is_usable(price) else None
