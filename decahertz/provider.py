"""Providers: plugins that fetch the newest price of an instrument when somebody asks for it.

The gateway constructs a provider with a clock and its options, awaits ``start`` once, ``fetch`` for each
call that it lets through, and ``stop`` at the end. A provider only fetches and translates: queueing, costs,
rate limits, caches, retries, the circuit breaker and time-outs are the gateway's (:mod:`providers.gateway`).
``fetch`` must not change anything at the source, because the gateway repeats it after a failure.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from decahertz.event import Identifier, InstrumentKind, Name, TimeNs
from decahertz.settings import SettingsError

if TYPE_CHECKING:
    from decahertz.clock import Clock

ENTRY_POINT_GROUP: Final = "decahertz.providers"

_MOST_DIGITS: Final = 30
"""Digits before and after the decimal point, at most: a shorter text may stand for millions of zeros."""

DecimalText: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^-?(0|[1-9][0-9]{{0,{_MOST_DIGITS - 1}}})(\.[0-9]{{1,{_MOST_DIGITS}}})?$",
        description="A decimal number without an exponent.",
    ),
]


class MarketData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest prices of one instrument, as the source states them.

    Prices and sizes are texts: a float would round them. One of ``price``, ``bid`` and ``ask`` is needed.
    """

    symbol: Identifier
    """The symbol that was asked for."""
    kind: InstrumentKind | None = None
    """Null: the source does not say."""
    exchange: Name
    currency: Name | None = None
    """Currency of the prices; null: the source does not say."""
    price: DecimalText | None = None
    """Price of the last trade; null: the source does not say."""
    bid: DecimalText | None = None
    ask: DecimalText | None = None
    bid_size: DecimalText | None = None
    ask_size: DecimalText | None = None
    volume_24h: DecimalText | None = None
    """Quantity traded in the last 24 hours."""
    source: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\x00]*$")]
    """Where it comes from: the address without its parameters, or the part of the recorder."""
    time_ns: TimeNs | None = None
    """When the source says that it was so, often the time of the last trade; null: it does not say."""
    is_current: bool = True
    """Whether the source itself takes it for current."""
    detail: Annotated[str, Meta(max_length=512)] = ""
    """Why it is not, or another remark for people."""


class ProviderError(Exception):
    """Raised when a provider has no answer. ``str()`` says why, without secrets and parameters of the URL."""

    can_retry: ClassVar[bool] = False
    """Whether the same call may succeed in a moment."""
    is_failure: ClassVar[bool] = True
    """Whether it speaks against the provider's health, which the circuit breaker watches."""
    outcome: ClassVar[str] = "error"
    """Its name in the metrics."""


class UnknownSymbolError(ProviderError):
    """Raised for a symbol that the source does not have."""

    is_failure = False
    outcome = "unknown_symbol"


class UpstreamUnavailableError(ProviderError):
    """Raised when the source cannot be reached, or says that it has a failure of its own."""

    can_retry = True
    outcome = "unavailable"


class UpstreamTimeoutError(UpstreamUnavailableError):
    """Raised when the source does not answer in time."""

    outcome = "timeout"


class UpstreamRateLimitedError(ProviderError):
    """Raised when the source asks for fewer calls."""

    can_retry = True
    is_failure = False
    outcome = "rate_limited"

    def __init__(self, reason: str, retry_seconds: float) -> None:
        """``retry_seconds``: how long the source asks to wait."""
        super().__init__(reason)
        self.retry_seconds = retry_seconds


class UpstreamRefusedError(ProviderError):
    """Raised when the source refuses the call, for instance its key."""

    outcome = "refused"


class InvalidAnswerError(ProviderError):
    """Raised for an answer that is not of the format that its documentation states, or contradicts itself."""

    outcome = "invalid"


class ProviderOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every provider. One with others derives from it, and changes the defaults to its venue's."""

    requests_per_second: Annotated[
        float,
        Meta(ge=0, le=1e6, description="Calls a second; 0: any number. The default is the venue's limit."),
    ] = 0.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at once after a pause.")] = 1
    fresh_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="Time for which the cache serves an answer; 0: not at all.")
    ] = 1.0
    call_cost: Annotated[
        float, Meta(ge=0, le=1e12, description="What a call costs, in the unit of the budget.")
    ] = 1.0
    budget_per_day: Annotated[
        float, Meta(ge=0, le=1e12, description="Costs of a day (UTC), of all callers together; 0: no limit.")
    ] = 0.0
    key_budget_per_day: Annotated[
        float, Meta(ge=0, le=1e12, description="Costs of a day (UTC) of each API key; 0: no limit.")
    ] = 0.0
    warm: Annotated[
        tuple[Identifier, ...], Meta(description="Symbols that are fetched every providers.warm_seconds.")
    ] = ()


class Provider(Protocol):
    """The interface of a provider. :class:`BaseProvider` has defaults."""

    name: ClassVar[str]

    @property
    def options(self) -> ProviderOptions:
        """The options that the gateway needs."""
        ...

    def is_symbol(self, symbol: str) -> bool:
        """Whether a text can be a symbol of the source; others are refused without a call."""
        ...

    async def start(self) -> None:
        """Opens what ``fetch`` needs; without a call to the source."""
        ...

    async def fetch(self, symbol: str) -> MarketData:
        """Fetches the newest prices. Raises :class:`ProviderError`; the gateway limits the time."""
        ...

    async def stop(self) -> None:
        """Closes; safe without ``start``, and twice."""
        ...


OptionsT = TypeVar("OptionsT", bound=ProviderOptions)


class BaseProvider(ABC, Generic[OptionsT]):
    """Defaults for plugin authors."""

    name: ClassVar[str]
    options_type: ClassVar[type[ProviderOptions]] = ProviderOptions
    symbol_pattern: ClassVar[str] = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}"
    """Matches every symbol of the source; other texts are refused without a call."""

    def __init__(self, clock: Clock, options: OptionsT) -> None:
        self.clock = clock
        self.options = options

    def is_symbol(self, symbol: str) -> bool:
        """Whether the pattern matches."""
        return re.fullmatch(self.symbol_pattern, symbol) is not None

    async def start(self) -> None:
        """Opens nothing."""

    @abstractmethod
    async def fetch(self, symbol: str) -> MarketData:
        """Fetches the newest prices of a symbol."""

    async def stop(self) -> None:
        """Closes nothing."""


def decimal_text(value: Decimal | float) -> str:
    """The number as a text without an exponent: ``1E-8`` → ``0.00000001``.

    A float gives its shortest text. Raises :class:`InvalidAnswerError` for a value that is not a finite
    number or has too many digits.
    """
    try:
        number = value if isinstance(value, Decimal) else Decimal(repr(value))
    except InvalidOperation as error:
        raise InvalidAnswerError(f"{value!r} is not a number") from error
    if not number.is_finite():
        raise InvalidAnswerError(f"{number} is not a finite number")
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _MOST_DIGITS or (isinstance(exponent, int) and exponent < -_MOST_DIGITS):
        raise InvalidAnswerError(f"{number} has more than {_MOST_DIGITS} digits")
    text = f"{number:f}"
    return text.removeprefix("-") if number == 0 else text


def optional_text(value: Decimal | float | None) -> str | None:
    """:func:`decimal_text` of a number; ``None`` of ``None``."""
    return None if value is None else decimal_text(value)


def price_text(value: Decimal | float | None) -> str | None:
    """:func:`decimal_text` of a price; ``None`` of ``None`` and of zero.

    Venues write zero for a side of the book without orders, and for the last trade of what was never traded.
    """
    return None if value is None or value == 0 else decimal_text(value)


def read_secret(key: str, value: str, file: Path) -> str:
    """A secret of the settings: ``value``, or the first line of ``file``; empty: neither is set.

    ``key`` names the setting. Raises :class:`~decahertz.settings.SettingsError`, without the secret.
    """
    if file == Path():
        return value
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise SettingsError(f"{key}_file", f"{file} cannot be read: {reason}") from error
    if not secret or not secret.isprintable():
        raise SettingsError(f"{key}_file", f"{file} has no secret in one line")
    return secret


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(MarketData)


def encoded(data: MarketData) -> bytes:
    """The data as MessagePack, for :func:`decoded`."""
    return _ENCODER.encode(data)


def decoded(data: bytes) -> MarketData:
    """Validates and decodes. Raises :class:`msgspec.MsgspecError`."""
    return _DECODER.decode(data)
