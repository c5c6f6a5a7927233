"""Positions and results of a delivered day, offline: all messages known, by venue time, in exact numbers.

It shares no code with the product. Rules:

- A fill counts once for each strategy, contract, order and fill id, at its first arrival.
- Fills go in the order of their times; those of one nanosecond in the order of their arrival.
- Positions are carried at average cost. A contract is worth quantity times multiplier times price in its
  settlement currency; an inverse one quantity times multiplier over price.
- A fee in the base currency of a spot instrument leaves the position, and is a fee of that quantity at the
  price of the fill; all other fees are converted at the newest mid of their currency.
- A result is converted at the rate of the fill that realises it.
- Funding is a result of its strategy and of no round trip; a transfer is none.
- The regime of a round trip is the newest at its opening of its strategy, or else of the desk.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.pipeline.generated_day import BY_NAME, Contract, Message

HALF_CENT = Fraction("0.005")
Key = tuple[str, str]
"""(strategy, instrument)."""
OrderKey = tuple[str, str, str]
"""(strategy, instrument, order id)."""


def exact(value: float) -> Fraction:
    """The decimal number that a float stands for."""
    return Fraction(repr(value))


@dataclass
class Fill:
    """A counted fill, with the rates at its arrival."""

    message: Message
    arrival: int
    rate: Fraction
    fee: Fraction
    """In the account currency."""

    @property
    def contract(self) -> Contract:
        return BY_NAME[self.message["instrument"]]

    @property
    def price(self) -> Fraction:
        return exact(self.message["price"])

    @property
    def traded(self) -> Fraction:
        return exact(self.message["quantity"])

    @property
    def moved(self) -> Fraction:
        """Signed change of the position."""
        signed = self.traded if self.message["side"] == "buy" else -self.traded
        return signed - exact(self.message["fee"]) if self.is_base_fee else signed

    @property
    def is_base_fee(self) -> bool:
        contract = self.contract
        return contract.kind == "spot" and self.message.get("fee_currency") == contract.base

    def value(self, quantity: Fraction) -> Fraction:
        """Of a quantity at its price, in the settlement currency."""
        return value_at(self.contract, quantity, self.price)


def value_at(contract: Contract, quantity: Fraction, price: Fraction) -> Fraction:
    """Value of a quantity at a price, in the settlement currency."""
    units = quantity * exact(contract.multiplier)
    return units / price if contract.inverse else units * price


@dataclass
class RoundTrip:
    """A closed round trip; ``pnl`` and ``fees`` in the account currency."""

    strategy: str
    instrument: str
    opening: tuple[str, str]
    side: str
    opened_ns: int
    closed_ns: int
    entry_quantity: Fraction
    fills: int
    fees: Fraction
    pnl: Fraction
    risk: Fraction | None
    members: list[Fill]

    @property
    def r(self) -> Fraction | None:
        return self.pnl / self.risk if self.risk else None

    @property
    def sign(self) -> int:
        """1: won, -1: lost, 0: neither."""
        return 0 if abs(self.pnl) < HALF_CENT else (1 if self.pnl > 0 else -1)


@dataclass
class Open:
    """An open position at average cost."""

    quantity: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    """Value of the open quantity at entry, in the settlement currency; never negative."""
    first: Fill | None = None
    entered: Fraction = Fraction(0)
    fills: int = 0
    fees: Fraction = Fraction(0)
    gain: Fraction = Fraction(0)
    risk: Fraction | None = None
    members: list[Fill] = field(default_factory=list)

    def average_price(self, contract: Contract) -> Fraction:
        units = abs(self.quantity) * exact(contract.multiplier)
        return units / self.cost if contract.inverse else self.cost / units

    def unrealised(self, contract: Contract, mid: Fraction) -> Fraction:
        """In the settlement currency."""
        now = value_at(contract, abs(self.quantity), mid)
        gain = now - self.cost if self.quantity > 0 else self.cost - now
        return -gain if contract.inverse else gain


@dataclass
class Statistics:
    """Of round trips in their order of closing."""

    trips: list[RoundTrip] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """The figures that ``trades/stats`` answers under the same names."""
        trips = sorted(self.trips, key=lambda trip: trip.closed_ns)
        won = [t.pnl for t in trips if t.sign > 0]
        lost = [-t.pnl for t in trips if t.sign < 0]
        rs = [t.r for t in trips if t.r is not None]
        n = len(trips)
        rate = len(won) / n
        z = 1.959963984540054
        spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
        return {
            "trades": n,
            "wins": len(won),
            "losses": len(lost),
            "breakeven": n - len(won) - len(lost),
            "pnl": float(sum(t.pnl for t in trips)),
            "gross_profit": float(sum(won)),
            "gross_loss": float(sum(lost)),
            "fees": float(sum(t.fees for t in trips)),
            "win_rate": rate,
            "win_rate_lower": (rate + z * z / (2 * n) - spread) / (1 + z * z / n),
            "profit_factor": float(sum(won) / sum(lost)),
            "average_win": float(sum(won) / len(won)),
            "average_loss": -float(sum(lost) / len(lost)),
            "payoff_ratio": float(sum(won) / len(won) / (sum(lost) / len(lost))),
            "expectancy": float(sum(t.pnl for t in trips) / n),
            "r_trades": len(rs),
            "total_r": float(sum(rs)),
            "expectancy_r": float(sum(rs) / len(rs)),
        }

    def newest(self, number: int) -> Statistics:
        """Of the round trips that closed last."""
        return Statistics(sorted(self.trips, key=lambda trip: trip.closed_ns)[-number:])

    def streak(self) -> int:
        """Consecutive wins at the end, or losses if negative."""
        signs = [trip.sign for trip in sorted(self.trips, key=lambda trip: trip.closed_ns)]
        different = next((at for at, sign in enumerate(reversed(signs)) if sign != signs[-1]), len(signs))
        return signs[-1] * different


@dataclass
class Order:
    """One order as the delivered messages tell it."""

    updates: list[Message] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    last_mid: Fraction | None = None
    """Mid of the contract when its end was first reported."""
    last_rate: Fraction = Fraction(0)
    """Rate to the account currency at that time."""

    @property
    def first(self) -> Message | None:
        """The report of its submission, if one arrived."""
        return next((update for update in self.updates if update["state"] == "submitted"), None)

    @property
    def reason(self) -> str:
        """That of its newest end."""
        if self.state == "filled":
            return ""
        ends = [update for update in self.updates if update["state"] == self.state]
        return str(max(ends, key=lambda update: update["time_ns"]).get("reason", ""))

    @property
    def state(self) -> str:
        """All filled: filled. Else the final state, the newest; else by how far it came."""
        quantity = exact(self.updates[0]["quantity"])
        filled = sum(fill.traded for fill in self.fills)
        states = {update["state"] for update in self.updates}
        if filled >= quantity or "filled" in states:
            return "filled"
        final = [u for u in self.updates if u["state"] in ("cancelled", "rejected", "expired")]
        if final:
            newest = max(final, key=lambda update: update["time_ns"])
            return str(newest["state"])
        if "unresolved" in states:
            return "unresolved"
        if self.fills or "partially_filled" in states:
            return "partially_filled"
        return "accepted" if "accepted" in states else "submitted"


_ENDED = frozenset({"filled", "cancelled", "rejected", "expired"})


@dataclass
class Shortfall:
    """Perold's shortfall against the decision, in the account currency, and the value of the paper trades."""

    orders: int = 0
    delay: Fraction = Fraction(0)
    trading: Fraction = Fraction(0)
    opportunity: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    value: Fraction = Fraction(0)

    def add(self, contract: Contract, order: Order, decision: Fraction, arrival: Fraction) -> None:
        """Adds an order that has ended."""
        first = order.updates[0]
        sign = 1 if first["side"] == "buy" else -1
        ordered = exact(first["quantity"])
        filled = sum((fill.traded for fill in order.fills), Fraction(0))
        if order.state == "filled" and filled < ordered:
            return  # some of its fills have not arrived
        if filled < ordered and order.last_mid is None:
            return

        def gain(quantity: Fraction, start: Fraction, end: Fraction) -> Fraction:
            """The gain of a long position of this quantity from one price to another."""
            moved = value_at(contract, quantity, end) - value_at(contract, quantity, start)
            return -moved if contract.inverse else moved

        rest = ordered - filled
        rate = order.last_rate
        if filled:
            rate = sum((fill.traded * fill.rate for fill in order.fills), Fraction(0)) / filled
        self.orders += 1
        for fill in order.fills:
            self.delay += sign * gain(fill.traded, decision, arrival) * fill.rate
            self.trading += sign * gain(fill.traded, arrival, fill.price) * fill.rate
            self.fees += fill.fee
        if rest and order.last_mid is not None:
            self.opportunity += sign * gain(rest, decision, order.last_mid) * rate
        self.value += value_at(contract, ordered, decision) * rate

    def basis_points(self) -> dict[str, float]:
        """The parts in basis points of the paper trades, by the names of the metrics."""
        parts = ("delay", "trading", "opportunity", "fees")
        found = {f"shortfall_{name}_bps": getattr(self, name) / self.value * 10_000 for name in parts}
        return {name: float(part) for name, part in found.items()} | {
            "shortfall_bps": float(sum(found.values()))
        }


class Reference:
    """Positions, round trips, results, orders and shortfall of a day."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.mids: dict[str, Fraction] = {}
        self.orders: dict[OrderKey, Order] = defaultdict(Order)
        self.signals: dict[tuple[str, str], Message] = {}
        self.regimes: dict[str | None, list[tuple[int, str]]] = defaultdict(list)
        """Times and names by strategy; without one, of the desk."""
        self.fills: dict[tuple[str, ...], Fill] = {}
        self.flows: dict[tuple[str, str], Fraction] = {}
        """Results without a trade, by strategy and id, in the account currency."""
        for arrival, message in enumerate(messages):
            self._take(arrival, message)
        self.open: dict[Key, Open] = defaultdict(Open)
        self.trips: list[RoundTrip] = []
        self.realised: dict[str, Fraction] = defaultdict(Fraction)
        for (strategy, _), amount in self.flows.items():
            self.realised[strategy] += amount
        for fill in sorted(self.fills.values(), key=lambda fill: (fill.message["time_ns"], fill.arrival)):
            self._fold(fill)

    def rate(self, currency: str) -> Fraction:
        """Dollars for one unit of a currency, by the newest mids."""
        match currency:
            case "USD":
                return Fraction(1)
            case "EUR":
                return self.mids["EUR/USD"]
            case "JPY":
                return 1 / self.mids["USD/JPY"]
        return self.mids[f"{currency}-USD"]

    def _take(self, arrival: int, message: Message) -> None:
        kind = message["type"]
        if kind == "quote":
            self.mids[message["instrument"]] = (exact(message["bid"]) + exact(message["ask"])) / 2
        elif kind == "signal":
            self.signals[message["strategy"], message["signal_id"]] = message
        elif kind == "regime":
            self.regimes[message.get("strategy")].append((message["time_ns"], message["regime"]))
        elif kind == "cash":
            self._cash(message)
        elif kind == "order":
            order = self.orders[message["strategy"], message["instrument"], message["order_id"]]
            order.updates.append(message)
            if message["state"] in ("cancelled", "rejected", "expired") and order.last_mid is None:
                order.last_mid = self.mids[message["instrument"]]
                order.last_rate = self.rate(BY_NAME[message["instrument"]].settlement)
        elif kind == "fill":
            key = (message["strategy"], message["instrument"], message["order_id"], message["fill_id"])
            if key not in self.fills:
                self.fills[key] = fill = self._fill(arrival, message)
                self.orders[key[:3]].fills.append(fill)

    def _cash(self, message: Message) -> None:
        key = (message["strategy"], message["cash_id"])
        if message["kind"] != "transfer" and key not in self.flows:
            self.flows[key] = exact(message["amount"]) * self.rate(message["currency"])

    def _fill(self, arrival: int, message: Message) -> Fill:
        contract = BY_NAME[message["instrument"]]
        currency = message.get("fee_currency", contract.settlement)
        fill = Fill(message, arrival, self.rate(contract.settlement), Fraction(0))
        fill.fee = exact(message["fee"]) * (fill.price if fill.is_base_fee else self.rate(currency))
        return fill

    def _fold(self, fill: Fill) -> None:
        key = (fill.message["strategy"], fill.message["instrument"])
        held = self.open[key]
        moved = fill.moved
        if held.quantity * moved >= 0:
            self._enter(held, fill, moved, Fraction(1))
            return
        closing = min(abs(moved), abs(held.quantity))
        share = closing / abs(moved)
        part = held.cost * closing / abs(held.quantity)
        got = fill.value(closing)
        gain = got - part if held.quantity > 0 else part - got
        if fill.contract.inverse:
            gain = -gain
        result = gain * fill.rate - fill.fee * share
        self.realised[key[0]] += result
        held.gain += gain * fill.rate
        held.fees += fill.fee * share
        held.fills += 1
        held.members.append(fill)
        held.cost -= part
        held.quantity += closing if moved > 0 else -closing
        if held.quantity:
            return
        first = held.first
        assert first is not None
        self.trips.append(
            RoundTrip(
                *key,
                opening=(first.message["order_id"], first.message["fill_id"]),
                side=first.message["side"],
                opened_ns=first.message["time_ns"],
                closed_ns=fill.message["time_ns"],
                entry_quantity=held.entered,
                fills=held.fills,
                fees=held.fees,
                pnl=held.gain - held.fees,
                risk=held.risk,
                members=held.members,
            )
        )
        self.open[key] = Open()
        if abs(moved) > closing:
            left = moved - (closing if moved > 0 else -closing)
            self._enter(self.open[key], fill, left, 1 - share)

    def _enter(self, held: Open, fill: Fill, moved: Fraction, share: Fraction) -> None:
        held.first = held.first or fill
        held.quantity += moved
        held.entered += abs(moved)
        held.cost += fill.value(abs(moved))
        held.fees += fill.fee * share
        held.fills += 1
        held.members.append(fill)
        self.realised[fill.message["strategy"]] -= fill.fee * share
        if "risk" in fill.message and held.risk is None:
            held.risk = exact(fill.message["risk"])

    def statistics(self, strategy: str | None = None) -> dict[str, Any]:
        """Of all round trips, or those of one strategy."""
        return Statistics([t for t in self.trips if strategy in (None, t.strategy)]).figures()

    def regime(self, trip: RoundTrip) -> str:
        """The regime of a round trip; ``none``: none was reported before its opening."""
        for name in (trip.strategy, None):
            known = [regime for time_ns, regime in self.regimes[name] if time_ns <= trip.opened_ns]
            if known:
                return known[-1]
        return "none"

    def by_regime(self) -> dict[str, Statistics]:
        """Of the round trips of each regime; ``all``: of all of them."""
        found: dict[str, Statistics] = defaultdict(Statistics)
        for trip in self.trips:
            found["all"].trips.append(trip)
            found[self.regime(trip)].trips.append(trip)
        return found

    def ends(self, strategy: str) -> dict[tuple[str, str], int]:
        """Orders of a strategy that have ended, by state and reason; a filled order has none."""
        found: dict[tuple[str, str], int] = defaultdict(int)
        for (name, *_), order in self.orders.items():
            if name == strategy and order.updates and order.state in _ENDED:
                found[order.state, order.reason] += 1
        return found

    def is_simple(self, trip: RoundTrip) -> bool:
        """Whether its orders were reported and belong to no other round trip."""
        keys = {(trip.strategy, trip.instrument, fill.message["order_id"]) for fill in trip.members}
        orders = [self.orders[key] for key in keys]
        moved = sum((abs(fill.traded) for order in orders for fill in order.fills), Fraction(0))
        return moved == 2 * trip.entry_quantity and all(order.updates for order in orders)

    def shortfall(self, strategy: str, only: tuple[str, str] | None = None) -> Shortfall:
        """Of the orders of a strategy that have ended, and whose decision and submission are known.

        ``only``: of the one with this instrument and id.
        """
        total = Shortfall()
        for (name, instrument, order_id), order in self.orders.items():
            submitted = order.first
            if only not in (None, (instrument, order_id)):
                continue
            if name == strategy and submitted is not None and order.state in _ENDED:
                signal = self.signals.get((strategy, submitted.get("signal_id", "")))
                decision = submitted["decision_price"] if signal is None else signal["price"]
                total.add(BY_NAME[instrument], order, exact(decision), exact(submitted["arrival_price"]))
        return total

    def unrealised(self, strategy: str) -> Fraction:
        """Of the open positions of a strategy at the newest mids, in the account currency."""
        return sum(
            (
                held.unrealised(BY_NAME[instrument], self.mids[instrument])
                * self.rate(BY_NAME[instrument].settlement)
                for (name, instrument), held in self.open.items()
                if name == strategy and held.quantity
            ),
            Fraction(0),
        )

    def exposure(self, strategy: str) -> dict[str, Fraction]:
        """Signed value of the open positions of a strategy by contract, in the account currency."""
        found = {}
        for (name, instrument), held in self.open.items():
            if name == strategy and held.quantity:
                contract = BY_NAME[instrument]
                value = value_at(contract, held.quantity, self.mids[instrument])
                found[instrument] = value * self.rate(contract.settlement)
        return found
