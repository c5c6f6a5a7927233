"""A generated day through the whole product, next to a simple offline reference, across ``kill -9``.

500 orders in every run, 10,000 with scripts/soak. Every figure comes from the API of a real process with a
real database; :mod:`tests.pipeline.day_reference` computes it from the messages, without the product's code.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
import pytest

from tests.pipeline.day_reference import Reference
from tests.pipeline.generated_day import (
    BLOCK_SECONDS,
    BY_NAME,
    NS,
    ORDERS_PER_BLOCK,
    Day,
    Message,
    generate,
)
from tests.pipeline.running import IS_LONG, RunningDecahertz, environment, running, wait_until

ORDERS = 10_000 if IS_LONG else 500
SEED = 20260302
LIVE_FIGURES = (
    "trades", "pnl", "win_rate", "win_rate_lower", "profit_factor", "payoff_ratio", "expectancy", "r_trades",
    "expectancy_r",
)  # fmt: skip
_SETTINGS = {
    "DECAHERTZ_COLLECTORS_EXECUTION_WINDOW_SECONDS": "86400",
    "DECAHERTZ_COLLECTORS_EXECUTION_WINDOW_SIZE": "100000",
    "DECAHERTZ_COLLECTORS_EXECUTION_FINISHED_SECONDS": "86400",
}


def send(decahertz: RunningDecahertz, batches: Iterable[Message]) -> None:
    """Sends batches in their order, each durable before the next one."""
    for batch in batches:
        request = urllib.request.Request(  # noqa: S310 - our own
            f"{decahertz.api}/api/v1/events",
            data=msgspec.json.encode(batch),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own
            answer.read()


def until_stored(decahertz: RunningDecahertz) -> None:
    """Waits until the database has everything."""

    def is_stored() -> bool:
        streams = decahertz.get("/api/v1/ledger")["streams"]
        return all(s["spooled"] == 0 for s in streams if s["stream"].startswith("events"))

    wait_until("the database to have everything", 120, is_stored)
    stored_ns = time.time_ns()
    wait_until("samples of everything", 10, lambda: is_sampled(decahertz, stored_ns))


def is_sampled(decahertz: RunningDecahertz, since_ns: int) -> bool:
    """Whether each collector has sampled since a time."""
    newest: dict[str, int] = {}
    for item in decahertz.get("/api/v1/metrics/current")["items"]:
        newest[item["collector"]] = max(item["time_ns"], newest.get(item["collector"], 0))
    return "portfolio" in newest and min(newest.values()) > since_ns


class Comparison:
    """Collects what differs."""

    def __init__(self) -> None:
        self.compared = 0
        self.differences: list[str] = []

    def same(self, what: object, found: object, expected: object) -> None:
        self.compared += 1
        if found != expected:
            self.differences.append(f"{what}: {found!r} instead of {expected!r}")

    def close(self, what: object, found: float | None, expected: float, rel: float = 1e-7) -> None:
        self.compared += 1
        if found is None or found != pytest.approx(expected, rel=rel, abs=1e-6):
            self.differences.append(f"{what}: {found!r} instead of {expected!r}")

    def keys(self, what: object, found: Iterable[Any], expected: Iterable[Any]) -> list[Any]:
        """Compares two sets of keys; returns those in both."""
        one, other = set(found), set(expected)
        self.compared += len(other)
        self.differences += [f"{what}: {key} is missing" for key in sorted(other - one)]
        self.differences += [f"{what}: {key} should not be" for key in sorted(one - other)]
        return sorted(one & other)


def check(decahertz: RunningDecahertz, reference: Reference) -> None:
    """Compares everything that the reference knows."""
    comparison = Comparison()
    for compare in (positions, round_trips, statistics, portfolio, results, orders, shortfall):
        compare(comparison, decahertz, reference)
    wait_until("the costs of all orders to be stored", 300, lambda: not is_any_due(decahertz))
    for compare in (stored_costs, costs_of_orders, costs_of_round_trips):
        compare(comparison, decahertz, reference)
    found = comparison.differences
    assert not found, f"{len(found)} of {comparison.compared} differ:\n" + "\n".join(found[:200])


def is_any_due(decahertz: RunningDecahertz) -> bool:
    """Whether the costs of an order that has ended are not stored yet."""
    with psycopg.connect(decahertz.database) as connection:
        row = connection.execute("SELECT EXISTS (SELECT FROM orders WHERE quality_due_ns = 0)").fetchone()
    return row is not None and bool(row[0])


def positions(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    items = decahertz.get("/api/v1/positions")["items"]
    found = {(p["strategy"], p["instrument"]): p for p in items if p["quantity"]}
    expected = {key: held for key, held in reference.open.items() if held.quantity}
    for key in comparison.keys("position", found, expected):
        contract, held, position = BY_NAME[key[1]], expected[key], found[key]
        what = ("position", *key)
        comparison.close((*what, "quantity"), position["quantity"], float(held.quantity))
        average = float(held.average_price(contract))
        comparison.close((*what, "average"), position["average_price"], average)
        open_pnl = held.unrealised(contract, reference.mids[contract.name])
        open_pnl *= reference.rate(contract.settlement)
        comparison.close((*what, "unrealised"), position["unrealised_pnl"], float(open_pnl))


def round_trips(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    names = ("strategy", "instrument", "opened_ns", "closed_ns")
    found = {tuple(t[name] for name in names): t for t in decahertz.get_all("trades")}
    expected = {(t.strategy, t.instrument, t.opened_ns, t.closed_ns): t for t in reference.trips}
    assert len(expected) == len(reference.trips)
    for key in comparison.keys("round trip", found, expected):
        trip, stored = expected[key], found[key]
        what = ("round trip", *key)
        comparison.same((*what, "side and fills"), (stored["side"], stored["fills"]), (trip.side, trip.fills))
        comparison.close((*what, "quantity"), stored["quantity"], float(trip.entry_quantity))
        comparison.close((*what, "pnl"), stored["pnl"], float(trip.pnl))
        comparison.close((*what, "fees"), stored["fees"], float(trip.fees))
        if trip.r is None:
            comparison.same((*what, "R"), stored["r_multiple"], None)
        else:
            comparison.close((*what, "R"), stored["r_multiple"], float(trip.r))


def statistics(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    strategies = sorted({trip.strategy for trip in reference.trips})
    for strategy in (None, *strategies):
        query = "" if strategy is None else f"?strategy={strategy}"
        found = decahertz.get(f"/api/v1/trades/stats{query}")
        for name, value in reference.statistics(strategy).items():
            comparison.close(("trades/stats", strategy, name), _value(found[name]), value)
    live = {s["strategy"]: s for s in current(decahertz, "strategy")}
    for strategy in strategies:
        expected = reference.statistics(strategy)
        for name in ("trades", "win_rate", "win_rate_lower", "profit_factor", "r_trades", "expectancy_r"):
            comparison.close(("metrics", strategy, name), live[strategy][name], expected[name])


def portfolio(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    """Of all strategies and by regime: samples, the answers of the API and the reference."""
    live = {sample["regime"]: sample for sample in current(decahertz, "portfolio")}
    by_regime = reference.by_regime()
    for regime in comparison.keys("regime", live, by_regime):
        expected, newest = by_regime[regime].figures(), by_regime[regime].newest(50).figures()
        what, sample = ("portfolio", regime), live[regime]
        for name in LIVE_FIGURES:
            comparison.close((*what, name), sample[name], expected[name])
        for name in ("win_rate", "profit_factor", "expectancy", "expectancy_r"):
            comparison.close((*what, "recent", name), sample[f"recent_{name}"], newest[name])
        comparison.same((*what, "streak"), sample["streak"], by_regime[regime].streak())
        if regime != "none":  # which the API cannot be asked for
            chosen = "" if regime == "all" else f"&regime={regime}"
            found = decahertz.get(f"/api/v1/trades/stats?{chosen.removeprefix('&')}")
            for name, value in expected.items():
                comparison.close(("trades/stats", regime, name), _value(found[name]), value)
            for name in LIVE_FIGURES:
                comparison.close((*what, name, "of trades/stats"), sample[name], found[name])
            comparison.same((*what, "streak of trades/stats"), sample["streak"], found["streak"])
            found = decahertz.get(f"/api/v1/performance?window=50{chosen}")["overall"]
            for name, value in newest.items():
                comparison.close(("performance", regime, name), found[name], value)


def results(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    """Results by strategy, funding included, and exposure: as the collector has them."""
    for item in decahertz.get("/api/v1/pnl")["strategies"]:
        strategy = item["strategy"]
        what = ("pnl", strategy)
        comparison.close((*what, "realised"), item["realised"], float(reference.realised[strategy]))
        comparison.close(
            (*what, "unrealised"), item["unrealised"], float(reference.unrealised(strategy)), 1e-7
        )
    for item in decahertz.get("/api/v1/risk")["strategies"]:
        strategy = item["strategy"]
        amounts = list(reference.exposure(strategy).values())
        gross = float(sum(map(abs, amounts)))
        comparison.close(("risk", strategy, "gross"), item["gross_exposure"], gross)
        off = abs(float(sum(amounts)) - (item["net_exposure"] or 0.0)) / (gross or 1.0)
        comparison.same(("risk", strategy, "net is near"), off < 1e-7, True)


def orders(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    found = {(o["strategy"], o["instrument"], o["order_id"]): o for o in decahertz.get_all("orders")}
    expected = {key: order for key, order in reference.orders.items() if order.updates}
    for key in comparison.keys("order", found, expected):
        comparison.same(("order", *key), found[key]["state"], expected[key].state)


def shortfall(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    """Of the execution collector, whose window is a day here."""
    for sample in current(decahertz, "execution"):
        strategy = sample["strategy"]
        expected = reference.shortfall(strategy)
        what = ("shortfall", strategy)
        comparison.same((*what, "orders"), sample["shortfall_observations"], expected.orders)
        for name, value in expected.basis_points().items():
            comparison.close((*what, name), sample[name], value, rel=1e-3)


def stored_costs(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    """Costs as they are stored with the orders, by strategy."""
    for item in decahertz.get("/api/v1/execution/quality?start=1")["items"]:
        what = ("stored shortfall", item["strategy"])
        expected = reference.shortfall(item["strategy"])
        comparison.same((*what, "orders"), item["shortfall"]["n"], expected.orders)
        for name, value in expected.basis_points().items():
            part = "total" if name == "shortfall_bps" else name.split("_")[1]
            comparison.close((*what, name), item["shortfall"][part], value, rel=1e-3)
        ends = {(end["state"], end["reason"]): end["n"] for end in item["ends"]}
        comparison.same((*what, "ends"), ends, reference.ends(item["strategy"]))


def costs_of_orders(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    """Costs of some orders alone."""
    known = [key for key, order in reference.orders.items() if order.updates]
    for strategy, instrument, order_id in known[:: max(len(known) // 60, 1)]:
        what = ("order", strategy, instrument, order_id)
        path = f"orders/{quote(order_id)}?strategy={strategy}&instrument={quote(instrument, safe='')}"
        found = decahertz.get(f"/api/v1/{path}")["quality"]["shortfall"]
        expected = reference.shortfall(strategy, (instrument, order_id))
        comparison.same((*what, "has a shortfall"), found["total"] is not None, bool(expected.orders))
        if expected.orders:
            names = ("delay", "trading", "opportunity", "fees")
            amounts = {name: float(getattr(expected, name)) for name in names}
            for name, amount in (amounts | {"total": sum(amounts.values())}).items():
                comparison.close((*what, name), found[name], amount, rel=2e-3)


def costs_of_round_trips(comparison: Comparison, decahertz: RunningDecahertz, reference: Reference) -> None:
    """Orders and fees of some round trips: the shares of their orders."""
    ids = {
        (t["strategy"], t["instrument"], t["opened_ns"]): t["trade_id"] for t in decahertz.get_all("trades")
    }
    simple = [trip for trip in reference.trips if reference.is_simple(trip)]
    for trip in simple[:: max(len(simple) // 40, 1)]:
        key = (trip.strategy, trip.instrument, trip.opened_ns)
        quality = decahertz.get(f"/api/v1/trades/{ids[key]}")["quality"]
        orders = {fill.message["order_id"] for fill in trip.members}
        comparison.same(("round trip", *key, "orders"), quality["orders"], len(orders))
        fees = float(trip.fees)
        comparison.close(("round trip", *key, "fees of its orders"), quality["fees"], fees, rel=2e-3)


def current(decahertz: RunningDecahertz, collector: str) -> list[dict[str, Any]]:
    """The newest samples of a collector."""
    items = decahertz.get(f"/api/v1/metrics/current?collector={collector}")["items"]
    return [{**item["key"], **item["values"]} for item in items]


def _value(figure: float | dict[str, float] | None) -> float | None:
    return figure["value"] if isinstance(figure, dict) else figure


@pytest.mark.timeout(3600 if IS_LONG else 300)
def test_a_generated_day_amounts_to_what_the_reference_says(folder: Path) -> None:
    blocks = ORDERS // ORDERS_PER_BLOCK + 8
    start_ns = time.time_ns() - blocks * BLOCK_SECONDS * NS
    day = generate(SEED, ORDERS, start_ns)
    half = len(day.batches) // 2
    first, second = day.batches[:half], day.batches[half:]
    env, log = environment(folder, **_SETTINGS), folder / "log"
    so_far = Reference(Day(start_ns, first).delivered)
    with running(env=env, log=log) as decahertz:
        send(decahertz, first)
        until_stored(decahertz)
        check(decahertz, so_far)
        decahertz.process.kill()
        decahertz.process.communicate()
    with running(env=env, log=log) as decahertz:
        until_stored(decahertz)
        check(decahertz, so_far)
        send(decahertz, first[-3:])  # its answers were lost
        send(decahertz, second[: len(second) // 2])
        decahertz.process.kill()  # with rows on their way to the database
        decahertz.process.communicate()
    whole = Reference(day.delivered)
    with running(env=env, log=log) as decahertz:
        send(decahertz, second)
        until_stored(decahertz)
        check(decahertz, whole)
    with running(env=env, log=log) as decahertz:
        until_stored(decahertz)
        check(decahertz, whole)
