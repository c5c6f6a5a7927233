"""One order, whatever order its events come in."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from collectors.common.values import finite, is_usable
from decahertz.event import OrderState, Side


class Leg(IntEnum):
    """A stretch of an order's way that is timed."""

    SIGNAL_TO_SUBMIT = 0
    SUBMIT_TO_ACK = 1
    ACK_TO_FILL = 2
    SUBMIT_TO_FILL = 3


class Benchmark(Struct, gc=False):
    """A reference price of an order, and the fills that wait for it to become known."""

    price: float | None = None
    quantity: float = 0.0
    """Of the fills that wait."""
    value: float = 0.0
    """Of the fills that wait: quantity times price, added up."""

    def set(self, price: float | None) -> None:
        """Take the reference price, once: the first that is known and positive."""
        if self.price is None and price is not None and price > 0 and is_usable(price):
            self.price = price

    def fill(self, quantity: float, price: float) -> None:
        """Add a fill."""
        self.quantity += quantity
        self.value += quantity * price

    def take(self, side: Side) -> tuple[float, float] | None:
        """Slippage (basis points) and weight (money) of the fills since the last call.

        ``None`` while there are none or the reference is unknown. Slippage is signed so that a positive one
        is a cost: paid more or got less than the reference, as in A. F. Perold, "The Implementation
        Shortfall: Paper versus Reality", Journal of Portfolio Management 14 (1988).
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


class OrderRecord(Struct, gc=False):
    """What is known of one order. Times are those of its events; ``None`` until known.

    Known by name only at first. As long as it is remembered the garbage collector has nothing to do with it:
    there are hundreds of thousands of these, and no ring can be made of what they hold.
    """

    side: Side
    decision: Benchmark
    arrival: Benchmark
    is_submitted: bool = False
    """Whether an order event was seen: a fill may come first."""
    is_accepted: bool = False
    final: OrderState | None = None
    touched_ns: int = 0
    signal_ns: int | None = None
    """When the signal was given; the three below are the other ends of the legs. The first time counts."""
    submit_ns: int | None = None
    ack_ns: int | None = None
    fill_ns: int | None = None
    timed_legs: int = 0
    """A bit for each leg that was given out by :meth:`timed`."""

    @classmethod
    def of(cls, side: Side) -> OrderRecord:
        """The record of an order of which nothing else is known yet."""
        return cls(side, Benchmark(), Benchmark())

    def timed(self) -> list[tuple[Leg, int]]:
        """The legs whose both ends have become known since the last call, in nanoseconds."""
        new: list[tuple[Leg, int]] = []
        done = self.timed_legs
        if done == _ALL_LEGS:
            return new
        for leg, bit, start_ns, end_ns in (
            (Leg.SIGNAL_TO_SUBMIT, 1, self.signal_ns, self.submit_ns),
            (Leg.SUBMIT_TO_ACK, 2, self.submit_ns, self.ack_ns),
            (Leg.ACK_TO_FILL, 4, self.ack_ns, self.fill_ns),
            (Leg.SUBMIT_TO_FILL, 8, self.submit_ns, self.fill_ns),
        ):
            if start_ns is not None and end_ns is not None and not done & bit:
                self.timed_legs |= bit
                new.append((leg, end_ns - start_ns))
        return new


_ALL_LEGS = 15
