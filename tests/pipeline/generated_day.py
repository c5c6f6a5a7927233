"""A generated trading day: orders of five strategies in six contracts, as a trading process reports them.

The day is simulated first, in venue time; then its messages are delivered as networks deliver them: some
reordered, some repeated (the same sequence, a new one, a new start of the process), some updates of orders
never. Quotes and regimes arrive in order. A message does not arrive after the next quotes of its contract,
except those of contracts in the account currency, which may arrive blocks later: so the rate of a fill is the
same by its time and by its arrival. One seed gives one day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeAlias

Message: TypeAlias = dict[str, Any]
"""An event as it travels in JSON."""

NS: Final = 1_000_000_000
VENUE: Final = "sim"
BLOCK_SECONDS: Final = 60
ORDERS_PER_BLOCK: Final = 40
SOURCE: Final = "generated"


@dataclass(frozen=True)
class Contract:
    """One instrument. Prices are multiples of the tick, quantities of the lot."""

    name: str
    kind: str
    base: str
    quote: str
    settlement: str
    price: float
    tick: float
    lot: float
    lots: int
    """Largest order in lots."""
    multiplier: float = 1.0
    inverse: bool = False

    def quantity(self, lots: int) -> float:
        """The quantity of a number of lots, as the nearest decimal number."""
        return round(lots * self.lot, 9)

    def definition(self, time_ns: int) -> Message:
        """The event that defines it."""
        return {
            "type": "instrument",
            "time_ns": time_ns,
            "venue": VENUE,
            "instrument": self.name,
            "kind": self.kind,
            "base_currency": self.base,
            "quote_currency": self.quote,
            "settlement_currency": self.settlement,
            "multiplier": self.multiplier,
            "inverse": self.inverse,
            "tick_size": self.tick,
            "lot_size": self.lot,
        }


CONTRACTS: Final = (
    Contract("BTC-USD", "spot", "BTC", "USD", "USD", 64_000.0, 0.5, 0.001, 900),
    Contract("ESZ6", "future", "ES", "USD", "USD", 5_600.0, 0.25, 1.0, 6, multiplier=50.0),
    Contract("FDAX", "future", "DAX", "EUR", "EUR", 18_400.0, 0.5, 1.0, 4, multiplier=25.0),
    Contract("USD/JPY", "fx", "USD", "JPY", "JPY", 152.5, 0.01, 1_000.0, 90),
    Contract("XBTUSD", "perpetual", "BTC", "USD", "BTC", 64_000.0, 0.5, 1.0, 400, 100.0, inverse=True),
    Contract("ETH-USD", "spot", "ETH", "USD", "USD", 3_200.0, 0.125, 0.01, 500),
)
EUR_USD: Final = Contract("EUR/USD", "fx", "EUR", "USD", "USD", 1.0875, 0.0001, 1_000.0, 10)
"""Quoted for its rate; nobody trades it."""
BY_NAME: Final = {contract.name: contract for contract in (*CONTRACTS, EUR_USD)}
STRATEGIES: Final = ("breakout", "carry", "mean-reversion", "pairs", "trend")
REGIMES: Final = ("range", "trend", "volatile")
_DOLLAR = frozenset(c.name for c in CONTRACTS if c.settlement == "USD")
_REJECTS = ("insufficient margin", "price out of band")
_FATES = ("filled", "partial", "cancelled", "rejected", "expired", "unresolved", "raced")
_FATE_WEIGHTS = (76, 7, 6, 4, 2, 2, 3)
_MOST_FILLS = 4
_MANY_LOTS = 20


@dataclass
class Day:
    """The reports that are sent."""

    start_ns: int
    batches: list[Message] = field(default_factory=list)
    """In the order of sending; one that is sent twice stands there twice."""
    orders: int = 0

    @property
    def delivered(self) -> Iterator[Message]:
        """Every message in order of its first arrival, without those of a batch that is sent again."""
        seen: set[tuple[int, int]] = set()
        for batch in self.batches:
            for place, message in enumerate(batch["events"], batch["first_sequence"]):
                if (batch["epoch"], place) not in seen:
                    seen.add((batch["epoch"], place))
                    yield message


@dataclass
class _Delivery:
    at_ns: float
    number: int
    message: Message


def _may_be_late(message: Message) -> bool:
    """Whether nothing about it depends on the quotes at its arrival."""
    if message.get("instrument") not in _DOLLAR:
        return False
    if message["type"] == "order":
        return message["state"] in ("submitted", "accepted", "partially_filled")
    return message["type"] == "fill" and "fee_currency" not in message


@dataclass
class _Order:
    identity: Message
    contract: Contract
    lots: int
    mid: float
    at_ns: int
    """Time of its newest message."""
    end_ns: int
    """Time of the next quotes."""
    risk: float | None = None

    @property
    def quantity(self) -> float:
        return self.contract.quantity(self.lots)


class _Simulation:
    def __init__(self, seed: int, orders: int, start_ns: int) -> None:
        self.random = Random(seed)
        self.orders = orders
        self.start_ns = start_ns
        self.deliveries: list[_Delivery] = []
        self.mids = {name: contract.price for name, contract in BY_NAME.items()}
        self.positions: dict[tuple[str, str], int] = {}
        """In lots, by strategy and contract."""
        self.numbers: dict[tuple[str, str], int] = {}
        self.quotes_due_ns = 0
        self.regime_random = Random(seed + 1)

    def send(self, message: Message, at_ns: float) -> None:
        self.deliveries.append(_Delivery(at_ns, len(self.deliveries), message))

    def run(self) -> None:
        for contract in BY_NAME.values():
            self.send(contract.definition(self.start_ns), self.start_ns)
        made = 0
        block = 0
        while made < self.orders:
            begin = self.start_ns + block * BLOCK_SECONDS * NS
            self.quotes(begin)
            self.regimes(begin, block)
            latest = (BLOCK_SECONDS - 12) * NS
            times = sorted(self.random.randrange(NS, latest) for _ in range(ORDERS_PER_BLOCK))
            for offset in times[: self.orders - made]:
                self.order(begin + offset, begin + BLOCK_SECONDS * NS)
                made += 1
            if block % 8 == 7:
                self.funding(begin + (BLOCK_SECONDS - 5) * NS, block)
            block += 1
        self.end_ns = self.start_ns + block * BLOCK_SECONDS * NS
        self.quotes(self.end_ns)

    def quotes(self, time_ns: int) -> None:
        for contract in BY_NAME.values():
            steps = round(self.random.gauss(0, 0.0004) * contract.price / contract.tick)
            mid = self.mids[contract.name] + steps * contract.tick
            self.mids[contract.name] = mid
            half = contract.tick * self.random.choice((1, 2))
            quote = {
                "type": "quote",
                "time_ns": time_ns,
                "venue": VENUE,
                "instrument": contract.name,
                "bid": mid - half,
                "ask": mid + half,
                "bid_size": 10.0,
                "ask_size": 10.0,
            }
            self.send(quote, time_ns)

    def regimes(self, time_ns: int, block: int) -> None:
        """Reports regimes in time: the desk's from the third block on, those of strategies later."""
        random = self.regime_random
        for first_block, strategy in ((2, None), (4, STRATEGIES[0]), (6, STRATEGIES[1])):
            if block >= first_block and random.random() < 0.4:
                message: Message = {"type": "regime", "time_ns": time_ns, "regime": random.choice(REGIMES)}
                self.send(message | ({"strategy": strategy} if strategy else {}), time_ns)

    def funding(self, time_ns: int, block: int) -> None:
        for strategy in STRATEGIES:
            if held := self.positions.get((strategy, "XBTUSD"), 0):
                message = {
                    "type": "cash",
                    "time_ns": time_ns,
                    "strategy": strategy,
                    "cash_id": f"funding-{block}",
                    "kind": "funding",
                    "amount": round(-held * 100 / self.mids["XBTUSD"] * self.random.uniform(-1e-4, 2e-4), 8),
                    "currency": "BTC",
                    "venue": VENUE,
                    "instrument": "XBTUSD",
                }
                self.deliver(message, time_ns + 4 * NS)
        if block % 16 == 15:
            transfer = {
                "type": "cash",
                "time_ns": time_ns,
                "strategy": self.random.choice(STRATEGIES),
                "cash_id": f"deposit-{block}",
                "kind": "transfer",
                "amount": 25_000.0,
                "currency": "USD",
            }
            self.deliver(transfer, time_ns + 4 * NS)

    def deliver(self, message: Message, end_ns: int, *, may_be_lost: bool = False) -> None:
        """Sends a message late, twice, or not at all; ``end_ns`` is the time of the next quotes."""
        random = self.random
        if may_be_lost and random.random() < 0.04:
            return
        at = message["time_ns"] + 1.0
        if random.random() < 0.3:
            at = random.uniform(at, end_ns - 1)
        if _may_be_late(message) and random.random() < 0.02:
            at += random.randrange(1, 6) * BLOCK_SECONDS * NS
        self.send(message, at)
        if random.random() < 0.05:
            self.send(message, random.uniform(at, at + 3 * BLOCK_SECONDS * NS))

    def order(self, time_ns: int, block_end_ns: int) -> None:
        random = self.random
        strategy, contract = random.choice(STRATEGIES), random.choice(CONTRACTS)
        held = self.positions.get((strategy, contract.name), 0)
        side, lots = self.wish(contract, held)
        number = self.numbers[strategy, contract.name] = self.numbers.get((strategy, contract.name), 0) + 1
        place = {"strategy": strategy, "venue": VENUE, "instrument": contract.name}
        # Numbered by contract and strategy: equal ids in two contracts are two orders.
        identity = {**place, "order_id": str(number), "side": side}
        mid = self.mids[contract.name]
        order = _Order(identity, contract, lots, mid, time_ns, block_end_ns)
        if not held and random.random() < 0.6:  # R is known of most
            order.risk = float(random.randrange(50, 2_000, 50))
        self.submit(order, place)
        fate = random.choices(_FATES, _FATE_WEIGHTS)[0]
        if fate == "rejected":
            self.update(order, "rejected", reason=random.choice(_REJECTS))
            return
        self.update(order, "accepted", may_be_lost=True)
        if fate in ("cancelled", "expired", "unresolved"):
            self.update(order, fate, reason="end of day" if fate == "expired" else "asked for")
            return
        if fate == "raced":  # the cancellation is confirmed, and the fills come in spite of it
            self.update(order, "cancelled", reason="asked for")
        filled = lots if fate != "partial" else random.randrange(0, lots)
        self.fill(order, filled)
        if fate == "partial":
            self.update(order, "cancelled", reason="asked for", filled_quantity=contract.quantity(filled))
        else:
            self.update(order, "filled", may_be_lost=fate != "raced", filled_quantity=order.quantity)

    def submit(self, order: _Order, place: Message) -> None:
        random = self.random
        decision = order.mid + random.randrange(-3, 4) * order.contract.tick
        decided_ns = order.at_ns - random.randrange(1_000, 400_000_000)
        known: Message = {"arrival_price": order.mid, "price": order.mid}
        if random.random() < 0.5:  # half with a signal
            signal_id = known["signal_id"] = f"{order.contract.name}-{order.identity['order_id']}"
            signal = {"type": "signal", "time_ns": decided_ns, **place, "signal_id": signal_id}
            self.send({**signal, "direction": order.identity["side"], "price": decision}, decided_ns)
        else:
            known |= {"decided_ns": decided_ns, "decision_price": decision}
        self.update(order, "submitted", may_be_lost=random.random() < 0.3, **known)

    def update(self, order: _Order, state: str, *, may_be_lost: bool = False, **more: Any) -> None:  # noqa: ANN401 - any field
        """Reports the next state of an order."""
        order.at_ns += self.random.randrange(1_000_000, 300_000_000)
        message = {"type": "order", "time_ns": order.at_ns, **order.identity, "quantity": order.quantity}
        self.deliver({**message, "state": state, **more}, order.end_ns, may_be_lost=may_be_lost)

    def wish(self, contract: Contract, held: int) -> tuple[str, int]:
        """Side and lots of the next order: opens, adds, reduces, closes or flips."""
        random = self.random
        if not held:
            return random.choice(("buy", "sell")), random.randrange(1, contract.lots + 1)
        closing = "sell" if held > 0 else "buy"
        what = random.choices(("add", "reduce", "close", "flip"), (15, 20, 50, 15))[0]
        if what == "add" and abs(held) < 3 * contract.lots:
            return ("buy" if held > 0 else "sell"), random.randrange(1, contract.lots + 1)
        if what == "flip":
            return closing, abs(held) + random.randrange(1, contract.lots + 1)
        if what == "reduce" and abs(held) > 1:
            return closing, random.randrange(1, abs(held))
        return closing, abs(held)

    def fill(self, order: _Order, lots: int) -> None:
        """Fills an order in up to four parts, sometimes all in one nanosecond."""
        random, contract = self.random, order.contract
        same_time = random.random() < 0.15
        time_ns = order.at_ns
        done = 0
        for place, part in enumerate(self.parts(lots), start=1):
            if place == 1 or not same_time:
                time_ns = order.at_ns = order.at_ns + random.randrange(1_000_000, 200_000_000)
            price = order.mid + random.randrange(-4, 5) * contract.tick
            message: Message = {
                "type": "fill",
                "time_ns": time_ns,
                **order.identity,
                "fill_id": str(place),
                "price": price,
                "quantity": contract.quantity(part),
                "liquidity": random.choice(("maker", "taker")),
            }
            if order.risk is not None and place == 1:
                message["risk"] = order.risk
            signed = part if order.identity["side"] == "buy" else -part
            signed -= self.charge(message, contract, part)
            key = (order.identity["strategy"], contract.name)
            self.positions[key] = self.positions.get(key, 0) + signed
            self.deliver(message, order.end_ns)
            done += part
            if done < order.lots:
                quantity = contract.quantity(done)
                self.update(order, "partially_filled", may_be_lost=True, filled_quantity=quantity)

    def parts(self, lots: int) -> list[int]:
        parts: list[int] = []
        while lots and len(parts) < _MOST_FILLS - 1:
            parts.append(self.random.randrange(1, lots + 1))
            lots -= parts[-1]
        return [*parts, lots] if lots else parts

    def charge(self, fill: Message, contract: Contract, lots: int) -> int:
        """Adds the fee to a fill; returns the lots that it takes from the position."""
        random, price, kind = self.random, fill["price"], self.random.random()
        value = fill["quantity"] * contract.multiplier * (1 / price if contract.inverse else price)
        if kind < 0.06 and contract.kind == "spot" and fill["side"] == "buy" and lots > _MANY_LOTS:
            fill |= {"fee": contract.lot, "fee_currency": contract.base}  # paid in what was bought
            return 1
        if kind < 0.12:
            fill |= {"fee": round(random.uniform(0.01, 0.3), 2), "fee_currency": "EUR"}
        elif kind < 0.2:
            fill |= {"fee": 0.0, "price": self.mids[contract.name]}
        elif fill["liquidity"] == "maker" and kind < 0.4:
            fill["fee"] = -round(value * 0.000005, 8)  # a rebate
        else:
            fill["fee"] = round(value * 0.00002, 8)
        return 0


def generate(seed: int, orders: int, start_ns: int) -> Day:
    """The day with this seed and number of orders, from a time on."""
    simulation = _Simulation(seed, orders, start_ns)
    simulation.run()
    random = simulation.random
    arriving = sorted(simulation.deliveries, key=lambda delivery: (delivery.at_ns, delivery.number))
    messages = [delivery.message for delivery in arriving]
    day = Day(start_ns, orders=orders)
    epoch, sequence, place = start_ns, 1, 0
    restart_at = len(messages) // 3
    while place < len(messages):
        size = random.choice((1, 7, 40, 150))
        events = messages[place : place + size]
        batch = {"source": SOURCE, "epoch": epoch, "first_sequence": sequence, "events": events}
        day.batches.append(batch)
        if random.random() < 0.04:
            day.batches.append(batch)
        place += len(events)
        sequence += len(events)
        if epoch == start_ns and place >= restart_at:
            # The trading process restarts, and sends its last orders and fills again with the same ids.
            newest = messages[max(0, place - 400) : place]
            again = [message for message in newest if message["type"] in ("order", "fill", "cash")]
            epoch, sequence = start_ns + 1, 1 + len(again)
            day.batches.append({"source": SOURCE, "epoch": epoch, "first_sequence": 1, "events": again})
    return day
