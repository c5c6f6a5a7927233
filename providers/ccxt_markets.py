"""Definitions of instruments from the markets of an exchange, as ccxt describes them.

Source: https://docs.ccxt.com, "Market Structure", "Precision And Limits".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from decahertz.event import Instrument, InstrumentKind

KINDS: Final = {
    "spot": InstrumentKind.SPOT,
    "swap": InstrumentKind.PERPETUAL,
    "future": InstrumentKind.FUTURE,
    "option": InstrumentKind.OPTION,
}
"""Kinds of instruments by ccxt's types."""
_NS_PER_MILLISECOND: Final = 1_000_000
_DECIMAL_PLACES, _TICK_SIZE = 2, 4
"""ccxt's modes of precision; in a third one, significant digits, there is no smallest increment."""


def definition_of(
    market: Mapping[str, Any], venue: str, time_ns: int, precision_mode: int
) -> Instrument | None:
    """Returns the definition of a market under ccxt's symbol, with the exchange's own name as an alias.

    ``None`` if it cannot be one: another type, or a contract whose size is not known.
    """
    kind = KINDS.get(market.get("type") or "")
    is_contract = bool(market.get("contract"))
    size, expiry_ms = market.get("contractSize"), market.get("expiry")
    precision = market.get("precision") or {}
    symbol, own = market.get("symbol"), market.get("id")
    if kind is None or (is_contract and size is None):
        return None
    try:
        values = {
            "time_ns": time_ns,
            "venue": venue,
            "instrument": symbol,
            "kind": kind,
            "base_currency": market.get("base"),
            "quote_currency": market.get("quote"),
            "settlement_currency": market.get("settle") if is_contract else None,
            "multiplier": float(size) if is_contract and size is not None else 1.0,
            "inverse": bool(market.get("inverse")),
            "tick_size": _increment(precision.get("price"), precision_mode),
            "lot_size": _increment(precision.get("amount"), precision_mode),
            "expiry_ns": None if expiry_ms is None else int(expiry_ms) * _NS_PER_MILLISECOND,
            "aliases": [own] if own and own != symbol else [],
        }
        return msgspec.convert(values, Instrument)
    except (ArithmeticError, TypeError, ValueError):  # ccxt does not check what it translates
        return None


def _increment(precision: object, mode: int) -> float | None:
    """Smallest increment of a price or a quantity; ``None``: not known."""
    if precision is None or mode not in {_DECIMAL_PLACES, _TICK_SIZE}:
        return None
    number = float(str(precision))
    return float(f"1e{-round(number)}") if mode == _DECIMAL_PLACES else number or None
