"""Exposure and R of one strategy, or of all together, as of the newest sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from msgspec import Struct

from collectors.common.values import finite

Place: TypeAlias = tuple[str, str]
"""(venue, instrument)."""
_NONE: Mapping[str, float] = MappingProxyType({})
_NOWHERE: Mapping[Place, float] = MappingProxyType({})


class Exposure(Struct, frozen=True, kw_only=True):
    """Amounts are in the account currency; short positions are negative."""

    strategy: str = ""
    gross: float | None = 0.0
    """Sum of the sizes of the open positions; ``None`` while one of them has no value."""
    net: float | None = 0.0
    by_instrument: Mapping[Place, float] = _NOWHERE
    """Signed value of the open positions that have one."""
    by_currency: Mapping[str, float] = _NONE
    """The same by settlement currency; under an empty name those whose currency is not known."""
    daily_r: float = 0.0
    """Sum of the R multiples of the round trips closed in this day."""
    weekly_r: float = 0.0


def total_of(exposures: Iterable[Exposure]) -> Exposure:
    """Returns the exposure of several strategies together: opposite positions net out."""
    gross: float | None = 0.0
    net: float | None = 0.0
    daily_r = weekly_r = 0.0
    by_instrument: dict[Place, float] = {}
    by_currency: dict[str, float] = {}
    for exposure in exposures:
        gross = None if gross is None or exposure.gross is None else gross + exposure.gross
        net = None if net is None or exposure.net is None else net + exposure.net
        daily_r += exposure.daily_r
        weekly_r += exposure.weekly_r
        for place, amount in exposure.by_instrument.items():
            by_instrument[place] = by_instrument.get(place, 0.0) + amount
        for currency, amount in exposure.by_currency.items():
            by_currency[currency] = by_currency.get(currency, 0.0) + amount
    return Exposure(
        gross=None if gross is None else finite(gross),
        net=None if net is None else finite(net),
        by_instrument=by_instrument,
        by_currency=by_currency,
        daily_r=daily_r,
        weekly_r=weekly_r,
    )
