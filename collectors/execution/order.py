"""The record of one order, independent of the order in which its events arrive."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from collectors.common.values import finite, is_usable
from decahertz.event import OrderState, Side


class Leg(IntEnum):
    """A leg of an order's life cycle whose latency is measured."""

    SIGNAL_TO_SUBMIT = 0
    SUBMIT_TO_ACK = 1
    ACK_TO_FILL = 2
    SUBMIT_TO_FILL = 3

    @property
    def help(self) -> str:
        """The two ends, in words."""
        return _ENDS[self]


_ENDS = {
    Leg.SIGNAL_TO_SUBMIT: "signal to first order",
    Leg.SUBMIT_TO_ACK: "submission to acceptance",
    Leg.ACK_TO_FILL: "acceptance to first fill",
    Leg.SUBMIT_TO_FILL: "submission to first fill",
}


class Benchmark(Struct, gc=False, array_like=True):
    """A reference price of an order, and the fills received before it is known."""

    price: float | None = None
    quantity: float = 0.0
    """Quantity of the pending fills."""
    value: float = 0.0
    """Sum of quantity times price of the pending fills."""

    def set(self, price: float | None) -> None:
        """Sets the reference price, unless it is set; it must be positive."""
        if self.price is None and price is not None and price > 0 and is_usable(price):
            self.price = price

    def fill(self, quantity: float, price: float) -> None:
        """Adds a fill."""
        self.quantity += quantity
        self.value += quantity * price

    def take(self, side: Side) -> tuple[float, float] | None:
        """Returns slippage (basis points) and weight (money) of the fills since the last call.

        ``None`` without fills or reference price. Positive slippage is a cost: a worse price than the
        reference, as in A. F. Perold, "The Implementation Shortfall: Paper versus Reality", Journal of
        Portfolio Management 14 (1988).
        """
        if self.price is None or not self.quantity:
            return None
        weight = self.quantity * self.price
        cost = self.value - weight
        self.quantity = self.value = 0.0
        if not weight:
            return None
        bps = finite((cost if side is Side.BUY else -cost) / weight * 10_000)
        return None if bps is None else (bps, weight)


class OrderRecord(Struct, gc=False, array_like=True):
    """The known facts about one order. Times are event times; ``None`` until known.

    The records are not tracked by the garbage collector: there are hundreds of thousands of them, and they
    cannot form reference cycles.
    """

    side: Side
    decision: Benchmark
    arrival: Benchmark
    is_submitted: bool = False
    """Whether an order event has arrived; a fill may arrive first."""
    is_accepted: bool = False
    final: OrderState | None = None
    updated_ns: int = 0
    signal_ns: int | None = None
    """Time of the signal. These four times bound the legs; the first value of each is kept."""
    submit_ns: int | None = None
    ack_ns: int | None = None
    fill_ns: int | None = None
    measured_legs: int = 0
    """A bit for each leg already returned by :meth:`measure`."""

    @classmethod
    def of(cls, side: Side) -> OrderRecord:
        """Creates the record of a new order."""
        return cls(side, Benchmark(), Benchmark())

    def measure(self) -> list[tuple[Leg, int]]:
        """Returns the legs completed since the last call, with their latencies in nanoseconds."""
        new: list[tuple[Leg, int]] = []
        done = self.measured_legs
        if done == _ALL_LEGS:
            return new
        for leg, bit, start_ns, end_ns in (
            (Leg.SIGNAL_TO_SUBMIT, 1, self.signal_ns, self.submit_ns),
            (Leg.SUBMIT_TO_ACK, 2, self.submit_ns, self.ack_ns),
            (Leg.ACK_TO_FILL, 4, self.ack_ns, self.fill_ns),
            (Leg.SUBMIT_TO_FILL, 8, self.submit_ns, self.fill_ns),
        ):
            if start_ns is not None and end_ns is not None and not done & bit:
                self.measured_legs |= bit
                new.append((leg, end_ns - start_ns))
        return new


_ALL_LEGS = 15
