"""The portfolio collector: statistics of the round trips of all strategies together, and by regime.

It has no state of its own: the strategy collector counts each round trip when it closes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from collectors.portfolio.sample import PortfolioSample
from collectors.strategy.collector import StrategyCollector
from collectors.strategy.round_trip_metrics import metrics_of
from decahertz.clock import Clock
from decahertz.collector import BaseCollector, NoOptions
from decahertz.sample import Sample


class PortfolioCollector(BaseCollector[NoOptions]):
    """Statistics by regime, once a second: round trips seldom close."""

    sample_type: ClassVar[type[Sample]] = PortfolioSample
    options_type: ClassVar[type[msgspec.Struct]] = NoOptions
    every: ClassVar[int] = 10

    def __init__(self, clock: Clock, options: NoOptions) -> None:
        super().__init__(clock, options)
        self.strategies: Callable[[], StrategyCollector | None] = _no_strategies
        """Returns the running strategy collector; set by the part that creates both."""

    def sample(self, now_ns: int) -> list[Sample]:  # noqa: ARG002 - nothing depends on the time
        """Returns a sample of all round trips and one of each regime; none before a strategy is known."""
        strategies = self.strategies()
        if strategies is None or strategies.is_empty:
            return []
        return [
            PortfolioSample(regime=regime, pnl=statistics.sums.pnl, **metrics_of(statistics))
            for regime, statistics in strategies.portfolio.by_regime()
        ]


def _no_strategies() -> StrategyCollector | None:
    """Used where no strategy collector runs."""
    return None
