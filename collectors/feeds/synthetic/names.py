"""The instruments of the synthetic market, with realistic names, prices and price increments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, count, islice, zip_longest
from typing import Any

from msgspec import Struct

from decahertz.event import Instrument, InstrumentKind

# Approximate prices in US dollars, where the random walks start.
_COINS = {
    "BTC": 64_000.0,
    "ETH": 3_200.0,
    "SOL": 150.0,
    "XRP": 0.55,
    "ADA": 0.45,
    "DOGE": 0.12,
    "AVAX": 35.0,
    "DOT": 7.0,
    "LINK": 15.0,
    "LTC": 80.0,
    "UNI": 8.0,
    "ATOM": 8.5,
    "XLM": 0.11,
    "NEAR": 6.5,
    "APT": 9.0,
    "ARB": 1.1,
    "OP": 2.4,
    "FIL": 5.8,
    "AAVE": 95.0,
    "ALGO": 0.18,
}
_CURRENCIES = {
    "USD": 1.0,
    "EUR": 1.085,
    "GBP": 1.265,
    "JPY": 0.0067,
    "CHF": 1.13,
    "AUD": 0.655,
    "CAD": 0.735,
    "NZD": 0.605,
    "SEK": 0.095,
    "NOK": 0.093,
}
_MAJORS = (
    "EUR/USD",
    "GBP/USD",
    "USD/JPY",
    "USD/CHF",
    "AUD/USD",
    "USD/CAD",
    "NZD/USD",
    "EUR/GBP",
    "EUR/JPY",
    "GBP/JPY",
    "EUR/CHF",
    "EUR/SEK",
    "EUR/NOK",
    "USD/SEK",
)
_FUTURE, _PERPETUAL = "ES-FUT", "BTC-PERP"
_CONTRACTS_AFTER = 6
"""Coins and pairs listed before the contracts, so that a small market has them too."""
_UNLISTED_USD = 10.0
_FIGURES = 5
"""Digits of a coin's price after the first one."""


class Listing(Struct, frozen=True):
    """An instrument as its venue lists it."""

    venue: str
    instrument: str
    price: float
    """Start of the random walk."""
    decimals: int
    """Decimal places of prices."""
    volatility: float
    """Standard deviation of the log price over one year."""
    size: float
    """Median size at the best price, in units of the instrument."""
    steps: int
    """Price increments in a unit of price."""
    lot_size: float | None = None
    """Sizes are multiples of it."""
    follows: str | None = None
    """The instrument whose price it has; ``None``: it has a walk of its own."""


def listings(how_many: int, venues: tuple[str, ...]) -> list[Listing]:
    """Returns the first ``how_many`` instruments: coins and currency pairs alternate, as do the venues.

    A future and an inverse perpetual swap come seventh and eighth.
    """
    return [
        _listing(name, venues[index % len(venues)]) for index, name in enumerate(islice(_names(), how_many))
    ]


def definition(listing: Listing, time_ns: int) -> Instrument:
    """Returns the definition of an instrument as an event."""
    contract: dict[str, Any]
    if listing.instrument == _FUTURE:
        contract = {"kind": InstrumentKind.FUTURE, "quote_currency": "USD", "multiplier": 50.0}
    elif listing.instrument == _PERPETUAL:
        contract = {"kind": InstrumentKind.PERPETUAL, "base_currency": "BTC", "quote_currency": "USD"}
        contract["inverse"] = True
    else:
        base, quote = _currencies(listing.instrument)
        kind = InstrumentKind.FX if "/" in listing.instrument else InstrumentKind.SPOT
        contract = {"kind": kind, "base_currency": base, "quote_currency": quote}
    return Instrument(
        time_ns=time_ns,
        venue=listing.venue,
        instrument=listing.instrument,
        tick_size=1 / listing.steps,
        lot_size=listing.lot_size,
        **contract,
    )


def _currencies(name: str) -> tuple[str, str]:
    base, _, quote = name.partition("/" if "/" in name else "-")
    return base, quote


def _names() -> Iterator[str]:
    dollar = (f"{coin}-USD" for coin in _COINS)
    alternating = chain.from_iterable(zip_longest(dollar, _MAJORS))
    first = (name for name in alternating if name is not None)
    yield from islice(first, _CONTRACTS_AFTER)
    yield from (_FUTURE, _PERPETUAL)
    yield from first
    for quote in (*_CURRENCIES, "BTC", "ETH"):
        yield from (f"{coin}-{quote}" for coin in _COINS if quote not in ("USD", coin))
    yield from (f"C{number:04d}-USD" for number in count(1))


def _listing(name: str, venue: str) -> Listing:
    if name == _FUTURE:
        return Listing(venue, name, 5_600.0, 2, volatility=0.16, size=20.0, steps=4, lot_size=1.0)
    if name == _PERPETUAL:
        price = _COINS["BTC"]
        return Listing(
            venue, name, price, 1, volatility=0.7, size=20_000.0, steps=2, lot_size=1.0, follows="BTC-USD"
        )
    is_pair = "/" in name
    base, quote = _currencies(name)
    usd_values = {**_CURRENCIES, **_COINS}
    base_usd = usd_values.get(base, _UNLISTED_USD)
    price = base_usd / usd_values[quote]
    pair_decimals = 3 if quote == "JPY" else 5
    coin_decimals = max(0, _FIGURES - math.floor(math.log10(price)))
    decimals = pair_decimals if is_pair else coin_decimals
    return Listing(
        venue=venue,
        instrument=name,
        price=round(price, decimals),
        decimals=decimals,
        volatility=0.08 if is_pair else 0.7,
        size=1_000_000.0 if is_pair else 20_000.0 / base_usd,
        steps=10**decimals,
    )
