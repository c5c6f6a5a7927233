"""One statistic: its value, its sample size, its interval, and the reason if it has no value."""

from __future__ import annotations

import math
from enum import StrEnum

from msgspec import Struct

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 %."""


class SampleBasis(StrEnum):
    """The kind of observations in the sample of a statistic."""

    ROUND_TRIPS = "round_trips"
    WINS = "wins"
    LOSSES = "losses"
    DECIDED = "wins_and_losses"
    """Round trips that were won or lost."""
    R = "round_trips_with_risk"
    R_WINS = "wins_with_risk"
    R_LOSSES = "losses_with_risk"
    EQUITY_DAYS = "days_of_equity"
    """Daily changes of the reported equity, without transfers."""
    PNL_DAYS = "days_of_pnl"
    """P&L by day, from the first one with any: of round trips by the day of closing, and cash flows."""
    MIXED_DAYS = "days_of_equity_and_pnl"
    """Daily changes of several strategies, of which some report their equity."""


class Interval(Struct, frozen=True):
    """A two-sided interval at 95 %."""

    low: float
    high: float


class Statistic(Struct, frozen=True, kw_only=True):
    """One statistic."""

    value: float | None
    n: int
    """Sample size."""
    basis: SampleBasis
    """Kind of the observations."""
    interval: Interval | None = None
    """At 95 %, where the statistic has one."""
    reason: str | None = None
    """Why the value is null."""


def statistic(
    value: float | None,
    n: int,
    basis: SampleBasis,
    reason: str,
    interval: tuple[float | None, float | None] = (None, None),
) -> Statistic:
    """Returns a statistic; ``reason`` says why there is no value, if there is none or it overflowed."""
    if value is None or not math.isfinite(value):
        why = reason if value is None else "the number is too large"
        return Statistic(value=None, n=n, basis=basis, reason=why)
    low, high = interval
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Statistic(value=value, n=n, basis=basis)
    return Statistic(value=value, n=n, basis=basis, interval=Interval(low, high))


def student_t_95(degrees: int) -> float:
    """Returns the 97.5 % quantile of Student's t distribution.

    The expansion of R. A. Fisher and E. A. Cornish, "The Percentile Points of Distributions Having Known
    Cumulants", Technometrics 2 (1960), to the fourth power of 1/degrees; exact values for up to four
    degrees. The error is below 0.1 %.
    """
    exact = (12.706204736, 4.302652730, 3.182446305, 2.776445105)
    if degrees <= len(exact):
        return exact[max(degrees, 1) - 1]
    z, v = Z_95, float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
