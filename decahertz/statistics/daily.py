"""Statistics of the daily changes of an equity curve.

A change is a result: transfers are taken out. A day without a value changes nothing. A dispersion within the
resolution of the record (half a minor unit of the account currency, or 1e-9 of the level) is rounding, not
risk; so ratios over it have no value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from decahertz.statistics.statistic import Z_95, SampleBasis, Statistic, statistic

DAYS_PER_YEAR = 365.0
"""Calendar days. Days without trading add changes of zero, so the annualised ratio is that of trading days
only, annualised with their number per year."""
_RELATIVE_RESOLUTION = 1e-9

TOO_FEW = "a dispersion needs two days"
NO_DAY = "there is no complete day after the first"
NO_DISPERSION = "the daily changes are equal within half a minor unit, or 1e-9 of the level"
NO_LOSING_DAY = "there is no losing day"
NO_DRAWDOWN = "there is no drawdown"
NO_LEVEL = "no equity is reported"
NOT_POSITIVE = "the equity was not positive on some day"


class DailyChange(Struct, frozen=True, gc=False):
    """The result of one day."""

    day: int
    """Number of the trading day."""
    change: float
    """In money, without transfers."""
    level: float | None = None
    """Equity that earned it: that of the day before, plus what was transferred in; ``None``: not known."""


class Dispersion(Struct, frozen=True):
    """Daily changes, and the size below which they are rounding."""

    changes: Sequence[float]
    resolution: float
    """In the unit of the changes."""


class Drawdown(Struct, frozen=True):
    """A fall from a peak."""

    depth: float
    """Not negative; in the unit of the curve."""
    days: int
    """From the day of the peak to that of the recovery, or to the last day."""


class DailyFigures(Struct, frozen=True, kw_only=True):
    """Statistics of the daily changes of equity. Ratios are annualised with 365 days."""

    pnl: Statistic
    """Sum of the changes (money)."""
    total_return: Statistic
    """Compounded daily returns (ratio)."""
    annual_return: Statistic
    """Compounded return per year (ratio)."""
    volatility: Statistic
    """Sample standard deviation of the daily returns, annualised (ratio)."""
    volatility_money: Statistic
    """Sample standard deviation of the daily changes, annualised (money)."""
    sharpe: Statistic
    """Sharpe ratio of the returns, or of the changes where no level is known; with Lo's interval."""
    sharpe_error: Statistic
    """Standard error of the Sharpe ratio."""
    sortino: Statistic
    """Sortino ratio, of the same."""
    calmar: Statistic
    """Return per year divided by the largest drawdown, of the same."""
    max_drawdown: Statistic
    """Largest fall from a peak, relative to it (ratio, not negative)."""
    max_drawdown_money: Statistic
    """Largest fall from a peak (money, not negative)."""
    max_drawdown_days: Statistic
    """Longest time below a peak (days)."""
    drawdown: Statistic
    """Fall from the peak on the last day (ratio, not negative)."""
    drawdown_money: Statistic
    """Fall from the peak on the last day (money, not negative)."""
    drawdown_days: Statistic
    """Days since the peak; 0 at a peak."""
    red_days: Statistic
    """Days with a loss."""
    red_streak: Statistic
    """Longest run of days with a loss; days without a result are skipped."""
    best_day: Statistic
    """Largest change (money)."""
    worst_day: Statistic
    """Smallest change (money)."""


def returns_of(changes: Sequence[DailyChange]) -> list[float] | None:
    """Returns change divided by level of each day; ``None`` unless each level is known and positive."""
    returns = []
    for day in changes:
        if day.level is None or day.level <= 0 or not math.isfinite(day.change / day.level):
            return None
        returns.append(day.change / day.level)
    return returns


def money_dispersion(changes: Sequence[DailyChange], minor_unit: float) -> Dispersion:
    """Returns the changes in money; levels, where known, say how exact they can be."""
    level = max((abs(day.level) for day in changes if day.level is not None), default=0.0)
    resolution = max(minor_unit / 2, level * _RELATIVE_RESOLUTION)
    return Dispersion([day.change for day in changes], resolution)


def sample_deviation(values: Sequence[float]) -> float | None:
    """Returns the standard deviation with n - 1; ``None`` for fewer than two values, or if it overflows."""
    n = len(values)
    if n < 2:  # noqa: PLR2004 - a standard deviation needs two
        return None
    mean = math.fsum(values) / n
    deviation = math.hypot(*(value - mean for value in values)) / math.sqrt(n - 1)
    return deviation if math.isfinite(deviation) else None


def sharpe_ratio(values: Sequence[float], resolution: float = 0.0) -> float | None:
    """Returns mean over sample standard deviation of daily returns or changes, annualised.

    W. F. Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21 (1994), against zero. Of changes in
    money, a constant capital cancels out. ``None`` for fewer than two values, or if their deviation is not
    above ``resolution``.
    """
    deviation = sample_deviation(values)
    if deviation is None or deviation <= resolution:
        return None
    return _finite(math.fsum(values) / len(values) / deviation * math.sqrt(DAYS_PER_YEAR))


def sharpe_error(sharpe: float, days: int) -> float:
    """Returns the standard error of an annualised Sharpe ratio over that many days.

    sqrt((1 + s²/2) / n) of the daily ratio s, annualised like the ratio: A. W. Lo, "The Statistics of Sharpe
    Ratios", Financial Analysts Journal 58 (2002), for independent daily values. Dependent ones (a trend that
    lasts for days) make the true error larger.
    """
    daily = sharpe / math.sqrt(DAYS_PER_YEAR)
    return math.sqrt((1 + daily * daily / 2) / days * DAYS_PER_YEAR)


def sortino_ratio(values: Sequence[float], resolution: float = 0.0) -> float | None:
    """Returns mean over downside deviation (target zero) of daily returns or changes, annualised.

    F. A. Sortino and L. N. Price, "Performance Measurement in a Downside Risk Framework", Journal of
    Investing 3 (1994). A value that is not below ``-resolution`` is not a loss. ``None`` for fewer than two
    values, or if none is a loss.
    """
    n = len(values)
    losses = [value for value in values if value < -resolution]
    if n < 2 or not losses:  # noqa: PLR2004 - one day is not a distribution
        return None
    downside = math.hypot(*losses) / math.sqrt(n)
    if not downside:
        return None
    return _finite(math.fsum(values) / n / downside * math.sqrt(DAYS_PER_YEAR))


def drawdowns(
    curve: Sequence[float], resolution: float = 0.0, *, relative: bool
) -> tuple[Drawdown, Drawdown]:
    """Returns the largest depth with the longest time below a peak, and the drawdown at the end.

    ``curve`` has one value for each day; a fall of no more than ``resolution`` is rounding. ``relative``
    divides the depth by the peak, which must be positive.
    """
    peak, peak_day = -math.inf, 0
    deepest, longest, depth, days = 0.0, 0, 0.0, 0
    for day, value in enumerate(curve):
        if value >= peak - resolution:
            peak, peak_day = max(peak, value), day
            depth, days = 0.0, 0
            continue
        depth = (peak - value) / peak if relative else peak - value
        days = day - peak_day
        deepest, longest = max(deepest, depth), max(longest, days)
    return Drawdown(deepest, longest), Drawdown(depth, days)


def growth_of(returns: Sequence[float]) -> list[float]:
    """Returns the value of 1 after each day, from the start on."""
    curve = [1.0]
    for value in returns:
        curve.append(max(curve[-1] * (1 + value), 0.0))
    return curve


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


class Ratios(Struct, frozen=True):
    """Annualised ratios of mean and dispersion."""

    sharpe: float | None
    sharpe_error: float | None
    sortino: float | None


def ratios_of_days(changes: Sequence[DailyChange], minor_unit: float) -> Ratios:
    """Computes the ratios of the returns, or of the changes in money where no level is known."""
    money = money_dispersion(changes, minor_unit)
    returns = returns_of(changes) if changes else None
    values, resolution = money.changes, money.resolution
    if returns is not None:
        values, resolution = returns, _RELATIVE_RESOLUTION
    deviation = sample_deviation(money.changes)
    is_steady = deviation is None or deviation <= money.resolution
    sharpe = None if is_steady else sharpe_ratio(values, resolution)
    error = None if sharpe is None else sharpe_error(sharpe, len(changes))
    has_loss = any(day.change <= -minor_unit / 2 for day in changes)
    return Ratios(sharpe, error, sortino_ratio(values, resolution) if has_loss else None)


def figures_of_days(changes: Sequence[DailyChange], basis: SampleBasis, minor_unit: float) -> DailyFigures:
    """Computes the statistics of the changes of consecutive days, oldest first."""
    n = len(changes)
    money = money_dispersion(changes, minor_unit)
    returns = returns_of(changes) if n else None
    has_levels = any(day.level is not None for day in changes)
    no_return = (NOT_POSITIVE if has_levels else NO_LEVEL) if n else NO_DAY

    def figure(
        value: float | None, reason: str = NO_DAY, interval: tuple[float | None, float | None] = (None, None)
    ) -> Statistic:
        return statistic(value, n, basis, reason, interval)

    ratios = ratios_of_days(changes, minor_unit)
    sharpe, error = ratios.sharpe, ratios.sharpe_error
    no_ratio = TOO_FEW if n < 2 else NO_DISPERSION  # noqa: PLR2004 - a standard deviation needs two
    half = math.inf if error is None else Z_95 * error
    bounds = (None, None) if sharpe is None else (sharpe - half, sharpe + half)
    losses = [value for value in money.changes if value <= -minor_unit / 2]
    curve = _running_sum(money.changes)
    deepest, last = drawdowns(curve, money.resolution, relative=False)
    growth = None if returns is None else growth_of(returns)
    relative, last_relative = (
        (None, None) if growth is None else drawdowns(growth, _RELATIVE_RESOLUTION, relative=True)
    )
    total = None if growth is None else growth[-1] - 1
    annual = _annual_return(growth, n)
    deviation, relative_deviation = sample_deviation(money.changes), sample_deviation(returns or ())
    no_deviation = TOO_FEW if returns is not None or not n else no_return
    return DailyFigures(
        pnl=figure(math.fsum(money.changes) if n else None),
        total_return=figure(total, no_return),
        annual_return=figure(annual, no_return),
        volatility=figure(_annualised(relative_deviation), no_deviation),
        volatility_money=figure(_annualised(deviation), TOO_FEW),
        sharpe=figure(sharpe, no_ratio, bounds),
        sharpe_error=figure(error, no_ratio),
        sortino=figure(ratios.sortino, TOO_FEW if n < 2 else NO_LOSING_DAY),  # noqa: PLR2004 - as above
        calmar=figure(_calmar(annual, relative, money, deepest), NO_DRAWDOWN if n else NO_DAY),
        max_drawdown=figure(None if relative is None else relative.depth, no_return),
        max_drawdown_money=figure(deepest.depth if n else None),
        max_drawdown_days=figure(float(deepest.days) if n else None),
        drawdown=figure(None if last_relative is None else last_relative.depth, no_return),
        drawdown_money=figure(last.depth if n else None),
        drawdown_days=figure(float(last.days) if n else None),
        red_days=figure(float(len(losses)) if n else None),
        red_streak=figure(float(_longest_red(money.changes, minor_unit / 2)) if n else None),
        best_day=figure(max(money.changes, default=None)),
        worst_day=figure(min(money.changes, default=None)),
    )


def _running_sum(changes: Sequence[float]) -> list[float]:
    curve = [0.0]
    for change in changes:
        curve.append(curve[-1] + change)
    return curve


def _annual_return(growth: Sequence[float] | None, days: int) -> float | None:
    if growth is None or not days:
        return None
    try:
        return float(growth[-1] ** (DAYS_PER_YEAR / days)) - 1
    except OverflowError:
        return math.inf


def _annualised(deviation: float | None) -> float | None:
    return None if deviation is None else deviation * math.sqrt(DAYS_PER_YEAR)


def _calmar(
    annual: float | None, relative: Drawdown | None, money: Dispersion, deepest: Drawdown
) -> float | None:
    """Yearly return over the largest drawdown.

    T. W. Young, "Calmar Ratio: A Smoother Tool", Futures 20 (1991), but over the whole record instead of his
    36 months. Where no level is known: mean change times 365, over the largest drawdown in money.
    """
    if relative is not None:
        return None if annual is None or not relative.depth else annual / relative.depth
    if not deepest.depth:
        return None
    return math.fsum(money.changes) / len(money.changes) * DAYS_PER_YEAR / deepest.depth


def _longest_red(changes: Sequence[float], half_unit: float) -> int:
    longest = run = 0
    for change in changes:
        if change <= -half_unit:
            run += 1
            longest = max(longest, run)
        elif change >= half_unit:
            run = 0
    return longest
