"""Statistics of round trips, kept up to date one round trip at a time."""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct, field

from decahertz.round_trip import RoundTrip
from decahertz.statistics.round_trips import (
    RoundTripSums,
    kelly_fraction,
    outcome,
    payoff_ratio,
    ratio,
    wilson,
    win_rate,
)

_RECENT = 500
"""Newest round trips that are kept one by one."""


class RecentFigures(Struct, frozen=True):
    """Statistics of the newest round trips."""

    trades: int = 0
    win_rate: float | None = None
    profit_factor: float | None = None
    expectancy: float | None = None
    expectancy_r: float | None = None


class _Kept(Struct, array_like=True, gc=False):
    """One of the newest round trips."""

    closed_ns: int
    pnl: float
    r_multiple: float | None
    outcome: int


class RoundTripStatistics(Struct):
    """Statistics of round trips, independent of the order in which they become known.

    A scratch, smaller than half a minor unit of the account currency, is neither a win nor a loss. Counts and
    sums follow each round trip; :meth:`update` recomputes the figures, once for all round trips since the
    last call.
    """

    minor_unit: float = 0.01
    window: int = 50
    """Newest round trips that have statistics of their own, at most 500."""
    recent: RecentFigures = RecentFigures()
    sums: RoundTripSums = field(default_factory=RoundTripSums)
    streak: int = 0
    win_rate: float | None = None
    win_rate_lower: float | None = None
    win_rate_upper: float | None = None
    profit_factor: float | None = None
    payoff_ratio: float | None = None
    kelly: float | None = None
    expectancy: float | None = None
    expectancy_r: float | None = None
    average_win_r: float | None = None
    average_loss_r: float | None = None
    _newest: list[_Kept] = []
    """The newest round trips, by time of closing."""
    _streak_before: int = 0
    """The streak before these."""
    _is_stale: bool = False
    """Whether the figures must be recomputed."""

    @property
    def trades(self) -> int:
        """Number of round trips."""
        return self.sums.trades

    @property
    def r_trades(self) -> int:
        """Number of round trips with known initial risk."""
        return self.sums.r_trades

    def roll(self, window: int) -> None:
        """Sets the length of the rolling window, in round trips."""
        if window != self.window:
            self.window = window
            self._is_stale = True

    def add(self, round_trip: RoundTrip) -> None:
        """Adds a round trip, unless its result in the account currency is not known."""
        if round_trip.pnl is None:
            return
        result = outcome(round_trip.pnl, self.minor_unit)
        self._count(round_trip.pnl, round_trip.r_multiple, result, 1)
        newest = self._newest
        at = bisect_right(newest, round_trip.closed_ns, key=_closed_ns)
        if at or len(newest) < _RECENT:
            one = _Kept(round_trip.closed_ns, round_trip.pnl, round_trip.r_multiple, result)
            newest.insert(at, one)
        if len(newest) > _RECENT:
            self._streak_before = _extended(self._streak_before, newest.pop(0).outcome)
        self._is_stale = True

    def remove(self, round_trip: RoundTrip) -> None:
        """Removes a round trip that was added: a late fill has shown that it was another one."""
        if round_trip.pnl is None:
            return
        result = outcome(round_trip.pnl, self.minor_unit)
        self._count(round_trip.pnl, round_trip.r_multiple, result, -1)
        newest = self._newest
        at = bisect_right(newest, round_trip.closed_ns, key=_closed_ns) - 1
        while at >= 0 and newest[at].closed_ns == round_trip.closed_ns and newest[at].pnl != round_trip.pnl:
            at -= 1
        if at >= 0 and newest[at].closed_ns == round_trip.closed_ns:
            del newest[at]
        self._is_stale = True

    def _count(self, result_pnl: float, multiple: float | None, result: int, sign: int) -> None:
        sums, pnl = self.sums, sign * result_pnl
        sums.trades += sign
        sums.pnl += pnl
        if result > 0:
            sums.wins += sign
            sums.gross_profit = sums.gross_profit + pnl if sums.wins else 0.0
        elif result < 0:
            sums.losses += sign
            sums.gross_loss = sums.gross_loss - pnl if sums.losses else 0.0
        if multiple is None:
            return
        sums.r_trades += sign
        sums.r_total += sign * multiple
        if result > 0:
            sums.r_wins += sign
            sums.r_gains = sums.r_gains + sign * multiple if sums.r_wins else 0.0
        elif result < 0:
            sums.r_losses += sign
            sums.r_lost = sums.r_lost - sign * multiple if sums.r_losses else 0.0

    def update(self) -> None:
        """Computes the figures again if round trips have come or gone since the last call."""
        if not self._is_stale:
            return
        self._is_stale = False
        s = self.sums
        self.win_rate = win_rate(s.wins, s.losses, s.trades)
        bounds = None if self.win_rate is None else wilson(s.wins, s.trades)
        self.win_rate_lower, self.win_rate_upper = bounds or (None, None)
        self.profit_factor = ratio(s.gross_profit, s.gross_loss)
        self.payoff_ratio, self.kelly = payoff_ratio(s), kelly_fraction(s)
        self.expectancy = ratio(s.pnl, s.trades)
        self.expectancy_r = ratio(s.r_total, s.r_trades)
        self.average_win_r = ratio(s.r_gains, s.r_wins)
        self.average_loss_r = ratio(-s.r_lost, s.r_losses)
        self.streak = self._newest_streak()
        self.recent = self._recent_figures()

    def _recent_figures(self) -> RecentFigures:
        kept = self._newest[-self.window :]
        wins = [one.pnl for one in kept if one.outcome > 0]
        losses = [one.pnl for one in kept if one.outcome < 0]
        multiples = [one.r_multiple for one in kept if one.r_multiple is not None]
        return RecentFigures(
            trades=len(kept),
            win_rate=win_rate(len(wins), len(losses), len(kept)),
            profit_factor=ratio(sum(wins), -sum(losses)),
            expectancy=ratio(sum(one.pnl for one in kept), len(kept)),
            expectancy_r=ratio(sum(multiples), len(multiples)),
        )

    def _newest_streak(self) -> int:
        newest = self._newest[-1].outcome if self._newest else 0
        length = 0
        for one in reversed(self._newest):
            if one.outcome != newest:
                return newest * length
            length += 1
        return newest * length + (self._streak_before if self._streak_before * newest > 0 else 0)


def _closed_ns(one: _Kept) -> int:
    return one.closed_ns


def _extended(streak: int, result: int) -> int:
    return streak + result if streak * result > 0 else result
