"""Figures from the database and the live state, compared with arithmetic over the fills that were sent.

The fills arrive through the real client and the API. Nothing here uses the code that computes the figures.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.system.collector import SystemCollector, SystemOptions
from decahertz.bus import samples_topic
from decahertz.clock import NS_PER_SECOND
from decahertz.collector import BaseCollector
from decahertz.event import AnyEvent, Fill, Liquidity, Order, OrderState, Quote, Regime, Risk, Side, Signal
from decahertz.health import Health
from decahertz.sample import SampleBatch, schema_of
from decahertz_client import Client
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Stack, wait_for
from tests.storage_examples import RECORDER

HOUR_NS = 3600 * NS_PER_SECOND


@dataclass(frozen=True)
class Trip:
    """A round trip: one fill in, one out."""

    strategy: str
    instrument: str
    sign: int
    quantity: float
    entry: float
    exit: float
    fees: tuple[float, float]
    risk: float | None
    opened_ns: int
    closed_ns: int

    @property
    def gain(self) -> float:
        return self.sign * self.quantity * (self.exit - self.entry)

    @property
    def pnl(self) -> float:
        return self.gain - sum(self.fees)

    @property
    def multiple(self) -> float | None:
        return self.pnl / self.risk if self.risk else None


def trips(now_ns: int) -> list[Trip]:
    """Sixty round trips, the last one just closed; one in an hour."""
    chosen = random.Random(7)
    made = []
    for number in range(60):
        closed_ns = now_ns - (59 - number) * HOUR_NS - NS_PER_SECOND
        entry = round(chosen.uniform(90, 110), 2)
        change = 0.0 if number % 13 == 0 else round(chosen.uniform(-3, 3.5), 2)
        free = number % 13 == 0
        made.append(
            Trip(
                strategy=chosen.choice(["trend", "mean"]),
                instrument=chosen.choice(["A", "B/C"]),
                sign=chosen.choice([1, -1]),
                quantity=float(chosen.randint(1, 5)),
                entry=entry,
                exit=entry + change,
                fees=(0.0, 0.0) if free else (0.25, 0.5),
                risk=10.0 if number % 3 else None,
                opened_ns=closed_ns - chosen.randint(1, 1800) * NS_PER_SECOND,
                closed_ns=closed_ns,
            )
        )
    return made


async def send(stack: Stack, made: list[Trip]) -> None:
    """Through the client, as a trading process does."""
    client = Client(stack.api.url, source="bot")
    for number, trip in enumerate(made):
        sides = ("buy", "sell") if trip.sign > 0 else ("sell", "buy")
        for leg, time_ns in enumerate((trip.opened_ns, trip.closed_ns)):
            assert client.fill(
                strategy=trip.strategy,
                venue="SIM",
                instrument=trip.instrument,
                order_id=f"o{number}",
                fill_id=f"f{leg}",
                side=sides[leg],
                price=(trip.entry, trip.exit)[leg],
                quantity=trip.quantity,
                fee=trip.fees[leg],
                risk=trip.risk if leg == 0 else None,
                time_ns=time_ns,
            )
    await asyncio.to_thread(client.close)
    await stack.all_stored()


def wilson(wins: int, n: int) -> float:
    z, share = 1.959963984540054, wins / n
    centre = share + z * z / (2 * n)
    return (centre - z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def check(found: dict[str, Any], made: list[Trip]) -> None:
    """Compares statistics with those of these round trips, in order of closing."""
    pnl = [trip.pnl for trip in made]
    wins, losses = [p for p in pnl if p > 0], [p for p in pnl if p < 0]
    multiples = [trip.multiple for trip in made if trip.multiple is not None]
    expected = {
        "trades": len(made),
        "wins": len(wins),
        "losses": len(losses),
        "breakeven": len(pnl) - len(wins) - len(losses),
        "unusable": 0,
        "pnl": math.fsum(pnl),
        "gross_profit": math.fsum(wins),
        "gross_loss": -math.fsum(losses),
        "fees": math.fsum(fee for trip in made for fee in trip.fees),
        "win_rate": len(wins) / len(pnl),
        "win_rate_lower": wilson(len(wins), len(pnl)),
        "profit_factor": math.fsum(wins) / -math.fsum(losses),
        "expectancy": math.fsum(pnl) / len(pnl),
        "average_win": math.fsum(wins) / len(wins),
        "average_loss": math.fsum(losses) / len(losses),
        "payoff_ratio": (math.fsum(wins) / len(wins)) / (-math.fsum(losses) / len(losses)),
        "largest_win": max(wins),
        "largest_loss": min(losses),
        "average_open_seconds": math.fsum(t.closed_ns - t.opened_ns for t in made) / len(made) / 1e9,
        "r_trades": len(multiples),
        "total_r": math.fsum(multiples),
        "expectancy_r": math.fsum(multiples) / len(multiples),
        "average_win_r": _mean([m for m in multiples if m > 0]),
        "average_loss_r": _mean([m for m in multiples if m < 0]),
        "first_closed_ns": made[0].closed_ns,
        "last_closed_ns": made[-1].closed_ns,
        **_streaks(pnl),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["reasons"] == {}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _streaks(pnl: list[float]) -> dict[str, int]:
    run, longest = 0, {1: 0, -1: 0}
    for amount in pnl:
        sign = (amount > 0) - (amount < 0)
        run = 0 if not sign else run + sign if run * sign > 0 else sign
        if sign:
            longest[sign] = max(longest[sign], abs(run))
    return {"streak": run, "longest_winning_streak": longest[1], "longest_losing_streak": longest[-1]}


async def test_statistics_and_pnl_are_those_of_the_fills(stored: Stack, stored_caller: Caller) -> None:
    ask = stored_caller.get
    made = trips(stored.clock.time_ns())
    await send(stored, made)
    check((await ask("trades/stats")).body, made)
    for name in ("trend", "mean"):
        check((await ask(f"trades/stats?strategy={name}")).body, [t for t in made if t.strategy == name])
    short = [t for t in made if t.sign < 0 and t.instrument == "B/C"]
    check((await ask("trades/stats?side=sell&instrument=B/C")).body, short)
    middle = made[10:50]
    span = f"start={middle[0].closed_ns}&end={middle[-1].closed_ns + 1}"
    check((await ask(f"trades/stats?{span}")).body, middle)

    answer = (await ask("performance?window=20")).body
    assert answer["window"] == 20
    check(answer["overall"], made[-20:])
    assert [item["strategy"] for item in answer["strategies"]] == ["mean", "trend"]
    for item in answer["strategies"]:
        check(item["statistics"], [t for t in made if t.strategy == item["strategy"]][-20:])
    earlier = (await ask(f"performance?window=15&end={made[30].closed_ns}")).body
    check(earlier["overall"], made[15:30])
    # The number of items of a list is in its statistics.
    listed = [trip for page in await stored_caller.pages("trades?limit=50") for trip in page]
    assert len(listed) == len(made)

    report = (await ask("pnl")).body
    now = datetime.fromtimestamp(report["time_ns"] // NS_PER_SECOND, UTC)
    check_pnl(report["overall"], made, now)
    assert [item["strategy"] for item in report["strategies"]] == ["mean", "trend"]
    for item in report["strategies"]:
        check_pnl(item, [t for t in made if t.strategy == item["strategy"]], now)
        assert item["equity"] is None
        assert item["reasons"] == {"equity": "the strategy reports no equity"}

    status = (await ask("system/status")).body
    today = [t.multiple for t in made if is_in(t.closed_ns, now.date()) and t.multiple is not None]
    assert status["daily_r_trades"] == len(today)
    assert (status["daily_r"] or 0) == pytest.approx(math.fsum(today))
    last = max(made, key=lambda trip: trip.closed_ns)
    assert status["active_strategy"] in {"trend", "mean"}
    assert (status["state"], status["can_trade"], status["objections"]) == ("active", True, [])
    assert (status["regime"], last.closed_ns < status["time_ns"]) == (None, True)
    assert "regime" in status["reasons"]


def is_in(time_ns: int, day: object) -> bool:
    return datetime.fromtimestamp(time_ns // NS_PER_SECOND, UTC).date() == day


def check_pnl(found: dict[str, Any], made: list[Trip], now: datetime) -> None:
    """Realised P&L by the day of the fill: the fee of the entry at the entry, all else at the exit."""
    by_day: dict[object, float] = defaultdict(float)
    for trip in made:
        for time_ns, amount in ((trip.opened_ns, -trip.fees[0]), (trip.closed_ns, trip.gain - trip.fees[1])):
            by_day[datetime.fromtimestamp(time_ns // NS_PER_SECOND, UTC).date()] += amount
    monday = now.date() - timedelta(days=now.weekday())
    days = {day: amount for day, amount in by_day.items() if isinstance(day, type(monday))}
    expected = {
        "daily": days.get(now.date(), 0.0),
        "weekly": math.fsum(amount for day, amount in days.items() if day >= monday),
        "monthly": math.fsum(amount for day, amount in days.items() if day >= now.date().replace(day=1)),
        "realised": math.fsum(trip.pnl for trip in made),
        "unrealised": 0.0,
        "total": math.fsum(trip.pnl for trip in made),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert (found["fills"], found["trades"], found["open_positions"]) == (2 * len(made), len(made), 0)


async def test_statistics_without_round_trips_are_null_and_say_why(
    stored: Stack, stored_caller: Caller
) -> None:
    empty = (await stored_caller.get("trades/stats")).body
    assert (empty["trades"], empty["pnl"], empty["win_rate"], empty["profit_factor"]) == (0, 0.0, None, None)
    assert empty["reasons"]["win_rate"] == empty["reasons"]["profit_factor"] == "there is no round trip"
    now_ns = stored.clock.time_ns()
    times = {"opened_ns": now_ns - 2 * NS_PER_SECOND, "closed_ns": now_ns - NS_PER_SECOND}
    await send(stored, [Trip("one", "A", 1, 1.0, 10.0, 12.0, (0.0, 0.0), None, **times)])
    single = (await stored_caller.get("trades/stats")).body
    assert (single["win_rate"], single["profit_factor"], single["expectancy_r"]) == (1.0, None, None)
    assert single["reasons"]["profit_factor"] == "there is no losing round trip"
    assert single["reasons"]["expectancy_r"] == "no round trip has a known initial risk"
    assert single["win_rate_lower"] == pytest.approx(wilson(1, 1))
    for path in ("performance?strategy=nobody", "trades/stats?strategy=nobody"):
        (await stored_caller.get(path)).problem("unknown-name")
    assert (await stored_caller.get("performance?end=1")).body["strategies"] == []
    for path in ("trades/stats?start=2&end=1", "execution/quality?start=2&end=1"):
        (await stored_caller.get(path)).problem("invalid-parameter")


@dataclass(frozen=True)
class Life:
    """An order with its times in milliseconds after its signal, and its outcome."""

    number: int
    submit: int
    ack: int | None
    fill: int | None
    state: OrderState
    side: Side
    quantity: float
    decision: float
    arrival: float
    price: float

    def events(self, start_ns: int) -> list[AnyEvent]:
        base = start_ns + self.number * NS_PER_SECOND
        key = {"strategy": "trend", "venue": "SIM", "instrument": "A"}
        order = {**key, "order_id": f"o{self.number}", "side": self.side, "quantity": self.quantity}

        def at(offset: int) -> int:
            return base + offset * 1_000_000

        signal_id = f"s{self.number}"
        events: list[AnyEvent] = [
            Signal(time_ns=base, signal_id=signal_id, direction=self.side.value, price=self.decision, **key),  # type: ignore[arg-type]
            Order(
                time_ns=at(self.submit),
                state=OrderState.SUBMITTED,
                arrival_price=self.arrival,
                signal_id=signal_id,
                **order,  # type: ignore[arg-type]
            ),
        ]
        if self.ack is not None:
            events.append(Order(time_ns=at(self.ack), state=OrderState.ACCEPTED, **order))  # type: ignore[arg-type]
        if self.fill is not None:
            filled = Fill(
                time_ns=at(self.fill),
                fill_id="1",
                price=self.price,
                fee=0.5,
                liquidity=Liquidity.MAKER if self.number % 2 else Liquidity.TAKER,
                **order,  # type: ignore[arg-type]
            )
            events += [filled, filled]  # reported twice
        if self.state is not OrderState.ACCEPTED:
            events.append(Order(time_ns=at(900), state=self.state, **order))  # type: ignore[arg-type]
        return events


def lives() -> list[Life]:
    chosen = random.Random(11)
    states = [OrderState.FILLED] * 5 + [OrderState.CANCELLED, OrderState.REJECTED, OrderState.ACCEPTED]
    made = []
    for number in range(40):
        state = chosen.choice(states)
        submit = chosen.randint(1, 50)
        ack = None if state is OrderState.REJECTED else submit + chosen.randint(1, 80)
        fill = (ack or 0) + chosen.randint(1, 400) if state is OrderState.FILLED else None
        decision = round(chosen.uniform(99, 101), 3)
        made.append(
            Life(
                number=number,
                submit=submit,
                ack=ack,
                fill=fill,
                state=state,
                side=chosen.choice([Side.BUY, Side.SELL]),
                quantity=float(chosen.randint(1, 9)),
                decision=decision,
                arrival=decision + 0.01,
                price=round(chosen.uniform(99, 101), 3),
            )
        )
    return made


def nearest_rank(values: list[float], share: float) -> float:
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def check_quality(item: dict[str, Any], made: list[Life]) -> None:
    count = {state: sum(life.state is state for life in made) for state in OrderState}
    finished = len(made) - count[OrderState.ACCEPTED]
    filled = [life for life in made if life.fill is not None]
    assert (item["submitted"], item["finished"], item["open"]) == (len(made), finished, len(made) - finished)
    assert item["filled"] == count[OrderState.FILLED]
    assert item["fill_ratio"] == pytest.approx(count[OrderState.FILLED] / finished)
    assert item["cancel_ratio"] == pytest.approx(count[OrderState.CANCELLED] / finished)
    assert item["reject_ratio"] == pytest.approx(count[OrderState.REJECTED] / finished)
    assert (item["fills"], item["commissions"]) == (len(filled), 0.5 * len(filled))
    values = [(life.price * life.quantity, life.number % 2) for life in filled]
    maker = math.fsum(value for value, is_maker in values if is_maker)
    assert item["maker_ratio"] == pytest.approx(maker / math.fsum(value for value, _ in values))
    legs = {
        "signal_to_submit": [life.submit for life in made],
        "submit_to_ack": [life.ack - life.submit for life in made if life.ack is not None],
        "ack_to_fill": [life.fill - (life.ack or 0) for life in filled if life.fill is not None],
        "submit_to_fill": [life.fill - life.submit for life in filled if life.fill is not None],
        "submit_to_last_fill": [
            life.fill - life.submit
            for life in filled
            if life.fill is not None and life.state is not OrderState.ACCEPTED
        ],
    }
    for leg, milliseconds in legs.items():
        seconds = [one / 1000 for one in milliseconds]
        assert item[leg]["n"] == len(seconds)
        assert item[leg]["p50"] == pytest.approx(nearest_rank(seconds, 0.5)), leg
        assert item[leg]["p99"] == pytest.approx(nearest_rank(seconds, 0.99)), leg
    for name in ("decision", "arrival"):
        cost = weight = 0.0
        for life in filled:
            reference = getattr(life, name)
            sign = 1 if life.side is Side.BUY else -1
            cost += sign * life.quantity * (life.price - reference)
            weight += life.quantity * reference
        assert item[f"slippage_{name}"]["n"] == len(filled)
        assert item[f"slippage_{name}"]["mean"] == pytest.approx(cost / weight * 10_000)
    assert item["reasons"].keys() == {"queue", "limiter", "markouts"}
    # Only filled orders: the mid at the end of the others is not known.
    paper = math.fsum(life.quantity * life.decision for life in filled)
    signs = [1 if life.side is Side.BUY else -1 for life in filled]
    pairs = list(zip(signs, filled, strict=True))
    parts = {
        "delay": math.fsum(sign * life.quantity * (life.arrival - life.decision) for sign, life in pairs),
        "trading": math.fsum(sign * life.quantity * (life.price - life.arrival) for sign, life in pairs),
        "opportunity": 0.0,
        "fees": 0.5 * len(filled),
    }
    shortfall = item["shortfall"]
    assert shortfall["n"] == len(filled)
    for name, money in parts.items():
        assert shortfall[name] == pytest.approx(money / paper * 10_000), name
    assert shortfall["total"] == pytest.approx(math.fsum(parts.values()) / paper * 10_000)


async def test_quality_of_stored_orders_is_that_of_their_events(stored: Stack, stored_caller: Caller) -> None:
    made = lives()
    await stored.emit(*(event for life in made for event in life.events(START_NS)))
    await stored.all_stored()
    answer = (await stored_caller.get(f"execution/quality?start={START_NS}")).body
    assert answer["basis"] == "stored"
    (item,) = answer["items"]
    assert (item["strategy"], item["venue"]) == ("trend", "SIM")
    check_quality(item, made)
    span = f"start={START_NS + 5 * NS_PER_SECOND}&end={START_NS + 30 * NS_PER_SECOND}"
    check_quality((await stored_caller.get(f"execution/quality?{span}")).body["items"][0], made[5:30])
    assert (await stored_caller.get(f"execution/quality?{span}&venue=other")).body["items"] == []


MARKET = """
CREATE TABLE market_samples (
    time timestamptz, recorder text, venue text, instrument text, mid double precision
)
"""


async def test_costs_and_markouts_of_stored_orders_are_those_worked_by_hand(
    stored: Stack, stored_caller: Caller
) -> None:
    """The purchase of tests/collectors/test_execution.py: 1,000 wanted at 50.00, of which 800 are filled.

    Delay 800 * 0.10 = 80, trading 600 * 0.10 + 200 * 0.30 = 120, opportunity 200 * 0.50 = 100, fees 16: 316
    of 50,000. Markouts after 1 s: (50.30 - 50.20) / 50.20 of 30,120 and (50.50 - 50.40) / 50.40 of 10,080.
    """
    base = START_NS

    def at(seconds: float) -> int:
        return base + round(seconds * NS_PER_SECOND)

    key: dict[str, Any] = {"strategy": "trend", "venue": "SIM", "instrument": "X", "order_id": "1"}
    key |= {"side": Side.BUY}
    events: list[AnyEvent] = [
        Order(
            time_ns=at(2), state=OrderState.SUBMITTED, quantity=1000, decision_price=50.0, decided_ns=at(1),
            queue_seconds=0.25, **key,
        ),
        Fill(time_ns=at(3), fill_id="1", price=50.20, quantity=600, fee=12, **key),
        Fill(time_ns=at(4), fill_id="2", price=50.40, quantity=200, fee=4, **key),
        Order(time_ns=at(5), state=OrderState.CANCELLED, quantity=1000, **key),
    ]  # fmt: skip
    async with stored.database.query() as connection:
        await connection.execute(MARKET)
        for seconds, mid in ((1.9, 50.1), (2.5, 50.15), (4.0, 50.30), (5.0, 50.5), (5.1, 70.0)):
            await connection.execute(
                "INSERT INTO market_samples VALUES (to_timestamp($1), $2, 'SIM', 'X', $3)",
                at(seconds) / NS_PER_SECOND,
                RECORDER,
                mid,
            )
    try:
        await stored.emit(*events)
        await stored.all_stored()
        (item,) = (await stored_caller.get(f"execution/quality?start={base}")).body["items"]
    finally:
        async with stored.database.query() as connection:
            await connection.execute("DROP TABLE market_samples")
    parts = {"delay": 16, "trading": 24, "opportunity": 20, "fees": 3.2, "total": 63.2}
    assert item["shortfall"] == pytest.approx({"n": 1, **parts})
    assert (item["signal_to_submit"]["p50"], item["queue"]["p99"]) == (1.0, 0.25)
    found = {one["horizon"]: (one["n"], one["mean"]) for one in item["markouts"]}
    expected = (600 * 0.10 + 200 * 0.10) / (600 * 50.20 + 200 * 50.40) * 10_000
    assert found["1s"] == (2, pytest.approx(expected))
    assert found["5m"] == (0, None)
    # The rest is filled late at 50.50: the order is filled, and nothing was missed.
    await stored.emit(Fill(time_ns=at(7), fill_id="3", price=50.50, quantity=200, fee=4, **key))
    await stored.all_stored()
    (item,) = (await stored_caller.get(f"execution/quality?start={base}")).body["items"]
    assert (item["filled"], item["cancelled"], item["conflicts"]) == (1, 0, 1)


def publish(stack: Stack, collector: BaseCollector[Any], events: list[AnyEvent], now_ns: int) -> None:
    """Publishes the samples of a collector after these events."""
    for event in events:
        collector.on_event(event, now_ns)
    schema = schema_of(collector.sample_type)
    batch = SampleBatch(schema, now_ns, tuple(collector.sample(now_ns)))
    stack.bus.publish(samples_topic(schema.collector), batch)


async def test_quality_of_the_present_is_that_of_the_newest_sample(stack: Stack, caller: Caller) -> None:
    made = lives()
    collector = ExecutionCollector(stack.clock, ExecutionOptions())
    events = [event for life in made for event in life.events(START_NS)]
    publish(stack, collector, events, stack.clock.time_ns())
    answer = (await caller.get("execution/quality")).body
    assert answer["basis"] == "live"
    check_quality(answer["items"][0], made)
    assert (await caller.get("execution/quality?venue=elsewhere")).body["items"] == []
    (await caller.get("execution/quality?recorder=other")).problem("invalid-parameter")


async def test_the_status_names_everything_that_speaks_against_trading(stack: Stack, caller: Caller) -> None:
    idle = (await caller.get("system/status")).body
    assert (idle["state"], idle["can_trade"], idle["active_strategy"]) == ("idle", True, None)
    await stack.emit(
        Regime(time_ns=START_NS, regime="calm", strategy="trend"),
        Regime(time_ns=START_NS + 1, regime="crash"),
    )
    now_ns = stack.clock.time_ns()
    limit = Risk(
        time_ns=START_NS, name="daily_loss", strategy="trend", value=-120.0, limit=100.0, breached=True
    )
    publish(stack, RiskCollector(stack.clock, RiskOptions()), [limit], now_ns)
    halted = (await caller.get("system/status")).body
    assert (halted["state"], halted["can_trade"], halted["regime"]) == ("halted", False, "crash")
    assert halted["objections"] == ["risk limit breached: daily_loss of trend is -120, its limit 100"]
    assert [(s["strategy"], s["regime"]) for s in halted["strategies"]] == [("trend", "calm")]
    stack.fail("writer", Health.FAILED)
    assert "writer has failed: for a test" in (await caller.get("system/status")).body["objections"]
    assert (await caller.get("system/components")).body["health"] == "failed"


async def test_the_health_of_the_machine_is_that_of_the_newest_sample(stack: Stack, caller: Caller) -> None:
    none = (await caller.get("system/health")).body
    assert (none["host"], none["health"]) == (None, "ok")
    assert none["reasons"]["host"] == "the collector system has no sample"
    collector = SystemCollector(stack.clock, SystemOptions(host="box", fast_seconds=0.01))
    await collector.start()
    try:
        await wait_for(lambda: list(collector.sample(stack.clock.time_ns())), "the machine was read")
        publish(stack, collector, [], stack.clock.time_ns() + NS_PER_SECOND)
    finally:
        await collector.stop()
    answer = (await caller.get("system/health")).body
    assert answer["host"] == "box"
    assert answer["values"]["uptime_seconds"] >= 0
    readings = {reading["alert"]: reading for reading in answer["readings"]}
    assert readings["CpuHigh"]["value"] == answer["values"]["cpu_ratio"]
    assert readings["MemoryHigh"]["name"] == "memory_used_ratio"


async def test_performance_of_the_process_counts_its_requests(caller: Caller) -> None:
    for _ in range(5):
        await caller.get("ping")
    answer = (await caller.get("system/performance")).body
    ping = next(item for item in answer["routes"] if item["route"] == "/api/v1/ping")
    assert ping["requests"] == 5
    assert 0 < ping["mean_seconds"] <= ping["p99_seconds"]
    assert answer["process"]["cycles"] == 0


async def test_the_summary_of_metrics_has_the_range_over_all_keys(stack: Stack, caller: Caller) -> None:
    empty = (await caller.get("metrics/summary?collector=desk")).body["collectors"]
    assert (empty[0]["keys"], empty[0]["time_ns"], empty[0]["metrics"]) == (0, None, [])
    time_ns = stack.publish_cycle(3, ["A", "B", "C"])
    (probe,) = (await caller.get("metrics/summary?collector=probe")).body["collectors"]
    assert (probe["keys"], probe["time_ns"]) == (3, time_ns)
    ticks = next(metric for metric in probe["metrics"] if metric["name"] == "ticks")
    assert (ticks["n"], ticks["min"], ticks["max"], ticks["mean"], ticks["sum"]) == (3, 3, 3, 3, 9)
    (await caller.get("metrics/summary?collector=none")).problem("invalid-parameter")


async def test_an_open_position_has_unrealised_pnl_or_a_reason(stack: Stack, caller: Caller) -> None:
    bought = Fill(
        time_ns=START_NS,
        strategy="trend",
        venue="SIM",
        instrument="A",
        order_id="o",
        fill_id="1",
        side=Side.BUY,
        price=10.0,
        quantity=3.0,
    )
    await stack.emit(bought)
    unknown = (await caller.get("pnl")).body["overall"]
    assert (unknown["realised"], unknown["unrealised"], unknown["total"]) == (0.0, None, None)
    assert unknown["reasons"]["total"] == "trend: no quote and no reported mark price"
    await stack.emit(Quote(time_ns=START_NS, venue="SIM", instrument="A", bid=11.0, ask=13.0))
    known = (await caller.get("pnl?strategy=trend")).body["overall"]
    assert (known["unrealised"], known["total"], known["open_positions"]) == (6.0, 6.0, 1)
