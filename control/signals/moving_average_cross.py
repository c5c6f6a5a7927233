"""Moving-average cross."""

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

_EQUAL = 1e-12
"""Averages that differ by a smaller share are equal: the sums of the same closes may differ by that."""


class MovingAverageCrossParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lengths of the two averages."""

    fast: Annotated[int, Meta(ge=1, lt=MOST_BARS, description="Bars of the fast average.")] = 10
    slow: Annotated[int, Meta(ge=2, lt=MOST_BARS, description="Bars of the slow average.")] = 30


class MovingAverageCross(SignalGenerator[MovingAverageCrossParameters]):
    """Buys when the fast average of the closes crosses above the slow one, sells when it crosses below.

    Simple averages. A cross is a bar at whose end the fast average is above the slow one, and was not at the
    end of the bar before; the other way round for below. Strength: fast over slow, less 1.
    Source: Brock, Lakonishok and LeBaron, *Simple Technical Trading Rules and the Stochastic Properties of
    Stock Returns*, Journal of Finance 47 (1992), without their band.
    """

    parameters_type: ClassVar[type[Struct]] = MovingAverageCrossParameters

    def __init__(
        self, parameters: MovingAverageCrossParameters, timeframe_ns: int, days: TradingDays
    ) -> None:
        super().__init__(parameters, timeframe_ns, days)
        if parameters.fast >= parameters.slow:
            raise ValueError(f"fast: {parameters.fast} is not below slow, {parameters.slow}")

    @property
    def bars(self) -> int:
        """The slow average, and the same one bar before."""
        return self.parameters.slow + 1

    def decide(self, bars: Sequence[Bar]) -> Decision:
        """Compares the averages at the end of the last bar and of the one before."""
        if len(bars) < self.bars:
            return Decision(reason=f"there are {len(bars)} bars, and {self.bars} are needed")
        closes = [bar.close for bar in bars]
        before, (side, fast, slow) = self._compare(closes[:-1])[0], self._compare(closes)
        values = {"fast": fast, "slow": slow}
        if side > 0 and before <= 0:
            direction, what = Direction.BUY, "crossed above"
        elif side < 0 and before >= 0:
            direction, what = Direction.SELL, "crossed below"
        else:
            what = {1: "stays above", -1: "stays below", 0: "equals"}[side]
            return Decision(reason=f"the fast average {what} the slow one", values=values)
        return Decision(
            direction=direction,
            reason=f"the average of {self.parameters.fast} closes {what} that of {self.parameters.slow}",
            strength=fast / slow - 1 if slow else None,
            values=values,
        )

    def _compare(self, closes: Sequence[float]) -> tuple[int, float, float]:
        """The side on which the fast average is, and both averages."""
        fast, slow = (
            math.fsum(closes[-count:]) / count for count in (self.parameters.fast, self.parameters.slow)
        )
        if math.isclose(fast, slow, rel_tol=_EQUAL):
            return 0, fast, slow
        return (1 if fast > slow else -1), fast, slow
