"""Samples every strategy that an event has named.

Strategies appear when first seen and are retired after ``idle_seconds`` without an event, unless their fills
leave a position open. One that comes back starts anew, counters included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.mark_prices import Marks
from collectors.common.values import finite
from collectors.strategy.account import Account
from collectors.strategy.sample import StrategySample
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Equity, Event, Fill, Position, Quote, Regime, Signal
from decahertz.sample import Sample

_DAY_SECONDS = 86_400.0
_SWEEP_NS = 10 * NS_PER_SECOND
"""How often what is idle is looked for."""


class StrategyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.strategy]``."""

    idle_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=2_678_400,
            description="A flat strategy without any event for this long is retired.",
        ),
    ] = 691_200.0
    break_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long a reported position may differ from the fills before it counts as a break.",
        ),
    ] = 1.0
    min_days: Annotated[
        int,
        Meta(ge=2, le=1000, description="Daily changes needed before Sharpe and Sortino ratio are given."),
    ] = 5


class StrategyCollector(BaseCollector[StrategyOptions]):
    """P&L, positions and honest statistics by strategy."""

    sample_type: ClassVar[type[Sample]] = StrategySample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Fill, Position, Equity, Signal, Regime})
    restored: ClassVar[Mapping[type[Event], float]] = {
        Fill: math.inf,  # every one of them is in the realised P&L
        Equity: 400 * _DAY_SECONDS,
        Position: 7 * _DAY_SECONDS,
        Regime: 7 * _DAY_SECONDS,
    }
    options_type: ClassVar[type[msgspec.Struct]] = StrategyOptions

    def __init__(self, clock: Clock, options: StrategyOptions) -> None:
        """Nothing seen yet."""
        super().__init__(clock, options)
        self._idle_ns = round(options.idle_seconds * NS_PER_SECOND)
        self._patience_ns = round(options.break_seconds * NS_PER_SECOND)
        self._accounts: dict[str, Account] = {}
        self._marks = Marks()
        self._swept_ns = 0

    def on_event(self, event: Event, received_ns: int) -> None:
        """Fold an event in. Raises ``UnusableEventError`` for numbers too large to calculate with."""
        if isinstance(event, Quote):
            self._marks.take(event, received_ns)
        elif isinstance(event, Fill):
            self._account(event.strategy, received_ns).add_fill(event, received_ns)
        elif isinstance(event, Position):
            self._account(event.strategy, received_ns).report_position(event, received_ns)
        elif isinstance(event, Equity):
            self._account(event.strategy, received_ns).report_equity(event, received_ns)
        elif isinstance(event, Signal):
            self._account(event.strategy, received_ns).signals += 1
        elif isinstance(event, Regime) and event.strategy is not None:
            self._account(event.strategy, received_ns).take_regime(event)

    def sample(self, now_ns: int) -> list[Sample]:
        """One sample per strategy at the instant ``now_ns``."""
        if not 0 <= now_ns - self._swept_ns < _SWEEP_NS:
            self._sweep(now_ns)
        return [self._sample(account, now_ns) for account in self._accounts.values()]

    def _sample(self, account: Account, now_ns: int) -> StrategySample:
        value = account.value(self._marks)
        worth = account.equity
        if worth is None and value.unrealised is not None:
            worth = finite(account.realised + value.unrealised)
        curve = account.curve
        curve.observe(now_ns, worth)
        has_ratios = curve.daily_changes >= self.options.min_days
        statistics = account.statistics
        mark_ns = value.oldest_mark_ns
        return StrategySample(
            strategy=account.strategy,
            realised_pnl=account.realised,
            unrealised_pnl=value.unrealised,
            daily_pnl=account.ledger.daily(now_ns),
            weekly_pnl=account.ledger.weekly(now_ns),
            equity=account.equity,
            exposure=value.gross,
            net_exposure=value.net,
            mark_age_seconds=None if mark_ns is None else max(now_ns - mark_ns, 0) / NS_PER_SECOND,
            open_positions=account.open_positions,
            position_breaks=sum(book.is_broken(now_ns, self._patience_ns) for book in account.books.values()),
            current_r=value.current_r,
            signals=account.signals,
            fills=account.fills,
            duplicate_fills=account.duplicate_fills,
            trades=statistics.trades,
            win_rate=statistics.win_rate,
            win_rate_lower=statistics.win_rate_lower,
            profit_factor=statistics.profit_factor,
            expectancy=statistics.expectancy,
            r_trades=statistics.r_trades,
            expectancy_r=statistics.expectancy_r,
            average_win_r=statistics.average_win_r,
            average_loss_r=statistics.average_loss_r,
            streak=statistics.streak,
            daily_loss_streak=account.ledger.daily_loss_streak,
            drawdown=None if worth is None else curve.drawdown,
            max_drawdown=curve.max_drawdown,
            drawdown_seconds=None if worth is None else curve.drawdown_ns / NS_PER_SECOND,
            max_drawdown_seconds=curve.max_drawdown_ns / NS_PER_SECOND,
            daily_changes=curve.daily_changes,
            sharpe=curve.sharpe if has_ratios else None,
            sortino=curve.sortino if has_ratios else None,
            regime_changes=account.regime_changes,
        )

    def _account(self, strategy: str, received_ns: int) -> Account:
        account = self._accounts.get(strategy)
        if account is None:
            account = self._accounts[strategy] = Account(strategy, received_ns)
        # Restored history comes type by type, so that an older event can follow a newer one.
        account.received_ns = max(account.received_ns, received_ns)
        return account

    def _sweep(self, now_ns: int) -> None:
        self._swept_ns = now_ns
        before_ns = now_ns - self._idle_ns
        self._marks.retire(before_ns)
        for name, account in list(self._accounts.items()):
            account.forget_flat_books(before_ns)
            if account.received_ns < before_ns and not account.open_positions:
                del self._accounts[name]
