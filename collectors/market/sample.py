"""What is sampled of one instrument at one venue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample


class Verdict(StrEnum):
    """How far the feed of an instrument is to be trusted; `collectors.market.verdict` has the rules."""

    LIVE = "live"
    """Messages are coming."""
    QUIET = "quiet"
    """No message of this instrument lately, and nothing says that the feed is at fault."""
    STALE = "stale"
    """Nothing at all from the venue, not even a heartbeat."""
    MUTE = "mute"
    """Connected, and not one message since."""
    GAP = "gap"
    """Numbered messages were missed a short while ago."""
    CLOSED = "closed"
    """The feed said that it is not connected or that the market is closed."""


class MarketSample(Sample, frozen=True, kw_only=True):
    """One instrument at one venue at one instant."""

    collector: ClassVar[str] = "market"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")

    venue: str
    instrument: str
    verdict: Annotated[Verdict, Metric("How far the feed is to be trusted.", kind=Kind.STATE)]
    last: Annotated[float | None, Metric("Price of the newest print.", unit=Unit.PRICE)]
    bid: Annotated[float | None, Metric("Best bid; none while that side is empty.", unit=Unit.PRICE)]
    ask: Annotated[float | None, Metric("Best ask; none while that side is empty.", unit=Unit.PRICE)]
    mid: Annotated[
        float | None, Metric("Middle of bid and ask; none while a side is empty.", unit=Unit.PRICE)
    ]
    spread: Annotated[float | None, Metric("Ask less bid; negative when crossed.", unit=Unit.PRICE)]
    spread_bps: Annotated[
        float | None, Metric("Spread over mid; none where the mid is not positive.", unit=Unit.BASIS_POINTS)
    ]
    bid_size: Annotated[float | None, Metric("Size at the best bid.", unit=Unit.QUANTITY)]
    ask_size: Annotated[float | None, Metric("Size at the best ask.", unit=Unit.QUANTITY)]
    crossed: Annotated[bool, Metric("Whether the bid is above the ask.")]
    locked: Annotated[bool, Metric("Whether the bid equals the ask.")]
    vwap: Annotated[
        float | None,
        Metric(
            "Volume-weighted average price of the prints received within window_seconds.", unit=Unit.PRICE
        ),
    ]
    volume: Annotated[
        float, Metric("Quantity of the prints received within window_seconds.", unit=Unit.QUANTITY)
    ]
    tick_rate: Annotated[
        float, Metric("Prints received within rate_seconds, per second.", unit=Unit.PER_SECOND)
    ]
    quote_rate: Annotated[
        float, Metric("Quotes received within rate_seconds, per second.", unit=Unit.PER_SECOND)
    ]
    age_seconds: Annotated[
        float | None, Metric("Time since the newest quote or print was received.", unit=Unit.SECONDS)
    ]
    latency_seconds: Annotated[
        float | None,
        Metric(
            "Receipt less venue time of the newest quote or print; negative where the clocks disagree.",
            unit=Unit.SECONDS,
        ),
    ]
    quotes: Annotated[int, Metric("Quotes received.", kind=Kind.COUNTER)]
    ticks: Annotated[int, Metric("Prints received.", kind=Kind.COUNTER)]
    traded: Annotated[float, Metric("Quantity of all prints.", kind=Kind.COUNTER, unit=Unit.QUANTITY)]
    gaps: Annotated[int, Metric("Numbered messages that never arrived.", kind=Kind.COUNTER)]
    late: Annotated[
        int,
        Metric("Messages older than one of their kind that had come before them.", kind=Kind.COUNTER),
    ]
