"""Measures that limits apply to, read from the newest samples and the state of the collectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from collectors.common.values import finite
from collectors.risk.sample import DESK

if TYPE_CHECKING:
    from collectors.execution.sample import ExecutionSample
    from collectors.strategy.desk import DeskFigures
    from collectors.strategy.exposure import Exposure
    from collectors.strategy.sample import StrategySample

NOT_VALUED = "an open position has no mark price or no rate to the account currency"
_NO_EQUITY = "the equity is not known: an open position has no mark price or no rate to the account currency"


@dataclass(slots=True)
class Measures:
    """Values of all measures of one strategy, or of the desk; those that are ``None`` are not known."""

    strategy: str
    values: Mapping[str, float | None] = field(default_factory=dict)

    def reason(self, measure: str) -> str:
        """Returns why a measure is not known."""
        return _NO_EQUITY if measure == "drawdown" else NOT_VALUED


def measures_of(sample: StrategySample, exposure: Exposure, open_orders: int) -> Measures:
    """Returns the measures of a strategy."""
    return Measures(
        sample.strategy,
        {
            **_of(exposure, sample.daily_pnl, sample.weekly_pnl, open_orders),
            "open_positions": float(sample.open_positions),
            "drawdown": sample.drawdown,
            "red_days": float(sample.daily_loss_streak),
        },
    )


def measures_of_desk(
    samples: Sequence[StrategySample], desk: DeskFigures, exposure: Exposure, open_orders: int
) -> Measures:
    """Returns the measures of all strategies together."""
    daily, weekly = sum(s.daily_pnl for s in samples), sum(s.weekly_pnl for s in samples)
    return Measures(
        DESK,
        {
            **_of(exposure, daily, weekly, open_orders),
            "open_positions": float(sum(s.open_positions for s in samples)),
            "drawdown": desk.drawdown,
            "red_days": float(desk.red_days),
        },
    )


def open_orders_of(samples: Iterable[ExecutionSample]) -> Counter[str]:
    """Returns the number of open orders by strategy."""
    orders: Counter[str] = Counter()
    for sample in samples:
        orders[sample.strategy] += sample.open_orders
    return orders


def _of(exposure: Exposure, daily: float, weekly: float, open_orders: int) -> dict[str, float | None]:
    return {
        "gross_exposure": exposure.gross,
        "net_exposure": None if exposure.net is None else abs(exposure.net),
        "instrument_exposure": _largest(exposure, exposure.by_instrument.values()),
        "currency_exposure": _largest(exposure, exposure.by_currency.values()),
        "daily_loss": max(0.0, -daily),
        "weekly_loss": max(0.0, -weekly),
        "daily_loss_r": max(0.0, -exposure.daily_r),
        "weekly_loss_r": max(0.0, -exposure.weekly_r),
        "open_orders": float(open_orders),
    }


def _largest(exposure: Exposure, amounts: Iterable[float]) -> float | None:
    """Returns the largest size; ``None`` while a position is not valued, unless nothing is open."""
    if exposure.gross is None:
        return None
    return finite(max((abs(amount) for amount in amounts), default=0.0))
