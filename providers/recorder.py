"""The provider ``recorder``: the live data of this recorder, from the market collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from collectors.market.sample import MarketSample, Verdict
from decahertz.clock import NS_PER_SECOND
from decahertz.provider import (
    BaseProvider,
    MarketData,
    ProviderOptions,
    UnknownSymbolError,
    UpstreamUnavailableError,
    optional_text,
)

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.definitions import Definitions
    from decahertz.latest import LatestSamples

_CURRENT: Final = frozenset({Verdict.LIVE, Verdict.QUIET})
_MOST_NAMED: Final = 5


class RecorderOptions(ProviderOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[providers.recorder]``."""

    fresh_seconds: float = 0.0
    call_cost: float = 0.0


class RecorderProvider(BaseProvider[RecorderOptions]):
    """Instruments by their name, ``BTC-USD``, or by venue and name where several venues have one."""

    name: ClassVar[str] = "recorder"
    options_type: ClassVar[type[ProviderOptions]] = RecorderOptions
    symbol_pattern: ClassVar[str] = r"[^\x00-\x1f]{1,256}"

    def __init__(
        self, clock: Clock, options: RecorderOptions, *, latest: LatestSamples, definitions: Definitions
    ) -> None:
        super().__init__(clock, options)
        self._latest = latest
        self._definitions = definitions

    async def fetch(self, symbol: str) -> MarketData:
        """The newest sample of an instrument."""
        batch = self._latest.get(MarketSample.collector)
        if batch is None:
            raise UpstreamUnavailableError("the collector market has no sample yet, or is not enabled")
        found = [
            sample
            for sample in batch.samples
            if isinstance(sample, MarketSample)
            and symbol in (sample.instrument, f"{sample.venue}:{sample.instrument}")
        ]
        if not found:
            raise UnknownSymbolError(f"the recorder has no live instrument {symbol!r}")
        if len(found) > 1:
            names = ", ".join(f"{one.venue}:{one.instrument}" for one in found[:_MOST_NAMED])
            raise UnknownSymbolError(f"several venues have {symbol!r}: ask for one of {names}")
        sample = found[0]
        if sample.last is None and sample.bid is None and sample.ask is None:
            raise UnknownSymbolError(f"{symbol!r} has no price yet")
        definition = self._definitions.newest(sample.venue, sample.instrument)
        age_ns = 0 if sample.age_seconds is None else round(sample.age_seconds * NS_PER_SECOND)
        is_current = sample.verdict in _CURRENT
        return MarketData(
            symbol=symbol,
            kind=None if definition is None else definition.kind,
            exchange=sample.venue,
            currency=None if definition is None else definition.quote_currency,
            price=optional_text(sample.last),
            bid=optional_text(sample.bid),
            ask=optional_text(sample.ask),
            bid_size=optional_text(sample.bid_size),
            ask_size=optional_text(sample.ask_size),
            source="the market collector of this recorder",
            time_ns=batch.time_ns - age_ns,
            is_current=is_current,
            detail="" if is_current else f"the feed is {sample.verdict.value}: {sample.verdict_reason.value}",
        )
