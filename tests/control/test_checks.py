"""Each check before an order request, on samples of a market."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from collectors.market.sample import MarketSample, Verdict, VerdictReason
from control.checks import PreTradeChecks
from decahertz.accounting import AccountingSettings
from decahertz.bus import LocalBus, samples_topic
from decahertz.contracts import Contracts
from decahertz.fakes import ManualClock
from decahertz.latest import LatestSamples
from decahertz.order_requests import AnyOrderRequest
from decahertz.risk_limits import OrderLimits
from decahertz.sample import SampleBatch, schema_of
from tests.control.requests import EQUITY, leg, option_strategy

LEGS: dict[str, Any] = {
    "kind": "manual_legs",
    "strategy": "momentum",
    "venue": "synthetic",
    "instrument": "BTC-USD",
    "legs": [
        {"instrument": "BTC-USD", "side": "buy", "ratio": 2},
        {"instrument": "ETH-USD", "side": "sell"},
    ],
    "quantity": 3,
    "order_type": "market",
}


def market(instrument: str = "BTC-USD", fields: dict[str, object] | None = None) -> MarketSample:
    """A sample of a live market with a mid of 100; fields that are not given are null or zero."""
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(MarketSample):
        values[field.name] = 0 if field.type in (int, float) else None
    values |= {
        "venue": "synthetic",
        "instrument": instrument,
        "verdict": Verdict.LIVE,
        "verdict_reason": VerdictReason.MESSAGES_ARRIVE,
        "mid": 100.0,
        "age_seconds": 0.1,
    }
    return MarketSample(**(values | (fields or {})))  # type: ignore[arg-type]


def violated(
    limits: OrderLimits, body: dict[str, Any], *samples: MarketSample, open_requests: int = 0
) -> list[str]:
    """The rules that a request violates."""
    bus, clock = LocalBus(), ManualClock()
    latest = LatestSamples(bus)
    bus.publish(samples_topic("market"), SampleBatch(schema_of(MarketSample), 0, samples))
    checks = PreTradeChecks(limits, latest, clock, Contracts(AccountingSettings(), clock))
    request: AnyOrderRequest = msgspec.convert(body, AnyOrderRequest)
    return [rule for rule, _ in checks.violations(request, open_requests)]


BUY = EQUITY | {"limit_price": 100.0, "quantity": 2.0}


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({}, []),
        ({"verdict": Verdict.QUIET}, []),
        ({"verdict": Verdict.STALE}, ["feed-not-live"]),
        ({"verdict": Verdict.MUTE}, ["feed-not-live"]),
        ({"verdict": Verdict.GAP}, ["feed-not-live"]),
        ({"verdict": Verdict.CLOSED}, ["market-closed"]),
        ({"mid": None}, ["mid-too-old"]),
        ({"age_seconds": 5.0}, []),
        ({"age_seconds": 5.1}, ["mid-too-old"]),
        ({"venue": "kraken"}, ["feed-not-live"]),
    ],
)
def test_the_market_has_to_be_there(fields: dict[str, object], rules: list[str]) -> None:
    assert violated(OrderLimits(), BUY, market(fields=fields)) == rules
    assert violated(OrderLimits(require_live_feed=False), BUY, market(fields=fields)) == []


@pytest.mark.parametrize(
    ("limits", "body", "rules"),
    [
        ({"max_quantity": 2}, BUY, []),
        ({"max_quantity": 1.9}, BUY, ["max-quantity"]),
        ({"max_quantity": 6}, LEGS, []),
        ({"max_quantity": 5}, LEGS, ["max-quantity"]),
        ({"max_notional": 200}, BUY, []),
        ({"max_notional": 199}, BUY, ["max-notional"]),
        # A sell limit below the mid is valued at the mid, one above it at the limit.
        ({"max_notional": 199}, BUY | {"side": "sell", "limit_price": 90.0}, ["max-notional"]),
        ({"max_notional": 210}, BUY | {"side": "sell", "limit_price": 110.0}, ["max-notional"]),
        ({"max_notional": 900}, LEGS, []),
        ({"max_notional": 899}, LEGS, ["max-notional"]),
        ({"price_collar_bps": 50}, BUY | {"limit_price": 100.5}, []),
        ({"price_collar_bps": 50}, BUY | {"limit_price": 100.6}, ["price-collar"]),
        ({"price_collar_bps": 50}, BUY | {"limit_price": 50.0}, []),
        ({"price_collar_bps": 50}, BUY | {"side": "sell", "limit_price": 99.5}, []),
        ({"price_collar_bps": 50}, BUY | {"side": "sell", "limit_price": 99.4}, ["price-collar"]),
        # Two units of 100 are bought and one of 100 is sold: the net mid is 100, of legs worth 300.
        ({"price_collar_bps": 50}, LEGS | {"order_type": "limit", "limit_price": 101.5}, []),
        ({"price_collar_bps": 50}, LEGS | {"order_type": "limit", "limit_price": 101.6}, ["price-collar"]),
        ({"price_collar_bps": 50}, LEGS | {"order_type": "limit", "limit_price": -500.0}, []),
        ({"max_open_orders": 3}, BUY, []),
        ({"max_open_orders": 2}, BUY, ["open-orders"]),
        (
            {"max_quantity": 1, "price_collar_bps": 1},
            BUY | {"limit_price": 101.0},
            ["max-quantity", "price-collar"],
        ),
    ],
)
def test_each_limit_is_inclusive(limits: dict[str, Any], body: dict[str, Any], rules: list[str]) -> None:
    samples = market(), market("ETH-USD")
    assert violated(OrderLimits(**limits), body, *samples, open_requests=2) == rules


def test_what_is_not_known_speaks_against_a_request() -> None:
    limits = OrderLimits(require_live_feed=False, max_notional=1e6, price_collar_bps=50)
    assert violated(limits, BUY) == ["price-collar"]  # the limit tells its value
    assert violated(limits, BUY | {"order_type": "market", "limit_price": None}) == ["max-notional"]
    assert violated(limits, LEGS, market()) == ["max-notional"]
    net = LEGS | {"order_type": "limit", "limit_price": 100.0}
    assert violated(limits, net, market()) == ["max-notional", "price-collar"]


def test_options_are_limited_by_their_quantity() -> None:
    legs = leg("buy", "call", 100), leg("sell", "call", 110)
    body = option_strategy("vertical", *legs, venue="synthetic", instrument="BTC-USD")
    limits = OrderLimits(max_notional=1, price_collar_bps=1, max_quantity=2)
    assert violated(limits, body, market()) == []
    assert violated(limits, body | {"quantity": 3}, market()) == ["max-quantity"]
    # The body of a butterfly is twice its wings: two units are four options of it.
    wings = leg("buy", "call", 100), leg("sell", "call", 110, ratio=2), leg("buy", "call", 120)
    body = option_strategy("butterfly", *wings, venue="synthetic", instrument="BTC-USD")
    assert violated(limits, body | {"quantity": 1}, market()) == []
    assert violated(limits, body | {"quantity": 2}, market()) == ["max-quantity"]
