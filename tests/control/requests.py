"""Bodies of order requests."""

from __future__ import annotations

from typing import Any

import msgspec

from decahertz.order_requests import AnyOrderRequest

EQUITY: dict[str, Any] = {
    "kind": "equity",
    "strategy": "momentum",
    "venue": "synthetic",
    "instrument": "BTC-USD",
    "side": "buy",
    "quantity": 0.5,
    "order_type": "limit",
    "limit_price": 67_000.0,
}


def leg(side: str, right: str, strike: float, expiry: str = "2100-03-19", ratio: int = 1) -> dict[str, Any]:
    """A leg of an option strategy."""
    return {"side": side, "right": right, "strike": strike, "expiry": expiry, "ratio": ratio}


def option_strategy(name: str, *legs: dict[str, Any], **fields: object) -> dict[str, Any]:
    """A request of a named option strategy."""
    return {
        "kind": "option_strategy",
        "strategy": "premium",
        "venue": "opra",
        "instrument": "SPY",
        "option_strategy": name,
        "legs": list(legs),
        "quantity": 2,
        "order_type": "limit",
        "limit_price": -1.25,
        **fields,
    }


def request(**fields: object) -> AnyOrderRequest:
    """An equity request with these fields."""
    made: AnyOrderRequest = msgspec.convert(EQUITY | fields, AnyOrderRequest)
    return made
