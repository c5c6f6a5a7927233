"""The provider ``kraken``: Kraken spot markets over the public REST API.

Compared in 2026 with https://docs.kraken.com/api-reference/market-data/get-ticker-information, the texts of
errors with https://support.kraken.com/hc/en-us/articles/360001491786-API-error-messages. Kraken limits public
calls by address and states no number for them: the default of one a second is careful.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from decahertz.clock import NS_PER_SECOND
from decahertz.event import InstrumentKind
from decahertz.provider import (
    InvalidAnswerError,
    MarketData,
    ProviderError,
    ProviderOptions,
    UnknownSymbolError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    decimal_text,
    price_text,
)
from decahertz.rest_provider import HttpUrl, RestOptions, RestProvider

_PATH: Final = "/0/public/Ticker"
_PAUSE_SECONDS: Final = 5.0
"""Pause after a refusal for too many calls that names none."""
_LOCKOUT_SECONDS: Final = 900.0
"""Kraken's temporary lockout lasts about a quarter of an hour, and calls during it prolong it."""
_THROTTLED: Final = re.compile(r"EService: ?Throttled(: ?(?P<until>[0-9]{1,12}))?")
"""``EService: Throttled: [UNIX timestamp]``: too many calls at once, try again after that time."""


class KrakenOptions(RestOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[providers.kraken]``."""

    url: Annotated[HttpUrl, Meta(description="Address of the REST API.")] = "https://api.kraken.com"
    requests_per_second: Annotated[
        float, Meta(ge=0, le=1e6, description="Calls a second; 0: any number.")
    ] = 1.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at once after a pause.")] = 5
    fresh_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="Time for which the cache serves an answer; 0: not at all.")
    ] = 5.0


class Ticker(Struct, frozen=True):
    """One pair in the answer of ``/0/public/Ticker``; the names are Kraken's."""

    a: tuple[Decimal, Decimal, Decimal]
    """Ask: price, size in whole units, size."""
    b: tuple[Decimal, Decimal, Decimal]
    """Bid, in the same way."""
    c: tuple[Decimal, Decimal]
    """Last trade: price, size."""
    v: tuple[Decimal, Decimal]
    """Volume: today, last 24 hours."""


class Answer(Struct, frozen=True):
    """The answer; with errors it has no result."""

    error: tuple[str, ...]
    """Texts such as ``EQuery:Unknown asset pair``. ``E`` stands for an error, ``W`` for a warning."""
    result: dict[str, Ticker] = {}


class KrakenProvider(RestProvider[KrakenOptions]):
    """Pairs as base and quote, ``XBT/USD``, with Kraken's codes of the assets."""

    name: ClassVar[str] = "kraken"
    options_type: ClassVar[type[ProviderOptions]] = KrakenOptions
    symbol_pattern: ClassVar[str] = r"[A-Z0-9.]{1,20}/[A-Z0-9.]{1,20}"

    async def fetch(self, symbol: str) -> MarketData:
        """The ticker of a pair."""
        answer = await self.get(_PATH, Answer, {"pair": symbol.replace("/", "")})
        for text in answer.error:
            if not text.startswith("W"):
                raise self._error(text)
        if len(answer.result) != 1:
            raise InvalidAnswerError(f"{self.host}: {len(answer.result)} pairs instead of one")
        (ticker,) = answer.result.values()
        return MarketData(
            symbol=symbol,
            kind=InstrumentKind.SPOT,
            exchange="kraken",
            currency=symbol.partition("/")[2],
            price=price_text(ticker.c[0]),
            bid=price_text(ticker.b[0]),
            ask=price_text(ticker.a[0]),
            bid_size=decimal_text(ticker.b[2]),
            ask_size=decimal_text(ticker.a[2]),
            volume_24h=decimal_text(ticker.v[1]),
            source=self.source(_PATH),
        )

    def _error(self, text: str) -> ProviderError:
        """The error of a text such as ``EQuery:Unknown asset pair``."""
        shown = f"kraken answers {text[:128]!r}"
        if text.startswith(("EQuery:Unknown asset pair", "EQuery:Invalid asset pair")):
            return UnknownSymbolError(shown)
        if text.startswith(("EAPI:Rate limit", "EGeneral:Too many requests")):
            return UpstreamRateLimitedError(shown, _PAUSE_SECONDS)
        if text.startswith("EGeneral:Temporary lockout"):
            return UpstreamRateLimitedError(shown, _LOCKOUT_SECONDS)
        throttled = _THROTTLED.match(text)
        if throttled is not None:
            return UpstreamRateLimitedError(shown, self._seconds_until(throttled["until"]))
        if text.startswith(("EService", "EGeneral:Internal error")):
            return UpstreamUnavailableError(shown)
        return UpstreamRefusedError(shown)

    def _seconds_until(self, unix_seconds: str | None) -> float:
        if unix_seconds is None:
            return _PAUSE_SECONDS
        seconds = int(unix_seconds) - self.clock.time_ns() / NS_PER_SECOND
        return min(max(seconds, _PAUSE_SECONDS), _LOCKOUT_SECONDS)
