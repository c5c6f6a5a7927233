"""The demo trading process next to a real Decahertz: killed, started again, stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decahertz.event import FINAL_ORDER_STATES, Fill
from decahertz.round_trip import OpenRoundTrip, trade_id
from tests.embedded_server import connected
from tests.pipeline.running import ROOT, RunningDecahertz, environment, running

pytestmark = pytest.mark.timeout(180)
PROGRAM = ROOT / "examples" / "demo_trader.py"
STRATEGIES = {"mean-reversion", "momentum", "market-maker"}
Key = tuple[str, str, str]


@pytest.fixture
def decahertz(tmp_path: Path) -> Iterator[RunningDecahertz]:
    """A busy synthetic market."""
    tmp_path.chmod(0o755)
    env = environment(
        tmp_path,
        DECAHERTZ_FEEDS_ENABLED="synthetic",
        DECAHERTZ_FEEDS_SYNTHETIC_INSTRUMENTS="8",
        DECAHERTZ_FEEDS_SYNTHETIC_QUOTES_PER_SECOND="20",
    )
    with running(env=env, log=tmp_path / "log") as decahertz:
        yield decahertz


@contextmanager
def trader(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PROGRAM), "--url", url, "--instruments", "6", "--seed", "7"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def books(decahertz: RunningDecahertz) -> dict[Key, OpenRoundTrip]:
    """Computes the open round trip of each strategy from its fills alone."""
    held: dict[Key, OpenRoundTrip] = defaultdict(OpenRoundTrip)
    for item in sorted(decahertz.get_all("fills"), key=lambda f: (f["time_ns"], f["sequence"])):
        known = {name: value for name, value in item.items() if name in Fill.__struct_fields__}
        fill = msgspec.convert({"type": "fill", **known}, Fill)
        held[fill.strategy, fill.venue, fill.instrument].add(fill)
    return held


def reported_positions(decahertz: RunningDecahertz) -> dict[str, tuple[int, int]]:
    """Open positions by strategy, and how often what it reported differed from its fills."""
    items = decahertz.get("/api/v1/metrics/current?collector=strategy")["items"]
    return {
        item["key"]["strategy"]: (item["values"]["open_positions"], item["values"]["position_breaks"])
        for item in items
    }


def computed_positions(decahertz: RunningDecahertz) -> dict[str, tuple[int, int]]:
    held = books(decahertz)
    return {
        strategy: (sum(1 for key, book in held.items() if key[0] == strategy and book.opening), 0)
        for strategy in STRATEGIES
    }


def openings(decahertz: RunningDecahertz) -> set[str]:
    """The trades that are open, by their future id."""
    return {trade_id(book.opening) for book in books(decahertz).values() if book.opening is not None}


def closed(decahertz: RunningDecahertz) -> dict[str, dict[str, Any]]:
    return {trade["trade_id"]: trade for trade in decahertz.get_all("trades")}


def waiting(decahertz: RunningDecahertz) -> int:
    """Events of the trader that are in the spool and not in the database yet."""
    items = decahertz.get("/api/v1/ledger")["streams"]
    return sum(item["spooled"] for item in items if item["stream"] == "events:demo-trader")


def is_every_contract_traded(decahertz: RunningDecahertz) -> bool:
    """Whether the future and the inverse swap were traded, and funding was paid."""
    traded = {trade["instrument"] for trade in closed(decahertz).values()}
    return {"ES-FUT", "BTC-PERP"} <= traded and bool(decahertz.get_all("cash"))


def check_contracts(trades: list[dict[str, Any]], decahertz: RunningDecahertz) -> None:
    """Results are those of the contracts, in their currencies."""
    gains: dict[str, Callable[[float, float], float]] = {
        "ES-FUT": lambda entry, price: 50 * (price - entry),
        "BTC-PERP": lambda entry, price: 1 / entry - 1 / price,
        "USD/JPY": lambda entry, price: price - entry,
    }
    currencies = {"ES-FUT": "USD", "BTC-PERP": "BTC", "USD/JPY": "JPY"}
    for trade in trades:
        if trade["instrument"] in gains:
            gain = gains[trade["instrument"]](trade["entry_price"], trade["exit_price"]) * trade["quantity"]
            sign = 1 if trade["side"] == "buy" else -1
            assert trade["currency"] == currencies[trade["instrument"]]
            assert trade["settled_pnl"] + trade["settled_fees"] == pytest.approx(sign * gain, abs=1e-6), trade
            assert trade["pnl"] is not None
    for flow in decahertz.get_all("cash"):
        assert (flow["kind"], flow["instrument"], flow["currency"]) == ("funding", "BTC-PERP", "BTC")
        assert flow["rate"] == pytest.approx(64_000, rel=0.1)


async def orders_in_limbo(decahertz: RunningDecahertz, since_ns: int) -> int:
    """Orders submitted since then that never came to their end."""
    async with connected(decahertz.database) as connection:
        rows = await connection.fetch("SELECT order_id, state, time_ns FROM order_events ORDER BY time_ns")
    born = {row["order_id"] for row in rows if row["state"] == "submitted" and row["time_ns"] >= since_ns}
    ended = {row["order_id"] for row in rows if row["state"] in {state.value for state in FINAL_ORDER_STATES}}
    assert born
    return len(born - ended)


async def check_every_reported_position(decahertz: RunningDecahertz) -> int:
    """Each is the sum of the fills before it, of all runs; how many were reported."""
    query = """
        SELECT epoch, sequence, strategy, venue, instrument, quantity, side FROM fills
        UNION ALL SELECT epoch, sequence, strategy, venue, instrument, quantity, NULL FROM positions
        ORDER BY epoch, sequence
    """
    async with connected(decahertz.database) as connection:
        rows = await connection.fetch(query)
    held: dict[Key, float] = defaultdict(float)
    reported = 0
    for row in rows:
        key = row["strategy"], row["venue"], row["instrument"]
        if row["side"] is None:
            reported += 1
            assert row["quantity"] == pytest.approx(held[key], abs=1e-6), key
        else:
            held[key] += row["quantity"] if row["side"] == "buy" else -row["quantity"]
    return reported


async def test_a_killed_trader_goes_on_from_its_open_positions_and_a_stopped_one_leaves_no_order_open(
    decahertz: RunningDecahertz,
) -> None:
    with trader(decahertz.api) as process:
        wait_for("trades", lambda: len(closed(decahertz)) >= 5)
        wait_for("an open position", lambda: bool(openings(decahertz)))
        process.kill()
    left_open = openings(decahertz)
    assert left_open, "it was killed while it held something"

    started_ns = time.time_ns()
    with trader(decahertz.api) as process:
        wait_for("what was left open to be closed", lambda: left_open <= set(closed(decahertz)))
        wait_for(
            "new trades of all strategies",
            lambda: (
                {t["strategy"] for t in closed(decahertz).values() if t["opened_ns"] > started_ns}
                == STRATEGIES
            ),
        )
        wait_for("trades in every kind of contract, and funding", lambda: is_every_contract_traded(decahertz))
        process.terminate()
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    first, last = output.splitlines()
    assert decahertz.api in first
    assert "events recorded" in last
    assert "dropped" not in last, "every event was acknowledged"
    wait_for("what is durable to be in the database", lambda: not waiting(decahertz))
    assert await orders_in_limbo(decahertz, started_ns) == 0

    trades = [t for t in closed(decahertz).values() if t["opened_ns"] > started_ns]
    assert all(trade["r_multiple"] is not None for trade in trades)
    check_contracts(trades, decahertz)
    assert any(trade["fills"] > 2 for trade in trades), "orders are filled in parts"
    assert all(trade["closed_ns"] - trade["opened_ns"] < 15e9 for trade in trades)
    assert await check_every_reported_position(decahertz) > 30
    wait_for("positions to agree", lambda: reported_positions(decahertz) == computed_positions(decahertz))


def test_it_waits_for_an_api_that_is_away_and_stops_at_once_when_told_to() -> None:
    with trader("http://127.0.0.1:9") as process:
        assert process.stdout is not None
        assert "strategies" in process.stdout.readline()
        process.terminate()
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert "0 orders" in output
