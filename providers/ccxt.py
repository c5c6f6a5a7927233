"""The provider ``ccxt``: an exchange of the library ccxt, over its public REST API. Needs the extra ``ccxt``.

Source: https://docs.ccxt.com, "Market Structure", "Ticker Structure", "Error Handling".
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import ModuleType
from typing import Annotated, Any, ClassVar, Final

import aiohttp
from msgspec import Meta

from decahertz import __version__
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Instrument
from decahertz.provider import (
    BaseProvider,
    InvalidAnswerError,
    MarketData,
    ProviderError,
    ProviderOptions,
    UnknownSymbolError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    decimal_text,
    price_text,
)
from decahertz.settings import SettingsError
from providers.ccxt_markets import KINDS, definition_of

_NS_PER_MILLISECOND: Final = 1_000_000
_PAUSE_SECONDS: Final = 5.0
"""Pause after a refusal for too many calls: ccxt does not pass on how long to wait."""
_MARKETS_SECONDS: Final = 3600.0
"""After this time an unknown symbol may be a new one: the list of markets is loaded again."""
_ORIGIN: Final = re.compile(r"^https?://[^/]+")


class CcxtOptions(ProviderOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[providers.ccxt]``."""

    exchange: Annotated[
        str, Meta(pattern=r"^[a-z0-9]*$", description="The exchange, by its id in ccxt, such as `okx`.")
    ] = ""
    url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s@?#/]+)?$",
            description="Scheme, host and port instead of the exchange's own, such as those of a proxy.",
        ),
    ] = ""
    requests_per_second: Annotated[
        float,
        Meta(ge=0, le=1e6, description="Calls a second; 0: any number. ccxt's own limit holds in any case."),
    ] = 5.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at once after a pause.")] = 5


class CcxtProvider(BaseProvider[CcxtOptions]):
    """Symbols as ccxt writes them: ``BTC/USDT``, and ``BTC/USDT:USDT`` for the perpetual settled in USDT.

    The first call loads the list of markets too, for which one call's time may be too short: loading goes on
    without it, and a later call finds the list.
    """

    name: ClassVar[str] = "ccxt"
    options_type: ClassVar[type[ProviderOptions]] = CcxtOptions
    symbol_pattern: ClassVar[str] = r"[^\s/:]{1,32}/[^\s/:]{1,32}(:[^\s/:]{1,40})?"

    _library: ModuleType
    _exchange: Any = None
    _session: aiohttp.ClientSession | None = None
    _markets: asyncio.Task[None] | None = None
    _markets_ns: int = 0
    """Monotonic time when loading the list of markets began."""

    async def start(self) -> None:
        """Imports ccxt and makes the exchange.

        Raises :class:`~decahertz.settings.SettingsError` without the extra, for an unknown exchange, and for
        one that has no tickers.
        """
        try:
            # It imports each of its exchanges, which takes a second.
            self._library = await asyncio.to_thread(importlib.import_module, "ccxt.async_support")
        except ModuleNotFoundError as error:
            raise SettingsError("providers.enabled", "ccxt needs the extra `ccxt`") from error
        exchange_id = self.options.exchange
        if exchange_id not in self._library.exchanges:
            raise SettingsError("providers.ccxt.exchange", f"ccxt has no exchange {exchange_id!r}")
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": f"decahertz/{__version__}"}
        )
        exchange = getattr(self._library, exchange_id)(
            {
                "session": self._session,
                "ssl_context": False,  # for sessions of its own, which read certificates in the event loop
                "number": Decimal,  # the venue's digits; the default is float
                "timeout_on_exit": 0,
            }
        )
        if exchange.has.get("fetchTicker") is not True:
            raise SettingsError("providers.ccxt.exchange", f"{exchange_id} has no tickers")
        if self.options.url:
            exchange.urls["api"] = _moved(exchange.urls["api"], self.options.url)
        self._exchange = exchange

    async def stop(self) -> None:
        """Closes the connections."""
        markets, self._markets = self._markets, None
        if markets is not None:
            markets.cancel()
            await asyncio.gather(markets, return_exceptions=True)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, symbol: str) -> MarketData:
        """The ticker of a symbol."""
        exchange, library = self._exchange, self._library
        if exchange is None:
            raise UpstreamUnavailableError("the provider is stopped")
        try:
            await asyncio.shield(self._load_markets())
            market = exchange.market(symbol)
            ticker = await exchange.fetch_ticker(market["symbol"])
        except library.BadSymbol as error:
            self._forget_old_markets()
            raise UnknownSymbolError(f"{exchange.id} does not have {symbol!r}") from error
        except library.BaseError as error:
            raise self._error(error) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # ccxt does not check what it translates.
            raise InvalidAnswerError(f"{exchange.id}: {type(error).__name__}") from error
        if ticker.get("symbol") != symbol:
            raise InvalidAnswerError(f"{exchange.id}: the answer is about {ticker.get('symbol')!r}")
        time_ms = ticker.get("timestamp")
        return MarketData(
            symbol=symbol,
            kind=KINDS.get(market.get("type")),
            exchange=exchange.id,
            currency=market.get("quote"),
            price=price_text(_number(ticker, "last")),
            bid=price_text(_number(ticker, "bid")),
            ask=price_text(_number(ticker, "ask")),
            bid_size=_size(ticker, "bidVolume"),
            ask_size=_size(ticker, "askVolume"),
            volume_24h=_size(ticker, "baseVolume"),
            source=f"ccxt {self._library.__version__}: fetchTicker of {exchange.id}",
            time_ns=int(time_ms) * _NS_PER_MILLISECOND if time_ms is not None else None,
        )

    async def definitions(self, venue: str) -> tuple[list[Instrument], int]:
        """The instruments of the exchange under the name of a venue, and how many have no definition."""
        exchange = self._exchange
        try:
            await self._load_markets()
        except self._library.BaseError as error:
            raise self._error(error) from error
        now_ns, mode = self.clock.time_ns(), exchange.precisionMode
        made = [definition_of(market, venue, now_ns, mode) for market in exchange.markets.values()]
        found = [one for one in made if one is not None]
        return sorted(found, key=lambda one: one.instrument), len(made) - len(found)

    def _load_markets(self) -> asyncio.Task[None]:
        """The task that loads the list of markets, or has; a failed one is repeated."""
        task = self._markets
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            self._markets_ns = self.clock.monotonic_ns()
            task = self._markets = asyncio.create_task(self._exchange.load_markets(True), name="ccxt markets")
        return task

    def _forget_old_markets(self) -> None:
        age_ns = self.clock.monotonic_ns() - self._markets_ns
        if age_ns > _MARKETS_SECONDS * NS_PER_SECOND and self._markets is not None and self._markets.done():
            self._markets = None

    def _error(self, error: Exception) -> ProviderError:
        """The provider's error for one of ccxt's, without its text, which quotes addresses and bodies."""
        library = self._library
        text = f"{self._exchange.id if self._exchange else self.options.exchange}: {type(error).__name__}"
        if isinstance(error, (library.DDoSProtection, library.RateLimitExceeded)):
            return UpstreamRateLimitedError(text, _PAUSE_SECONDS)
        if isinstance(error, library.RequestTimeout):
            return UpstreamTimeoutError(text)
        if isinstance(error, library.BadResponse):
            return InvalidAnswerError(text)
        if isinstance(error, library.OperationFailed):
            return UpstreamUnavailableError(text)
        return UpstreamRefusedError(text)


def _moved(urls: object, origin: str) -> object:
    """The addresses of an exchange at another scheme and host."""
    if isinstance(urls, str):
        return _ORIGIN.sub(origin, urls)
    if isinstance(urls, Mapping):
        return {name: _moved(url, origin) for name, url in urls.items()}
    return urls


def _number(ticker: Mapping[str, object], field: str) -> Decimal | None:
    """A number of a ticker. Raises :class:`~decahertz.provider.InvalidAnswerError`."""
    value = ticker.get(field)
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation as error:
        raise InvalidAnswerError(f"{field} is not a number") from error


def _size(ticker: Mapping[str, object], field: str) -> str | None:
    value = _number(ticker, field)
    return None if value is None else decimal_text(value)
