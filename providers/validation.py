"""Checks what a provider returns, before anybody gets it or the cache keeps it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from decahertz.clock import NS_PER_SECOND
from decahertz.event import InstrumentKind
from decahertz.provider import InvalidAnswerError, MarketData, UnknownSymbolError, decoded, encoded

_MAX_FUTURE_NS: Final = 60 * NS_PER_SECOND
"""How far the clock of a source may be ahead."""
_NEVER_NEGATIVE: Final = frozenset({InstrumentKind.SPOT, InstrumentKind.FX, InstrumentKind.PERPETUAL})


def validated(data: object, symbol: str, now_ns: int) -> MarketData:
    """The data in its strict form.

    Raises :class:`~decahertz.provider.InvalidAnswerError`. An instrument without any price says nothing
    against the provider and raises :class:`~decahertz.provider.UnknownSymbolError`.
    """
    if not isinstance(data, MarketData):
        raise InvalidAnswerError(f"the provider returns {type(data).__name__}, not MarketData")
    try:
        # A struct is checked when it is decoded, not when it is made.
        checked = decoded(encoded(data))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise InvalidAnswerError(str(error)) from error
    if checked.symbol != symbol:
        raise InvalidAnswerError(f"the answer is about {checked.symbol!r}, not {symbol!r}")
    prices = [text for text in (checked.price, checked.bid, checked.ask) if text is not None]
    if not prices:
        raise UnknownSymbolError(f"{symbol!r} has no price: no bid, no ask and no trade")
    if checked.kind in _NEVER_NEGATIVE and any(Decimal(text) <= 0 for text in prices):
        raise InvalidAnswerError(f"a price of a {checked.kind.value} instrument is not above zero")
    for text in (checked.bid_size, checked.ask_size, checked.volume_24h):
        if text is not None and Decimal(text) < 0:
            raise InvalidAnswerError("a size is negative")
    if checked.time_ns is not None and checked.time_ns > now_ns + _MAX_FUTURE_NS:
        raise InvalidAnswerError("the time of the answer is in the future")
    return checked


def is_crossed(data: MarketData) -> bool:
    """Whether the bid is above the ask."""
    return data.bid is not None and data.ask is not None and Decimal(data.bid) > Decimal(data.ask)
