"""Reversion of the z-score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta, Struct

from decahertz.bar import Bar
from decahertz.event import Direction
from decahertz.signal_generator import MOST_BARS, Decision, SignalGenerator

if TYPE_CHECKING:
    from decahertz.trading_days import TradingDays

_NO_SPREAD = 1e-12
"""A smaller standard deviation, as a share of the mean, is rounding."""


class ZScoreReversionParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The window, and the z-scores at which to enter and to leave."""

    window: Annotated[
        int, Meta(ge=3, lt=MOST_BARS, description="Bars of the mean and the standard deviation.")
    ] = 20
    entry: Annotated[float, Meta(gt=0, le=100, description="Distance from the mean to enter at.")] = 2.0
    exit: Annotated[float, Meta(ge=0, le=100, description="Distance from the mean to leave at.")] = 0.0


class ZScoreReversion(SignalGenerator[ZScoreReversionParameters]):
    """Buys when the close falls far below its mean, sells when it rises far above, and leaves near the mean.

    z is the close less the mean of the window, over its standard deviation (with n - 1); the window includes
    the close. Buy: z falls to -entry or below. Sell: z rises to entry or above. Flat: z comes back to within
    exit of the mean. Each compares with z at the end of the bar before. Strength: the distance of z from 0.
    Source: Gatev, Goetzmann and Rouwenhorst, *Pairs Trading: Performance of a Relative-Value Arbitrage Rule*,
    Review of Financial Studies 19 (2006), whose rule of two standard deviations it applies to one price.
    """

    parameters_type: ClassVar[type[Struct]] = ZScoreReversionParameters

    def __init__(self, parameters: ZScoreReversionParameters, timeframe_ns: int, days: TradingDays) -> None:
        super().__init__(parameters, timeframe_ns, days)
        if parameters.exit >= parameters.entry:
            raise ValueError(f"exit: {parameters.exit:g} is not below entry, {parameters.entry:g}")

    @property
    def bars(self) -> int:
        """The window, and the same one bar before."""
        return self.parameters.window + 1

    def decide(self, bars: Sequence[Bar]) -> Decision:
        """Compares z at the end of the last bar and of the one before."""
        if len(bars) < self.bars:
            return Decision(reason=f"there are {len(bars)} bars, and {self.bars} are needed")
        closes = [bar.close for bar in bars]
        before, now = self._score(closes[:-1]), self._score(closes)
        if now is None or before is None:
            return Decision(reason="the closes do not vary, so there is no z-score")
        entry, leave = self.parameters.entry, self.parameters.exit
        values = {"z": now, "z_before": before}
        if now <= -entry < before:
            direction, reason = Direction.BUY, f"z fell to {now:.2f}, to -{entry:g} or below"
        elif now >= entry > before:
            direction, reason = Direction.SELL, f"z rose to {now:.2f}, to {entry:g} or above"
        elif now >= -leave > before or now <= leave < before:
            direction, reason = Direction.FLAT, f"z came back to {now:.2f}"
        else:
            return Decision(
                reason=f"z went from {before:.2f} to {now:.2f} and crossed no level", values=values
            )
        return Decision(direction=direction, reason=reason, strength=abs(now), values=values)

    def _score(self, closes: Sequence[float]) -> float | None:
        window = closes[-self.parameters.window :]
        mean = math.fsum(window) / len(window)
        variance = math.fsum((close - mean) ** 2 for close in window) / (len(window) - 1)
        deviation = math.sqrt(variance)
        return (closes[-1] - mean) / deviation if deviation > _NO_SPREAD * abs(mean) else None
