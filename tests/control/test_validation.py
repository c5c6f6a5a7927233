"""Fields of order requests that fit together, and legs that form the strategy they name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from control.validation import InvalidRequestError, validated
from decahertz.order_requests import AnyOrderRequest
from tests.control.requests import EQUITY, leg, option_strategy

NOW_NS = 1_767_225_600_000_000_000
NEAR, FAR = "2026-03-20", "2026-06-19"

VALID = {
    "vertical": (leg("buy", "call", 100, NEAR), leg("sell", "call", 110, NEAR)),
    "straddle": (leg("sell", "call", 100, NEAR), leg("sell", "put", 100, NEAR)),
    "strangle": (leg("buy", "call", 110, NEAR), leg("buy", "put", 90, NEAR)),
    "butterfly": (
        leg("buy", "put", 90, NEAR),
        leg("sell", "put", 100, NEAR, ratio=2),
        leg("buy", "put", 110, NEAR),
    ),
    "iron_condor": (
        leg("buy", "put", 80, NEAR),
        leg("sell", "put", 90, NEAR),
        leg("sell", "call", 110, NEAR),
        leg("buy", "call", 120, NEAR),
    ),
    "iron_butterfly": (
        leg("buy", "put", 90, NEAR),
        leg("sell", "put", 100, NEAR),
        leg("sell", "call", 100, NEAR),
        leg("buy", "call", 110, NEAR),
    ),
    "calendar": (leg("sell", "call", 100, NEAR), leg("buy", "call", 100, FAR)),
    "diagonal": (leg("sell", "call", 110, NEAR), leg("buy", "call", 100, FAR)),
}


def problems(body: dict[str, Any]) -> list[str]:
    """The fields that are refused."""
    request: AnyOrderRequest = msgspec.convert(body, AnyOrderRequest)
    try:
        validated(request, NOW_NS)
    except InvalidRequestError as error:
        return [field for field, _ in error.fields]
    return []


@pytest.mark.parametrize("name", VALID)
def test_each_named_strategy_takes_its_own_legs_in_any_order_and_no_other_ones(name: str) -> None:
    for legs in (VALID[name], VALID[name][::-1]):
        assert problems(option_strategy(name, *legs)) == []
    accepted = {other for other, legs in VALID.items() if not problems(option_strategy(name, *legs))}
    assert accepted == {name}


@pytest.mark.parametrize("name", VALID)
def test_a_strategy_that_lacks_a_leg_or_has_one_too_many_is_refused(name: str) -> None:
    legs = VALID[name]
    if len(legs) > 2:
        assert problems(option_strategy(name, *legs[:-1])) == ["legs"]
    if len(legs) < 4:
        assert problems(option_strategy(name, *legs, leg("buy", "call", 500, NEAR)))


@pytest.mark.parametrize(
    ("name", "index", "change", "field"),
    [
        ("vertical", 1, {"side": "buy"}, "legs[1].side"),
        ("vertical", 1, {"strike": 100}, "legs[1].strike"),
        ("vertical", 1, {"expiry": FAR}, "legs[1].expiry"),
        ("vertical", 1, {"right": "put"}, "legs[1].right"),
        ("vertical", 1, {"ratio": 2}, "legs[1].ratio"),
        ("vertical", 1, {"expiry": "2026-02-30"}, "legs[1].expiry"),
        ("vertical", 1, {"expiry": "2025-12-19"}, "legs[1].expiry"),
        ("straddle", 1, {"strike": 99}, "legs[1].strike"),
        ("straddle", 1, {"side": "buy"}, "legs[1].side"),
        ("strangle", 1, {"strike": 120}, "legs"),
        ("butterfly", 1, {"ratio": 1}, "legs"),
        ("butterfly", 1, {"strike": 101}, "legs"),
        ("butterfly", 1, {"side": "buy"}, "legs"),
        ("iron_condor", 1, {"strike": 111}, "legs"),
        ("iron_condor", 0, {"side": "sell"}, "legs"),
        ("iron_condor", 2, {"right": "put"}, "legs"),
        ("iron_butterfly", 1, {"strike": 95}, "legs"),
        ("calendar", 1, {"expiry": NEAR}, "legs[1].expiry"),
        ("diagonal", 1, {"strike": 110}, "legs[1].strike"),
    ],
)
def test_one_wrong_leg_is_named(name: str, index: int, change: dict[str, Any], field: str) -> None:
    legs = list(VALID[name])
    legs[index] = legs[index] | change
    assert problems(option_strategy(name, *legs)) == [field]


def test_an_option_may_be_traded_on_its_last_day_wherever_that_is() -> None:
    """The clock shows 2026-01-01T00:00:00Z."""
    for expiry, found in (("2025-12-31", []), ("2025-12-30", ["legs[0].expiry", "legs[1].expiry"])):
        legs = (leg("buy", "call", 100, expiry), leg("sell", "call", 110, expiry))
        assert problems(option_strategy("vertical", *legs)) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, []),
        ({"order_type": "market", "limit_price": None}, []),
        ({"order_type": "stop", "limit_price": None, "stop_price": 66_000}, []),
        ({"order_type": "stop_limit", "stop_price": 66_000}, []),
        ({"order_type": "stop_limit", "limit_price": None}, ["limit_price", "stop_price"]),
        ({"limit_price": 0}, ["limit_price"]),
        ({"valid_until": NOW_NS}, ["valid_until"]),
        ({"valid_until": NOW_NS + 1}, []),
        ({"valid_until": "2026-01-01T00:00:01Z"}, []),
        ({"valid_until": 2**63}, ["valid_until"]),
    ],
)
def test_prices_and_times(fields: dict[str, Any], found: list[str]) -> None:
    assert problems(EQUITY | fields) == found


def test_the_net_price_of_legs_may_be_a_credit() -> None:
    assert problems(option_strategy("vertical", *VALID["vertical"], limit_price=-1.5)) == []


def test_an_instrument_is_one_leg_only() -> None:
    body = {
        "kind": "manual_legs",
        "strategy": "spread",
        "venue": "synthetic",
        "instrument": "BTC-USD",
        "legs": [{"instrument": "BTC-USD", "side": side} for side in ("buy", "sell")],
        "quantity": 1,
        "order_type": "market",
    }
    assert problems(body) == ["legs[1].instrument"]
