"""Contracts and currencies through the whole product: what fills are worth, also after a restart."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.pipeline.running import RunningDecahertz, running, wait_until

pytestmark = pytest.mark.timeout(150)

INSTRUMENTS = """
[[instrument]]
venue = "cme"
instrument = "ESZ6"
kind = "future"
quote_currency = "USD"
multiplier = {multiplier}

[[instrument]]
venue = "bitmex"
instrument = "XBTUSD"
kind = "perpetual"
base_currency = "BTC"
quote_currency = "USD"
inverse = true

[[instrument]]
venue = "fx"
instrument = "USD/JPY"
kind = "fx"
base_currency = "USD"
quote_currency = "JPY"

[[instrument]]
venue = "fx"
instrument = "EUR/USD"
kind = "fx"
base_currency = "EUR"
quote_currency = "USD"
"""


class Emitter:
    """Sends events as a trading process would, one batch after another."""

    def __init__(self) -> None:
        self.epoch = time.time_ns()
        self.sequence = 1
        self.fills = 0

    def send(self, decahertz: RunningDecahertz, *events: dict[str, Any]) -> None:
        now_ns = time.time_ns()
        batch = {
            "source": "bot",
            "epoch": self.epoch,
            "first_sequence": self.sequence,
            "events": [{"time_ns": now_ns + place, **event} for place, event in enumerate(events)],
        }
        self.sequence += len(events)
        request = urllib.request.Request(  # noqa: S310 - this machine
            f"{decahertz.api}/api/v1/events",
            data=msgspec.json.encode(batch),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - this machine
            assert answer.status == 200

    def fill(self, strategy: str, where: str, side: str, price: float, quantity: float, **more: Any) -> Any:  # noqa: ANN401 - an event
        self.fills += 1
        venue, instrument = where.split(" ")
        return {
            "type": "fill", "strategy": strategy, "venue": venue, "instrument": instrument, "order_id": "o",
            "fill_id": str(self.fills), "side": side, "price": price, "quantity": quantity, **more,
        }  # fmt: skip


def quote(instrument: str, mid: float) -> dict[str, Any]:
    return {"type": "quote", "venue": "fx", "instrument": instrument, "bid": mid, "ask": mid}


def results(decahertz: RunningDecahertz) -> dict[str, float]:
    """The realised P&L of the strategies that only trade there and back."""
    strategies = decahertz.get("/api/v1/pnl")["strategies"]
    return {one["strategy"]: one["realised"] for one in strategies if one["strategy"] != "s"}


def contract(fill: dict[str, Any]) -> dict[str, Any]:
    names = ("multiplier", "inverse", "base_currency", "currency", "rate", "fee_rate")
    return {name: fill[name] for name in names}


@pytest.fixture
def instruments(data_dir: Path) -> Path:
    path = data_dir / "instruments.toml"
    path.write_text(INSTRUMENTS.format(multiplier=50))
    return path


def test_fills_have_their_contract_and_rates_also_after_a_restart_and_a_change_of_the_file(
    env: dict[str, str], data_dir: Path, instruments: Path
) -> None:
    bot = Emitter()
    arguments = ("--feeds-enabled", "", "--instruments-file", str(instruments))

    def stored(decahertz: RunningDecahertz, fill_id: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            items = decahertz.get("/api/v1/fills?limit=100")["items"]
            found[:] = [item for item in items if item["fill_id"] == str(fill_id)]
            return bool(found)

        wait_until(f"fill {fill_id}", 20, is_there)
        return found[0]

    with running(*arguments, env=env, log=data_dir / "log") as decahertz:
        bot.send(decahertz, quote("USD/JPY", 150.0), quote("EUR/USD", 1.25))
        bot.send(
            decahertz,
            bot.fill("s", "cme ESZ6", "buy", 5000.0, 1.0, fee=2.0),
            bot.fill("s", "bitmex XBTUSD", "buy", 40_000.0, 100.0, fee=1e-6),
            bot.fill("s", "fx USD/JPY", "buy", 151.0, 10.0, fee=0.5, fee_currency="EUR"),
            bot.fill("s", "nowhere ABC", "buy", 1.0, 1.0),
        )
        assert contract(stored(decahertz, 1)) == {
            "multiplier": 50.0, "inverse": False, "base_currency": None, "currency": "USD",
            "rate": 1.0, "fee_rate": 1.0,
        }  # fmt: skip
        assert contract(stored(decahertz, 2)) == {
            "multiplier": 1.0, "inverse": True, "base_currency": "BTC", "currency": "BTC",
            "rate": 40_000.0, "fee_rate": 40_000.0,
        }  # fmt: skip
        assert contract(stored(decahertz, 3)) == {
            "multiplier": 1.0, "inverse": False, "base_currency": "USD", "currency": "JPY",
            "rate": 1 / 150, "fee_rate": 1.25,
        }  # fmt: skip
        assert set(contract(stored(decahertz, 4)).values()) == {None}
        trades = [
            ("yen and euro", "fx USD/JPY", 150.0, 151.0, 100_000.0),
            ("yen and euro", "fx EUR/USD", 1.10, 1.09, 100_000.0),
            ("future", "cme ESZ6", 5_000.0, 5_010.0, 1.0),
            ("inverse", "bitmex XBTUSD", 60_000.0, 66_000.0, 60_000.0),
        ]
        for strategy, where, bought, sold, quantity in trades:
            bot.send(
                decahertz,
                bot.fill(strategy, where, "buy", bought, quantity),
                bot.fill(strategy, where, "sell", sold, quantity),
            )
        flow = {"type": "cash", "strategy": "future", "amount": -100.0, "currency": "EUR"}
        bot.send(
            decahertz,
            {**flow, "cash_id": "1", "kind": "funding"},
            {**flow, "cash_id": "2", "kind": "transfer"},
        )
        expected = {
            "yen and euro": 100_000 / 150 - 1_000,
            "future": 500 - 125,
            "inverse": 60_000 * (1 / 60_000 - 1 / 66_000) * 66_000,
        }
        assert results(decahertz) == pytest.approx(expected)
        stored(decahertz, bot.fills)
        closed = {trade["strategy"]: trade["pnl"] for trade in decahertz.get_all("trades")}
        assert closed["inverse"] == pytest.approx(expected["inverse"])
        instruments.write_text(INSTRUMENTS.format(multiplier=-1))
        wait_until("the bad file in health", 20, lambda: any("ESZ6" in text for text in decahertz.problems()))
        bot.send(decahertz, bot.fill("s", "cme ESZ6", "buy", 5000.0, 1.0))
        assert stored(decahertz, bot.fills)["multiplier"] == 50.0
        decahertz.stop()
    instruments.unlink()
    with running("--feeds-enabled", "", env=env, log=data_dir / "log") as decahertz:
        assert results(decahertz) == pytest.approx(expected)
        bot.send(
            decahertz,
            bot.fill("s", "cme ESZ6", "sell", 5000.0, 1.0),
            bot.fill("s", "fx USD/JPY", "sell", 151.0, 10.0),
        )
        assert stored(decahertz, bot.fills - 1)["multiplier"] == 50.0
        assert stored(decahertz, bot.fills)["rate"] == 1 / 150
