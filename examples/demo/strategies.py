"""The strategies: when to enter a position, and when to leave it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from demo.market import View

MAX_HOLD = 8.0  # seconds until a position is closed
BY_REQUEST = "demo"  # strategy of the order requests that it takes


@dataclass(frozen=True)
class Intent:
    """An order that a strategy wants to place."""

    side: str
    reason: str
    strength: float = 1.0
    is_passive: bool = False


class Strategy(ABC):
    """Decides when to enter a position, and when to exit before the stop or the time limit."""

    name: ClassVar[str]

    @abstractmethod
    def enter(self, view: View) -> Intent | None:
        """Returns the order that opens a position, or ``None``."""

    @abstractmethod
    def exit(self, view: View, side: str, age: float) -> Intent | None:
        """Returns the order that closes a position opened on ``side`` ``age`` seconds ago, or ``None``."""


class MeanReversion(Strategy):
    """Buys far below the mean and sells far above it."""

    name = "mean-reversion"

    def enter(self, view: View) -> Intent | None:
        score = view.score
        if abs(score) < 1.2:  # noqa: PLR2004 - the parameter of the strategy
            return None
        return Intent("sell" if score > 0 else "buy", f"{score:+.1f} deviations from the mean", abs(score))

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - other strategies use it
        is_back = view.score > -0.2 if side == "buy" else view.score < 0.2  # noqa: PLR2004 - a parameter
        return Intent(other(side), "back at the mean") if is_back else None


class Momentum(Strategy):
    """Follows the fast mean away from the slow one."""

    name = "momentum"

    def enter(self, view: View) -> Intent | None:
        trend = view.trend
        if abs(trend) < 0.7:  # noqa: PLR2004 - the parameter of the strategy
            return None
        return Intent("buy" if trend > 0 else "sell", f"trend of {trend:+.1f} deviations", abs(trend))

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - other strategies use it
        is_over = view.trend < 0.2 if side == "buy" else view.trend > -0.2  # noqa: PLR2004 - a parameter
        return Intent(other(side), "the trend is over") if is_over else None


class ByRequest(Strategy):
    """Trades what others ask for, and nothing on its own."""

    name = BY_REQUEST

    def enter(self, view: View) -> Intent | None:  # noqa: ARG002 - see above
        return None

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - see above
        return None


class MarketMaker(Strategy):
    """Quotes at the touch on the larger side, then on the other one; crosses the spread after a while."""

    name = "market-maker"

    def enter(self, view: View) -> Intent | None:
        quote = view.quote
        share = quote.bid_size / max(quote.bid_size + quote.ask_size, 1e-12)
        side = "buy" if share > 0.5 else "sell"  # noqa: PLR2004 - an even book
        return Intent(side, f"{share:.0%} of the size at the bid", abs(2 * share - 1), is_passive=True)

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - other strategies use it
        is_passive = age < MAX_HOLD / 2
        reason = "earn the spread" if is_passive else "waited too long at the touch"
        return Intent(other(side), reason, is_passive=is_passive)


def other(side: str) -> str:
    """The opposite side."""
    return "sell" if side == "buy" else "buy"
