"""The metrics of one instrument at one venue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from decahertz.metric import HIGHEST, MEAN, NEWEST, RANGE, Kind, Metric, Unit
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
    """Connected, but no message, for longer than usual."""
    GAP = "gap"
    """Messages were missed recently, according to the sequence numbers."""
    CLOSED = "closed"
    """The market is closed, as heartbeats report."""


class VerdictReason(StrEnum):
    """The rule that decided a verdict; `collectors.market.feed_verdict` has the rules."""

    MESSAGES_ARRIVE = "messages_arrive"
    """live: messages arrive."""
    NO_MESSAGE = "no_message"
    """quiet: no message of the instrument yet."""
    USUAL = "usual"
    """quiet: by its learned cadence such a silence is usual."""
    SIBLINGS_SPEAK = "siblings_speak"
    """quiet: an unusual silence, but other instruments of the feed get messages."""
    UNKNOWN = "unknown"
    """quiet: too few messages to know the cadence, or no heartbeats that prove the connection."""
    DISCONNECTED = "disconnected"
    """stale: the feed has no connection."""
    NO_SIGN_OF_LIFE = "no_sign_of_life"
    """stale: neither messages nor heartbeats of the venue."""
    NOTHING_SINCE_OPEN = "nothing_since_open"
    """mute: no message since the connection was made."""
    FEED_SILENT = "feed_silent"
    """mute: heartbeats arrive, but no message of any instrument of the feed, for longer than usual."""
    MESSAGES_MISSED = "messages_missed"
    """gap: sequence numbers were missed recently."""
    REPORTED = "reported"
    """closed: the feed reports the market closed."""
    OUT_OF_SESSION = "out_of_session"
    """closed: the trading calendar of the instrument has no session, and no message arrives."""


class MarketSample(Sample, frozen=True, kw_only=True):
    """One instrument at one venue at one cycle."""

    collector: ClassVar[str] = "market"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")

    venue: str
    instrument: str
    verdict: Annotated[Verdict, Metric("Feed verdict.", kind=Kind.STATE)]
    verdict_reason: Annotated[
        VerdictReason, Metric("The rule that decided the feed verdict.", kind=Kind.STATE, exported=False)
    ]
    cadence_seconds: Annotated[
        float | None,
        Metric(
            "Learned cadence: the longest silence that is usual at present; null before ten silences.",
            unit=Unit.SECONDS,
            aggregates=NEWEST,
        ),
    ]
    last: Annotated[
        float | None, Metric("Price of the newest tick.", unit=Unit.PRICE, extremes=True, aggregates=RANGE)
    ]
    bid: Annotated[
        float | None, Metric("Best bid; null while that side is empty.", unit=Unit.PRICE, aggregates=RANGE)
    ]
    ask: Annotated[
        float | None, Metric("Best ask; null while that side is empty.", unit=Unit.PRICE, aggregates=RANGE)
    ]
    mid: Annotated[
        float | None,
        Metric(
            "Mean of bid and ask; null while a side is empty.",
            unit=Unit.PRICE,
            extremes=True,
            formula="(bid + ask) / 2",
        ),
    ]
    micro_price: Annotated[
        float | None,
        Metric(
            "Mean of bid and ask weighted by the size on the other side; null without both sizes.",
            unit=Unit.PRICE,
            formula="(bid * ask_size + ask * bid_size) / (bid_size + ask_size)",
            source="Gatheral and Oomen 2010; Stoikov 2018 calls it the weighted mid",
            aggregates=MEAN,
        ),
    ]
    spread: Annotated[
        float | None,
        Metric(
            "Ask minus bid; negative when crossed.", unit=Unit.PRICE, formula="ask - bid", aggregates=HIGHEST
        ),
    ]
    spread_bps: Annotated[
        float | None,
        Metric(
            "Spread relative to the mid; null unless the mid is positive.",
            unit=Unit.BASIS_POINTS,
            extremes=True,
            formula="10000 * spread / mid",
        ),
    ]
    bid_size: Annotated[float | None, Metric("Size at the best bid.", unit=Unit.QUANTITY, aggregates=MEAN)]
    ask_size: Annotated[float | None, Metric("Size at the best ask.", unit=Unit.QUANTITY, aggregates=MEAN)]
    crossed: Annotated[bool, Metric("1 if the bid is above the ask, otherwise 0.", extremes=True)]
    locked: Annotated[bool, Metric("1 if the bid equals the ask, otherwise 0.")]
    vwap: Annotated[
        float | None,
        Metric(
            "Volume-weighted average price of the ticks received within window_seconds.",
            unit=Unit.PRICE,
            formula="sum(price * size) / sum(size)",
            aggregates=NEWEST,
        ),
    ]
    session_vwap: Annotated[
        float | None,
        Metric(
            "Volume-weighted average price of the ticks of the trading day of the newest tick.",
            unit=Unit.PRICE,
            formula="sum(price * size) / sum(size)",
            source="Berkowitz, Logue and Noser 1988",
            aggregates=NEWEST,
        ),
    ]
    volatility: Annotated[
        float | None,
        Metric(
            "Realised volatility by year, of the n returns of the mid over volatility_step_seconds within"
            " volatility_seconds; of the last price where there are no quotes; null before 30 returns.",
            unit=Unit.RATIO,
            formula="sqrt(sum(ln(price / price_before)^2) * year_seconds / (n * volatility_step_seconds))",
            source="Andersen, Bollerslev, Diebold and Labys 2001",
            aggregates=HIGHEST,
        ),
    ]
    imbalance: Annotated[
        float | None,
        Metric(
            "Trade imbalance within window_seconds, from -1 (sellers took all) to 1 (buyers took all); the"
            " tick test gives the side where the venue does not.",
            unit=Unit.RATIO,
            formula="(bought - sold) / volume",
            source="Lee and Ready 1991 for the tick test",
            aggregates=MEAN,
        ),
    ]
    volume: Annotated[
        float,
        Metric(
            "Quantity of the ticks received within window_seconds.",
            unit=Unit.QUANTITY,
            formula="sum(size)",
            aggregates=HIGHEST,
        ),
    ]
    tick_rate: Annotated[
        float,
        Metric(
            "Ticks per second, over rate_seconds.",
            unit=Unit.PER_SECOND,
            formula="ticks within rate_seconds / rate_seconds",
            aggregates=HIGHEST,
        ),
    ]
    quote_rate: Annotated[
        float,
        Metric(
            "Quotes per second, over rate_seconds.",
            unit=Unit.PER_SECOND,
            formula="quotes within rate_seconds / rate_seconds",
            aggregates=HIGHEST,
        ),
    ]
    age_seconds: Annotated[
        float | None,
        Metric(
            "Time since the receipt of the newest quote or tick.",
            unit=Unit.SECONDS,
            extremes=True,
            aggregates=HIGHEST,
        ),
    ]
    latency_seconds: Annotated[
        float | None,
        Metric(
            "Receipt minus venue time of the newest quote or tick; negative if the clocks disagree.",
            unit=Unit.SECONDS,
            extremes=True,
            formula="receipt - venue time",
            source="RFC 7679 (one-way delay) for the meaning of its error",
        ),
    ]
    sampling_latency_seconds: Annotated[
        float | None,
        Metric(
            "Receipt of the newest quote or tick to the cycle that sampled it; negative if it came after the"
            " cycle's time.",
            unit=Unit.SECONDS,
            formula="cycle - receipt",
            aggregates=HIGHEST,
        ),
    ]
    clock_faults: Annotated[
        int,
        Metric("Messages whose venue time is after their receipt: a clock is wrong.", kind=Kind.COUNTER),
    ]
    quotes: Annotated[int, Metric("Quotes received.", kind=Kind.COUNTER)]
    ticks: Annotated[int, Metric("Ticks received.", kind=Kind.COUNTER)]
    crossed_quotes: Annotated[int, Metric("Quotes with the bid above the ask.", kind=Kind.COUNTER)]
    locked_quotes: Annotated[int, Metric("Quotes with the bid equal to the ask.", kind=Kind.COUNTER)]
    traded: Annotated[float, Metric("Quantity of all ticks.", kind=Kind.COUNTER, unit=Unit.QUANTITY)]
    gaps: Annotated[int, Metric("Messages missed, according to the sequence numbers.", kind=Kind.COUNTER)]
    late: Annotated[
        int,
        Metric("Messages that arrived after a newer one of the same type.", kind=Kind.COUNTER),
    ]
