"""Desks: each trades one instrument for one strategy, or one order request."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from decahertz_client import OrderRequest
from demo.account import Account
from demo.broker import Broker, Order
from demo.market import Contract, Key, View
from demo.strategies import MAX_HOLD, Intent, other

WARM_UP_QUOTES = 20  # quotes before a strategy trades an instrument
STOP = 2.5  # standard deviations of the price around its slow mean: the R of a trade
ORDER_LIFETIME = 1.5  # seconds until a limit order is cancelled
COOLDOWN = 0.5  # seconds between two trades of one strategy in one instrument
FUNDING_RATE = 0.0001  # of the value of a position; who is long pays


class Desk:
    """Trades one instrument for one strategy: at most one order at a time, which never flips the position."""

    def __init__(self, account: Account, key: Key, broker: Broker, contract: Contract) -> None:
        self.account = account
        self.key = key
        self.contract = contract
        self.broker = broker
        self.position = 0.0
        self.average = 0.0
        self.stop = 0.0
        """Largest adverse price move before the position is closed."""
        self.order: Order | None = None
        self._since = time.monotonic()
        self.at: dict[str, Any] = {"strategy": account.strategy.name, "venue": key[0], "instrument": key[1]}
        """The fields common to all events of this desk."""

    def carry_over(self, position: float, average: float) -> None:
        """Starts with a position of an earlier run; it is closed at the time limit."""
        self.position, self.average, self.stop = position, average, math.inf

    def decide(self, view: View) -> None:
        """Decides whether to trade; called for each quote, and once a second."""
        now = time.monotonic()
        order = self.order
        if order is not None:
            if order.limit is not None and now - order.placed > ORDER_LIFETIME:
                self.broker.cancel(order)
        elif self.position:
            self._maybe_exit(view, now - self._since)
        elif view.count >= WARM_UP_QUOTES and now - self._since > COOLDOWN:
            intent = self.account.strategy.enter(view)
            if intent is not None:
                self.stop = STOP * view.deviation
                self._act(view, intent, self.contract.quantity(view.quote.mid), intent.side)

    def _maybe_exit(self, view: View, age: float) -> None:
        side = "buy" if self.position > 0 else "sell"
        loss = (self.average - view.quote.mid) * (1 if side == "buy" else -1)
        if loss >= self.stop:
            intent: Intent | None = Intent(other(side), "stop")
        elif age > MAX_HOLD:
            intent = Intent(other(side), "held too long")
        else:
            intent = self.account.strategy.exit(view, side, age)
        if intent is not None:
            self._act(view, intent, abs(self.position), "flat")

    def _act(self, view: View, intent: Intent, quantity: float, direction: str) -> None:
        quote = view.quote
        number = self.account.next_number()
        price = (quote.bid if intent.side == "buy" else quote.ask) if intent.is_passive else None
        self.account.recorder.signal(
            **self.at,
            signal_id=f"{number}-signal",
            direction=direction,
            strength=intent.strength,
            price=quote.mid,
            risk=None if direction == "flat" else self.risk(quantity, quote.mid),
            reason=intent.reason,
        )
        self.order = Order(self, number, f"{number}-signal", intent.side, quantity, price, quote.mid)
        self.broker.submit(self.order)

    def on_fill(self, order: Order, price: float, quantity: float, fee: float) -> None:
        """Applies a fill."""
        signed = quantity if order.side == "buy" else -quantity
        contract, account = self.contract, self.account
        if self.position * signed >= 0:
            self.average = contract.average(abs(self.position), self.average, quantity, price)
            if not self.position:
                self._since = time.monotonic()
        elif not contract.is_paid:
            account.cash += contract.gain(-signed, self.average, price)
        if contract.is_paid:
            account.cash -= contract.money(contract.value(signed, price), price)
        account.cash -= contract.money(fee, price)
        self.position += signed
        if abs(self.position) < 1e-9 * order.quantity:  # the rest is rounding
            self.position = 0.0
        self.report(price)

    def risk(self, quantity: float, price: float) -> float | None:
        """Money that is lost if the price moves by the stop; ``None`` without a stop."""
        if not math.isfinite(self.stop):
            return None
        units = quantity * self.contract.multiplier * self.stop
        return units if self.contract.pays_money else units / price

    def money_in(self, quantity: float, mark: float) -> float:
        """Value of a quantity, in money."""
        return self.contract.money(self.contract.value(quantity, mark), mark)

    def equity(self, mark: float) -> float:
        """The cash that the position adds to the account, in money."""
        if self.contract.is_paid:
            return self.money_in(self.position, mark)
        return self.contract.gain(self.position, self.average, mark)

    def fund(self, period: int, mark: float) -> None:
        """Pays the funding of a period, or receives it."""
        if not self.contract.funded_in:
            return
        amount = -FUNDING_RATE * self.contract.value(self.position, mark)
        self.account.cash += self.contract.money(amount, mark)
        self.account.recorder.cash(
            **self.at,
            cash_id=f"funding-{self.key[1]}-{period}",
            kind="funding",
            amount=amount,
            currency=self.contract.funded_in,
        )

    def on_done(self) -> None:
        """Forgets the finished order."""
        self.order = None
        if not self.position:
            self._since = time.monotonic()

    def report(self, mark: float) -> None:
        """Reports the position."""
        self.account.recorder.position(
            **self.at,
            quantity=self.position,
            average_price=self.average if self.position else None,
            mark_price=mark,
        )


class RequestDesk(Desk):
    """Trades one order request, and tells the recorder what became of it."""

    def __init__(
        self, account: Account, key: Key, broker: Broker, contract: Contract, request: OrderRequest
    ) -> None:
        super().__init__(account, key, broker, contract)
        self.request = request

    def start(self, view: View) -> None:
        """Sends the order of the request, which was begun."""
        body, mid = self.request.body, view.quote.mid
        self.order = Order(
            self,
            self.account.next_number(),
            body["signal_id"],
            body["side"],
            body["quantity"],
            body["limit_price"],
            mid,
            request_id=self.request.request_id,
        )
        self.broker.submit(self.order)

    def decide(self, view: View) -> None:  # noqa: ARG002 - the request has decided
        """Cancels the order if somebody asks for that."""
        if self.order is not None and self.request.cancel_requested:
            self.broker.cancel(self.order, self.request.cancel_reason or "cancelled by request")

    def on_done(self) -> None:
        """Tells the recorder."""
        order = self.order
        assert order is not None  # noqa: S101 - it ends once
        tell: Callable[[str], bool] = {
            "filled": lambda _: self.request.ack(order.order_id),
            "rejected": self.request.reject,
        }.get(order.state, self.request.cancelled)
        asyncio.get_running_loop().run_in_executor(None, tell, order.reason or "")
        super().on_done()
