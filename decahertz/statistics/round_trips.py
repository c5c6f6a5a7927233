"""Statistics of round trips, from their counts and sums.

A round trip whose P&L is smaller than half the minor unit of the account currency is a scratch: neither won
nor lost. The sum of such residues stays part of the total.
"""

from __future__ import annotations

import math

from msgspec import Struct

from decahertz.statistics.statistic import Z_95, SampleBasis, Statistic, statistic, student_t_95

NO_TRADE = "there is no round trip"
NO_WIN = "there is no winning round trip"
NO_LOSS = "there is no losing round trip"
NO_RISK = "no round trip has a known initial risk"
UNDECIDED = "no round trip was won or lost"


class RoundTripSums(Struct, kw_only=True):
    """Counts and sums of round trips, in money after fees."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    pnl: float = 0.0
    """Sum over all, scratches included."""
    gross_profit: float = 0.0
    """Sum over the wins."""
    gross_loss: float = 0.0
    """Sum over the losses; not negative."""
    pnl_deviation: float | None = None
    """Sample standard deviation of the P&L; ``None``: not known."""
    r_trades: int = 0
    r_wins: int = 0
    r_losses: int = 0
    r_total: float = 0.0
    """Sum of the R multiples of all round trips with known risk."""
    r_gains: float = 0.0
    r_lost: float = 0.0
    """Not negative."""
    r_deviation: float | None = None
    """Sample standard deviation of the R multiples; ``None``: not known."""


class RoundTripFigures(Struct, frozen=True, kw_only=True):
    """Statistics of round trips, in money of the account after fees."""

    win_rate: Statistic
    """Wins divided by round trips (ratio), with Wilson's interval."""
    profit_factor: Statistic
    """Gross profit divided by gross loss (ratio)."""
    expectancy: Statistic
    """Mean P&L of a round trip (money), with the interval of a mean by Student's t."""
    average_win: Statistic
    """Mean P&L of the wins (money)."""
    average_loss: Statistic
    """Mean P&L of the losses (money), negative."""
    payoff_ratio: Statistic
    """Average win divided by the size of the average loss (ratio)."""
    kelly: Statistic
    """Kelly fraction (ratio): the share of the capital at risk at which it would grow fastest."""
    expectancy_r: Statistic
    """Mean R multiple, with the interval of a mean by Student's t."""
    average_win_r: Statistic
    """Mean R multiple of the wins."""
    average_loss_r: Statistic
    """Mean R multiple of the losses, negative."""


def outcome(pnl: float, minor_unit: float) -> int:
    """Returns 1 for a win, -1 for a loss, 0 for a scratch: less than half a minor unit either way."""
    half = minor_unit / 2
    return (pnl >= half) - (pnl <= -half)


def ratio(numerator: float, denominator: float) -> float | None:
    """Returns a quotient; ``None`` without a denominator, or if it overflows."""
    if not denominator:
        return None
    quotient = numerator / denominator
    return quotient if math.isfinite(quotient) else None


def win_rate(wins: int, losses: int, trades: int) -> float | None:
    """Returns the share of wins among all round trips; ``None`` while none was won or lost."""
    return wins / trades if wins or losses else None


def wilson(wins: int, trades: int) -> tuple[float, float] | None:
    """Returns the bounds of the win rate at 95 %, two-sided; ``None`` without round trips.

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", Journal of the American Statistical Association 22 (1927).
    """
    if not trades:
        return None
    z = Z_95
    rate = wins / trades
    spread = z * math.sqrt(rate * (1 - rate) / trades + z * z / (4 * trades * trades))
    centre, scale = rate + z * z / (2 * trades), 1 + z * z / trades
    # Rounding may put a bound on the wrong side of the rate.
    return (
        min(max((centre - spread) / scale, 0.0), rate),
        max(min((centre + spread) / scale, 1.0), rate),
    )


def kelly_fraction(sums: RoundTripSums) -> float | None:
    """Returns p - (1 - p) / b, with p the share of wins among wins and losses, b the payoff ratio.

    J. L. Kelly, "A New Interpretation of Information Rate", Bell System Technical Journal 35 (1956), for bets
    that win b times the stake or lose it. Negative: no stake grows. ``None`` without a win or a loss.
    """
    payoff = payoff_ratio(sums)
    if not payoff:
        return None
    p = sums.wins / (sums.wins + sums.losses)
    return p - (1 - p) / payoff


def payoff_ratio(sums: RoundTripSums) -> float | None:
    """Returns average win divided by average loss; ``None`` without a win or a loss."""
    average_win, average_loss = ratio(sums.gross_profit, sums.wins), ratio(sums.gross_loss, sums.losses)
    return None if average_win is None or average_loss is None else ratio(average_win, average_loss)


def figures_of_round_trips(sums: RoundTripSums) -> RoundTripFigures:
    """Computes the statistics from counts and sums."""
    s = sums
    no_loss, no_win = (NO_LOSS, NO_WIN) if s.trades else (NO_TRADE, NO_TRADE)
    no_r = NO_RISK if s.trades else NO_TRADE
    average_loss = ratio(-s.gross_loss, s.losses)
    no_payoff = no_loss if average_loss is None else no_win
    expectancy, expectancy_r = ratio(s.pnl, s.trades), ratio(s.r_total, s.r_trades)
    decided = s.wins + s.losses
    return RoundTripFigures(
        win_rate=statistic(
            win_rate(s.wins, s.losses, s.trades),
            s.trades,
            SampleBasis.ROUND_TRIPS,
            UNDECIDED if s.trades else NO_TRADE,
            wilson(s.wins, s.trades) or (None, None),
        ),
        profit_factor=statistic(ratio(s.gross_profit, s.gross_loss), decided, SampleBasis.DECIDED, no_loss),
        expectancy=statistic(
            expectancy,
            s.trades,
            SampleBasis.ROUND_TRIPS,
            NO_TRADE,
            _interval_of_mean(expectancy, s.pnl_deviation, s.trades),
        ),
        average_win=statistic(ratio(s.gross_profit, s.wins), s.wins, SampleBasis.WINS, no_win),
        average_loss=statistic(average_loss, s.losses, SampleBasis.LOSSES, no_loss),
        payoff_ratio=statistic(payoff_ratio(s), decided, SampleBasis.DECIDED, no_payoff),
        kelly=statistic(kelly_fraction(s), decided, SampleBasis.DECIDED, no_payoff),
        expectancy_r=statistic(
            expectancy_r,
            s.r_trades,
            SampleBasis.R,
            no_r,
            _interval_of_mean(expectancy_r, s.r_deviation, s.r_trades),
        ),
        average_win_r=statistic(
            ratio(s.r_gains, s.r_wins), s.r_wins, SampleBasis.R_WINS, no_r if not s.r_trades else NO_WIN
        ),
        average_loss_r=statistic(
            ratio(-s.r_lost, s.r_losses),
            s.r_losses,
            SampleBasis.R_LOSSES,
            no_r if not s.r_trades else NO_LOSS,
        ),
    )


def _interval_of_mean(
    mean: float | None, deviation: float | None, n: int
) -> tuple[float | None, float | None]:
    """Student's interval: Student, "The Probable Error of a Mean", Biometrika 6 (1908)."""
    if mean is None or deviation is None or n < 2:  # noqa: PLR2004 - a standard deviation needs two
        return None, None
    half = student_t_95(n - 1) * deviation / math.sqrt(n)
    return mean - half, mean + half
