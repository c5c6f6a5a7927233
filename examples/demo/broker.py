"""A simulated venue, and the orders that it works."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from decahertz_client import Client
from demo.market import Key, Quote, View

if TYPE_CHECKING:
    from demo.desk import Desk

TAKER_FEE, MAKER_FEE = 0.2e-4, -0.05e-4  # of the notional


@dataclass(eq=False)
class Order:
    """An order, shared by its desk and the broker."""

    desk: Desk
    order_id: str
    signal_id: str | None
    side: str
    quantity: float
    limit: float | None
    arrival_price: float
    request_id: str | None = None
    reason: str | None = None
    """Why it ended, if it was not filled."""
    placed: float = field(default_factory=time.monotonic)
    filled: float = 0.0
    fills: int = 0
    state: str = "new"
    is_cancelling: bool = False

    @property
    def left(self) -> float:
        """The unfilled quantity."""
        return self.quantity - self.filled

    @property
    def is_done(self) -> bool:
        """Whether the order has a final state."""
        return self.state in ("filled", "cancelled", "rejected")


class Broker:
    """A simulated venue: answers with a latency and fills orders at the current quotes."""

    def __init__(self, recorder: Client, views: dict[Key, View], rng: random.Random) -> None:
        self.orders = 0
        self.fills = 0
        self._recorder = recorder
        self._views = views
        self._random = rng
        self._working: dict[Order, None] = {}

    def submit(self, order: Order) -> None:
        """Submits an order."""
        self.orders += 1
        self._working[order] = None
        self._report(order, "submitted")
        self._later(order, self._accept)

    def cancel(self, order: Order, reason: str = "not filled in time") -> None:
        """Requests a cancellation; until it is processed, the order may still be filled."""
        if not order.is_cancelling:
            order.is_cancelling = True
            self._later(order, lambda o: self._end(o, "cancelled", reason))

    def on_quote(self, key: Key, quote: Quote) -> None:
        """Fills the limit orders that the market has reached."""
        for order in [o for o in self._working if o.desk.key == key and o.limit is not None]:
            assert order.limit is not None  # noqa: S101 - chosen so
            if order.state not in ("accepted", "partially_filled"):
                continue
            ours, theirs, size = (
                (quote.bid, quote.ask, quote.bid_size)
                if order.side == "buy"
                else (quote.ask, quote.bid, quote.ask_size)
            )
            sign = 1 if order.side == "buy" else -1
            # The market crossed the limit, or the order has reached the front of the queue at the touch.
            is_crossed = (order.limit - theirs) * sign >= 0
            is_first_in_queue = order.limit == ours and self._random.random() < 0.15  # noqa: PLR2004 - a probability
            if is_crossed or is_first_in_queue:
                self._fill(order, order.limit, self._fill_quantity(order, size), "maker")

    def stop(self) -> None:
        """Cancels all working orders; positions stay open."""
        for order in list(self._working):
            self._end(order, "cancelled", "the trading process stops")

    def _accept(self, order: Order) -> None:
        if self._random.random() < 0.015:  # noqa: PLR2004 - a probability
            self._end(order, "rejected", "refused by the simulated venue")
            return
        self._report(order, "accepted")
        if order.limit is None:
            self._take(order)

    def _take(self, order: Order) -> None:
        """Fills a market order with the quoted size; the rest follows later."""
        quote = self._views[order.desk.key].quote
        price, size = (quote.ask, quote.ask_size) if order.side == "buy" else (quote.bid, quote.bid_size)
        self._fill(order, price, self._fill_quantity(order, size), "taker")
        if not order.is_done:
            self._later(order, self._take)

    def _fill_quantity(self, order: Order, size: float) -> float:
        share = 1.0 if self._random.random() < 0.8 else self._random.uniform(0.3, 0.8)  # noqa: PLR2004 - a probability
        part = min(order.left * share, size)
        lot_size = order.desk.contract.lot_size
        part = max(round(part / lot_size), 1) * lot_size if lot_size else part
        # After a few partial fills, or if almost nothing would remain, fill the rest.
        return order.left if order.fills >= 4 or part > 0.98 * order.left or not part else part  # noqa: PLR2004 - a limit

    def _fill(self, order: Order, price: float, quantity: float, liquidity: str) -> None:
        self.fills += 1
        order.fills += 1
        desk = order.desk
        is_opening = desk.position * (1 if order.side == "buy" else -1) >= 0
        fee = desk.contract.value(quantity, price) * (MAKER_FEE if liquidity == "maker" else TAKER_FEE)
        is_last = quantity >= order.left
        order.filled = order.quantity if is_last else order.filled + quantity
        self._recorder.fill(
            **desk.at,
            order_id=order.order_id,
            fill_id=f"{order.order_id}-{order.fills}",
            side=order.side,
            price=price,
            quantity=quantity,
            fee=fee,
            liquidity=liquidity,
            risk=desk.risk(quantity, price) if is_opening else None,
        )
        desk.on_fill(order, price, quantity, fee)
        if is_last:
            self._end(order, "filled", None)
        else:
            self._report(order, "partially_filled")

    def _end(self, order: Order, state: str, reason: str | None) -> None:
        if not order.is_done:
            self._report(order, state, reason)
            del self._working[order]
            order.desk.on_done()

    def _report(self, order: Order, state: str, reason: str | None = None) -> None:
        order.state, order.reason = state, reason
        self._recorder.order(
            **order.desk.at,
            order_id=order.order_id,
            signal_id=order.signal_id,
            state=state,
            side=order.side,
            quantity=order.quantity,
            filled_quantity=order.filled,
            price=order.limit,
            arrival_price=order.arrival_price,
            order_type="market" if order.limit is None else "limit",
            request_id=order.request_id,
            reason=reason,
        )

    def _later(self, order: Order, act: Any) -> None:  # noqa: ANN401 - a function of the order
        """Acts after the latency of the venue: log-normal, median 25 ms."""
        latency = 0.025 * self._random.lognormvariate(0.0, 0.6)
        asyncio.get_running_loop().call_later(latency, lambda: None if order.is_done else act(order))
