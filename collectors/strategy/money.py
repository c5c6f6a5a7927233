"""Values of positions in the account currency, at the rates of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectors.common.values import finite
from decahertz.definitions import settlement_currency
from decahertz.rates import NoRate, Rate

if TYPE_CHECKING:
    from collectors.common.mark_prices import MarkPrices
    from collectors.strategy.holding import Holding
    from decahertz.event import Instrument

_ONE = Rate(1.0)


class MoneyNow:
    """Converts amounts at one moment; each currency is looked up once."""

    def __init__(self, mark_prices: MarkPrices, now_ns: int) -> None:
        self._mark_prices = mark_prices
        self._now_ns = now_ns
        self._rates: dict[str, Rate | NoRate] = {}

    def rate(self, holding: Holding, price: float | None) -> Rate | NoRate:
        """Returns the account currency per unit of a holding's settlement currency.

        If no mids tell it, the mark price of the holding does where it can: a coin that an inverse contract
        settles in is worth that price.
        """
        currency = self._currency(holding)
        if currency is None:
            return _ONE
        rate = self._rate(currency)
        if isinstance(rate, NoRate) and price is not None and price > 0:
            definition = self.definition(holding)
            if definition is not None:
                return self._rate_by_price(currency, definition, price) or rate
        return rate

    def definition(self, holding: Holding) -> Instrument | None:
        """Returns the definition of a holding's instrument."""
        return self._mark_prices.definition(holding.venue, holding.instrument)

    def _currency(self, holding: Holding) -> str | None:
        """The settlement currency, by the fill that opened the position or else by the definition."""
        opening = holding.trip.opening
        if opening is not None:
            return opening.currency
        definition = None if holding.fills else self.definition(holding)
        return None if definition is None else settlement_currency(definition)

    def _rate(self, currency: str) -> Rate | NoRate:
        rate = self._rates.get(currency)
        if rate is None:
            rate = self._rates[currency] = self._mark_prices.rates.rate(currency, self._now_ns)
        return rate

    def _rate_by_price(self, currency: str, definition: Instrument, price: float) -> Rate | None:
        code = self._mark_prices.rates.codes.code
        base, quote = definition.base_currency, definition.quote_currency
        if base is None or quote is None:
            return None
        if code(base) == code(currency):
            other, factor = self._rate(quote), price
        elif code(quote) == code(currency):
            other, factor = self._rate(base), 1 / price
        else:
            return None
        return None if isinstance(other, NoRate) else Rate(other.value * factor, other.time_ns, other.path)


def converted(amount: float | None, rate: Rate | NoRate) -> float | None:
    """Returns an amount in the account currency; ``None`` without a rate, or if it overflows."""
    return None if amount is None or isinstance(rate, NoRate) else finite(amount * rate.value)
