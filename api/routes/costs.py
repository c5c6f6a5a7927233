"""The costs of one order, and of one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from decahertz.quantities import BasisPoints, Figures, Money, Price, Ratio, Reasons, Seconds, TimeNanoseconds
from storage.schema.order_quality import HORIZONS_NS, LEGS

_NO_LIQUIDITY = "no fill says whether it added liquidity"


class Markout(Struct, frozen=True, kw_only=True):
    """Mean distance from the fill price to the mid some time later, weighted by value; positive is a gain."""

    horizon: str
    """`100ms`, `1s`, `5s`, `30s` or `5m` after the fill."""
    n: int
    """Fills."""
    mean: BasisPoints | None


class SlippageCost(Struct, frozen=True, kw_only=True):
    """Cost of the fills against a reference price; positive is a cost."""

    cost: Money | None
    bps: BasisPoints | None
    """Of what was filled, at the reference price."""


class ShortfallCost(Struct, frozen=True, kw_only=True):
    """Implementation shortfall against trading everything at the decision price; positive is a cost."""

    total: Money | None
    """The sum of the four parts."""
    delay: Money | None
    """Move of the mid from decision to submission, of the filled part."""
    trading: Money | None
    """Fill prices against the mid at submission."""
    opportunity: Money | None
    """Move of the mid from decision to end, of the unfilled part."""
    fees: Money | None
    """Fees minus rebates."""
    bps: BasisPoints | None
    """The total, of everything ordered at the decision price."""


class OrderQuality(Struct, frozen=True, kw_only=True):
    """The costs of an order. Times and prices that are not here are those of the order."""

    decision_ns: TimeNanoseconds | None
    """Time of its signal, or the stated time of the decision."""
    decision_mid: Price | None
    """Price of its signal, or the stated price at the decision."""
    arrival_mid: Price | None
    """Stated price at the submission, or else the recorder's own mid."""
    end_mid: Price | None
    """The recorder's own mid when it ended unfilled."""
    signal_to_submit: Seconds | None
    submit_to_ack: Seconds | None
    """The part of the broker or venue."""
    ack_to_fill: Seconds | None
    """To the first fill."""
    submit_to_fill: Seconds | None
    """To the first fill."""
    submit_to_last_fill: Seconds | None
    """To the last fill, if it has ended."""
    queue: Seconds | None
    """Wait in queues of the trading process before the submission."""
    limiter: Seconds | None
    """Wait for the rate limiter of the trading process."""
    currency: str | None
    """Settlement currency; null: the instrument has none, and its amounts are in the account currency."""
    rate: Ratio | None
    """Units of the account currency per unit of it: the mean of the fills, or that at the end."""
    value: Money | None
    """Value of the fills."""
    fees: Money | None
    """Fees minus rebates."""
    maker_ratio: Ratio | None
    """Share of the filled value that added liquidity, where known."""
    slippage_decision: SlippageCost
    slippage_arrival: SlippageCost
    shortfall: ShortfallCost
    markouts: list[Markout]
    """Means over the fills."""
    reasons: Reasons


class RoundTripQuality(Struct, frozen=True, kw_only=True):
    """The costs of the orders of a round trip: each counts by the share of it that was filled there.

    Sums are those of the orders whose figures are stored; each has their number.
    """

    orders: int
    """Orders with a fill in the round trip."""
    value: Money | None
    """Value of the fills."""
    fees: Money | None
    """Fees minus rebates."""
    maker_ratio: Ratio | None
    """Share of the filled value that added liquidity, where known."""
    slippage_decision_orders: int
    slippage_decision: SlippageCost
    slippage_arrival_orders: int
    slippage_arrival: SlippageCost
    shortfall_orders: int
    shortfall: ShortfallCost
    markouts: dict[str, BasisPoints | None]
    """Means by horizon, weighted by value."""
    reasons: Reasons


def order_quality(row: Mapping[str, Any]) -> OrderQuality:
    """The figures of an order, from its columns."""
    figures = _figures(row, row["shortfall_reason"])
    markouts = {name: (row[f"markout_{name}_fills"], row[f"markout_{name}_bps"]) for name in HORIZONS_NS}
    return OrderQuality(
        **{name: row[name] for name in ("decision_ns", "decision_mid", "arrival_mid", "end_mid", "fees")},
        **{leg: row[column] for leg, column in LEGS.items()},
        currency=row["settlement_currency"],
        rate=row["mean_rate"],
        value=row["filled_value"],
        slippage_decision=_slippage(figures, row, "slippage_decision"),
        slippage_arrival=_slippage(figures, row, "slippage_arrival"),
        shortfall=_shortfall(row),
        markouts=markouts_of(figures, markouts),
        **figures.values_with_reasons(),
    )


def round_trip_quality(row: Mapping[str, Any]) -> RoundTripQuality:
    """The figures of a round trip, from the columns of the view."""
    missing = None if row["shortfall_orders"] else "none of its orders has a shortfall: each says why"
    figures = _figures(row, missing)
    markouts = {name: row[f"markout_{name}_bps"] for name in HORIZONS_NS}
    if None in markouts.values():
        figures.reasons["markouts"] = "no fill has a mid at this horizon"
    return RoundTripQuality(
        **{name: row[name] for name in ("orders", "fees")},
        **{f"{name}_orders": row[f"{name}_orders"] for name in ("slippage_decision", "slippage_arrival")},
        shortfall_orders=row["shortfall_orders"],
        value=row["filled_value"],
        slippage_decision=_slippage(figures, row, "slippage_decision"),
        slippage_arrival=_slippage(figures, row, "slippage_arrival"),
        shortfall=_shortfall(row),
        markouts=markouts,
        **figures.values_with_reasons(),
    )


def _figures(row: Mapping[str, Any], no_shortfall: str | None) -> Figures:
    figures = Figures()
    maker, taker = row["maker_value"] or 0.0, row["taker_value"] or 0.0
    figures.add("maker_ratio", maker / (maker + taker) if maker + taker else None, _NO_LIQUIDITY)
    if no_shortfall is not None:
        figures.reasons["shortfall"] = no_shortfall
    return figures


def _slippage(figures: Figures, row: Mapping[str, Any], name: str) -> SlippageCost:
    if row[name] is None:
        figures.reasons[name] = "there is no fill, or this reference price or a rate is missing"
    return SlippageCost(cost=row[name], bps=row[f"{name}_bps"])


def _shortfall(row: Mapping[str, Any]) -> ShortfallCost:
    parts = {part: row[f"shortfall_{part}"] for part in ("delay", "trading", "opportunity", "fees")}
    return ShortfallCost(total=row["shortfall"], bps=row["shortfall_bps"], **parts)


def markouts_of(figures: Figures, found: Mapping[str, tuple[int, float | None]]) -> list[Markout]:
    """The markouts by horizon, from number of fills and mean."""
    if any(mean is None for _, mean in found.values()):
        figures.reasons["markouts"] = "no fill has a mid at this horizon"
    return [Markout(horizon=name, n=n, mean=mean) for name, (n, mean) in found.items()]
