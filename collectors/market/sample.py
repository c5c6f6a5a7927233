"""The metrics of one instrument at one venue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample

LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of the latency from venue to receipt, in seconds."""


class Verdict(StrEnum):
    """The feed verdict on an instrument; `collectors.market.feed_verdict` has the rules."""

    LIVE = "live"
    """Messages arrive."""
    QUIET = "quiet"
    """No recent message of this instrument, and no sign of a broken feed."""
    STALE = "stale"
    """Neither messages nor heartbeats from the venue, or the feed is not connected."""
    MUTE = "mute"
    """Connected, but no message since."""
    GAP = "gap"
    """Messages were missed recently, according to the sequence numbers."""
    CLOSED = "closed"
    """The market is closed, as heartbeats report."""


class MarketSample(Sample, frozen=True, kw_only=True):
    """One instrument at one venue at one cycle."""

    collector: ClassVar[str] = "market"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")

    venue: str
    instrument: str
    verdict: Annotated[Verdict, Metric("Feed verdict.", kind=Kind.STATE)]
    last: Annotated[float | None, Metric("Price of the newest tick.", unit=Unit.PRICE, extremes=True)]
    bid: Annotated[float | None, Metric("Best bid; null while that side is empty.", unit=Unit.PRICE)]
    ask: Annotated[float | None, Metric("Best ask; null while that side is empty.", unit=Unit.PRICE)]
    mid: Annotated[
        float | None,
        Metric("Mean of bid and ask; null while a side is empty.", unit=Unit.PRICE, extremes=True),
    ]
    spread: Annotated[float | None, Metric("Ask minus bid; negative when crossed.", unit=Unit.PRICE)]
    spread_bps: Annotated[
        float | None,
        Metric(
            "Spread relative to the mid; null unless the mid is positive.",
            unit=Unit.BASIS_POINTS,
            extremes=True,
        ),
    ]
    bid_size: Annotated[float | None, Metric("Size at the best bid.", unit=Unit.QUANTITY)]
    ask_size: Annotated[float | None, Metric("Size at the best ask.", unit=Unit.QUANTITY)]
    crossed: Annotated[bool, Metric("1 if the bid is above the ask, otherwise 0.", extremes=True)]
    locked: Annotated[bool, Metric("1 if the bid equals the ask, otherwise 0.")]
    vwap: Annotated[
        float | None,
        Metric("Volume-weighted average price of the ticks received within window_seconds.", unit=Unit.PRICE),
    ]
    volume: Annotated[
        float, Metric("Quantity of the ticks received within window_seconds.", unit=Unit.QUANTITY)
    ]
    tick_rate: Annotated[float, Metric("Ticks per second, over rate_seconds.", unit=Unit.PER_SECOND)]
    quote_rate: Annotated[float, Metric("Quotes per second, over rate_seconds.", unit=Unit.PER_SECOND)]
    age_seconds: Annotated[
        float | None,
        Metric("Time since the receipt of the newest quote or tick.", unit=Unit.SECONDS, extremes=True),
    ]
    latency_seconds: Annotated[
        float | None,
        Metric(
            "Receipt minus venue time of the newest quote or tick; negative if the clocks disagree.",
            unit=Unit.SECONDS,
            extremes=True,
        ),
    ]
    quotes: Annotated[int, Metric("Quotes received.", kind=Kind.COUNTER)]
    ticks: Annotated[int, Metric("Ticks received.", kind=Kind.COUNTER)]
    traded: Annotated[float, Metric("Quantity of all ticks.", kind=Kind.COUNTER, unit=Unit.QUANTITY)]
    gaps: Annotated[int, Metric("Messages missed, according to the sequence numbers.", kind=Kind.COUNTER)]
    late: Annotated[
        int,
        Metric("Messages that arrived after a newer one of the same type.", kind=Kind.COUNTER),
    ]
