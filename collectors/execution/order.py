"""One order, whatever order its events come in."""

from __future__ import annotations

from enum import IntEnum

from collectors.values import finite, is_usable
from decahertz.event import OrderState, Side


class Leg(IntEnum):
    """A stretch of an order's way that is timed."""

    SIGNAL_TO_SUBMIT = 0
    SUBMIT_TO_ACK = 1
    ACK_TO_FILL = 2
    SUBMIT_TO_FILL = 3


class Benchmark:
    """A reference price of an order, and the fills that wait for it to become known."""

    __slots__ = ("_quantity", "_value", "price")

    def __init__(self) -> None:
        """Neither price nor fills."""
        self.price: float | None = None
        self._quantity = 0.0
        self._value = 0.0

    def set(self, price: float | None) -> None:
        """Take the reference price, once: the first that is known and positive."""
        if self.price is None and price is not None and price > 0 and is_usable(price):
            self.price = price

    def fill(self, quantity: float, price: float) -> None:
        """Add a fill."""
        self._quantity += quantity
        self._value += quantity * price

    def take(self, side: Side) -> tuple[float, float] | None:
        """Slippage (basis points) and weight (money) of the fills since the last call.

        ``None`` while there are none or the reference is unknown. Slippage is signed so that a positive one
        is a cost: paid more or got less than the reference, as in A. F. Perold, "The Implementation
        Shortfall: Paper versus Reality", Journal of Portfolio Management 14 (1988).
        """
        if self.price is None or not self._quantity:
            return None
        weight = self._quantity * self.price
        cost = self._value - weight
        self._quantity = self._value = 0.0
        if not weight:
            return None
        bps = finite((cost if side is Side.BUY else -cost) / weight * 10_000)
        return None if bps is None else (bps, weight)


class OrderRecord:
    """What is known of one order. Times are those of its events; ``None`` until known."""

    __slots__ = (
        "_timed",
        "_times",
        "arrival",
        "decision",
        "final",
        "is_accepted",
        "is_submitted",
        "side",
        "signal_id",
        "touched_ns",
    )

    def __init__(self, side: Side) -> None:
        """Known by name only."""
        self.side = side
        self.is_submitted = False
        """Whether an order event was seen: a fill may come first."""
        self.is_accepted = False
        self.final: OrderState | None = None
        self.signal_id: str | None = None
        self.decision = Benchmark()
        self.arrival = Benchmark()
        self.touched_ns = 0
        self._times: list[int | None] = [None, None, None, None]
        self._timed = 0

    def reach(self, milestone: Milestone, time_ns: int) -> None:
        """The order came to a milestone; a repetition changes nothing."""
        if self._times[milestone] is None:
            self._times[milestone] = time_ns

    def timed(self) -> list[tuple[Leg, int]]:
        """The legs whose both ends have become known since the last call, in nanoseconds."""
        new = []
        for leg, start, end in _LEGS:
            start_ns, end_ns = self._times[start], self._times[end]
            if not self._timed >> leg & 1 and start_ns is not None and end_ns is not None:
                self._timed |= 1 << leg
                new.append((leg, end_ns - start_ns))
        return new


class Milestone(IntEnum):
    """An end of a leg."""

    SIGNAL = 0
    SUBMIT = 1
    ACK = 2
    FILL = 3


_LEGS = (
    (Leg.SIGNAL_TO_SUBMIT, Milestone.SIGNAL, Milestone.SUBMIT),
    (Leg.SUBMIT_TO_ACK, Milestone.SUBMIT, Milestone.ACK),
    (Leg.ACK_TO_FILL, Milestone.ACK, Milestone.FILL),
    (Leg.SUBMIT_TO_FILL, Milestone.SUBMIT, Milestone.FILL),
)
