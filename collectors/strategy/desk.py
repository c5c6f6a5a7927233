"""The equity of all strategies together."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from msgspec import Struct, field

from collectors.strategy.equity import Path
from decahertz.statistics.equity_days import DAYS_KEPT
from decahertz.statistics.round_trips import outcome

if TYPE_CHECKING:
    from collectors.strategy.state import StrategyState


class DeskFigures(Struct, frozen=True):
    """Figures of all strategies together that are not sums of theirs."""

    drawdown: float | None
    """Fall of the sum of their results from its highest value, in money; ``None`` while an equity is not
    known."""
    red_days: int
    """Consecutive most recent days on which all together realised a loss."""


class DeskEquity(Struct):
    """The results of all strategies added up, without transfers, cycle by cycle.

    It starts at zero. Results from before the first cycle (a start from the stored events) count with that
    cycle.
    """

    path: Path = field(default_factory=lambda: Path(0, 0.0, 0.0, 0))
    retired: float = 0.0
    """Result of strategies that are retired."""
    is_known: bool = True
    """Whether the equity of every strategy is known."""

    def observe(self, now_ns: int, states: Collection[StrategyState], *, is_known: bool) -> None:
        """Adds the results of a cycle; nothing while fills of the past arrive, or an equity is not known."""
        self.is_known = is_known
        if is_known and not any(state.is_catching_up(now_ns) for state in states):
            total = self.retired + sum(state.curve.result for state in states)
            self.path.observe(max(now_ns, self.path.newest_ns), total)


def red_days_of(states: Collection[StrategyState], today: int) -> int:
    """Counts the most recent days with a loss of all strategies together; days without a result are skipped.

    ``today`` is the number of the present trading day.
    """
    count = 0
    for day in range(today, today - DAYS_KEPT, -1):
        pnl = sum(state.daily_pnl.days.get(day, 0.0) for state in states)
        result = outcome(pnl, next(iter(states)).daily_pnl.minor_unit) if pnl else 0
        if result > 0:
            break
        count -= result
    return count
