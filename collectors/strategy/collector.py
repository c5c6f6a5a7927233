"""The strategy collector: P&L, positions and statistics of every strategy that an event has named.

A strategy appears with its first event, if the key budget has room for it, and is retired after
``idle_seconds`` without one, unless a position is open. If it comes back, all its values start over,
counters included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
import structlog
from msgspec import Meta

from collectors.common.mark_prices import MarkPrices, MaxInstruments
from collectors.common.values import finite
from collectors.strategy.figures import StrategyFigures, figures_of
from collectors.strategy.holding import Holding
from collectors.strategy.position import NO_MARK, HeldPosition, position_of
from collectors.strategy.sample import StrategySample
from collectors.strategy.state import StrategyState, hint_of, mark_of
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Equity, Event, Fill, Instrument, Position, Quote, Regime, Signal
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
from decahertz.sample import Sample

_DAY_SECONDS = 86_400.0
_SWEEP_NS = 10 * NS_PER_SECOND
"""Interval between searches for idle strategies."""


class StrategyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.strategy]``."""

    idle_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=2_678_400,
            description="Retire a flat strategy after this long without an event.",
        ),
    ] = 691_200.0
    break_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Count a position break when report and fills have differed for this long.",
        ),
    ] = 1.0
    min_days: Annotated[
        int,
        Meta(ge=2, le=1000, description="Daily changes required for the Sharpe and Sortino ratios."),
    ] = 5
    max_keys: MaxKeys = 500
    max_keys_per_emitter: MaxKeysPerEmitter = 250
    max_positions: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Positions kept, of all strategies together; one emitter may take half of them.",
        ),
    ] = 10_000
    max_instruments: MaxInstruments = 10_000


class StrategyCheckpoint(msgspec.Struct, frozen=True):
    """The state of the collector."""

    swept_ns: int
    states: dict[str, StrategyState]
    mark_prices: MarkPrices
    desk_regime: Regime | None


class StrategyCollector(BaseCollector[StrategyOptions]):
    """P&L, positions and statistics by strategy."""

    sample_type: ClassVar[type[Sample]] = StrategySample
    events: ClassVar[frozenset[type[Event]]] = frozenset(
        {Quote, Instrument, Fill, Position, Equity, Signal, Regime}
    )
    restored: ClassVar[Mapping[type[Event], float]] = {
        Fill: math.inf,  # realised P&L includes every fill
        Instrument: 400 * _DAY_SECONDS,
        Equity: 400 * _DAY_SECONDS,
        Position: 7 * _DAY_SECONDS,
        Regime: 7 * _DAY_SECONDS,
    }
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = StrategyCheckpoint
    options_type: ClassVar[type[msgspec.Struct]] = StrategyOptions

    def __init__(self, clock: Clock, options: StrategyOptions) -> None:
        super().__init__(clock, options)
        self._idle_ns = round(options.idle_seconds * NS_PER_SECOND)
        self._break_ns = round(options.break_seconds * NS_PER_SECOND)
        self._states: dict[str, StrategyState] = {}
        self._position_keys = self.key_budget("max_positions", options.max_positions)
        instruments = self.key_budget("max_instruments", options.max_instruments)
        self.budgets = (self.keys, self._position_keys, instruments)
        for budget in self.budgets:
            budget.make_room = self._sweep
        self._mark_prices = MarkPrices(instruments)
        self._hinted: set[tuple[str, str]] = set()
        self._log = structlog.get_logger(part="strategy")
        self.desk_regime: Regime | None = None
        """The newest regime that names no strategy."""
        self._swept_ns = 0

    def checkpoint(self) -> StrategyCheckpoint:
        """Returns the state."""
        return StrategyCheckpoint(self._swept_ns, self._states, self._mark_prices, self.desk_regime)

    def resume(self, checkpoint: StrategyCheckpoint) -> None:
        """Continues from a state."""
        self._swept_ns, self._states = checkpoint.swept_ns, checkpoint.states
        self._mark_prices.resume(checkpoint.mark_prices)
        self.desk_regime = checkpoint.desk_regime
        for state in self._states.values():
            state.position_keys = self._position_keys

    def on_event(self, event: Event, received_ns: int) -> None:
        """Updates the state by an event. Raises ``UnusableEventError`` for excessive numbers."""
        if isinstance(event, Quote):
            self._mark_prices.take(event, received_ns)
        elif isinstance(event, Instrument):
            self._mark_prices.define(event, received_ns)
        elif isinstance(event, Fill | Position | Equity | Signal | Regime):
            if event.strategy is not None:
                state = self._state(event.strategy, received_ns)
                if state is not None:
                    _update(state, event, received_ns)
            elif isinstance(event, Regime) and (
                self.desk_regime is None or event.time_ns >= self.desk_regime.time_ns
            ):
                self.desk_regime = event

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per strategy."""
        if not 0 <= now_ns - self._swept_ns < _SWEEP_NS:
            self._sweep(now_ns)
        return [self._sample(state, now_ns) for state in self._states.values()]

    def positions(self, now_ns: int) -> list[HeldPosition]:
        """Returns the position of every strategy in every instrument, flat ones included."""
        return [
            self._position(state.strategy, holding, now_ns)
            for state in self._states.values()
            for holding in state.holdings.values()
        ]

    def figures(self, now_ns: int) -> list[StrategyFigures]:
        """Returns P&L by period, regime and R of every strategy, by name."""
        return [
            figures_of(state, state.value(self._mark_prices), now_ns)
            for _, state in sorted(self._states.items())
        ]

    def _position(self, strategy: str, holding: Holding, now_ns: int) -> HeldPosition:
        mark = mark_of(holding, self._mark_prices)
        return position_of(
            strategy,
            holding,
            mark,
            differs=holding.has_differed(now_ns, self._break_ns),
            no_mark=self._no_mark(holding) if mark.price is None else NO_MARK,
        )

    def _no_mark(self, holding: Holding) -> str:
        hint = hint_of(holding, self._mark_prices)
        return f"{NO_MARK}; {hint}" if hint else NO_MARK

    def _sample(self, state: StrategyState, now_ns: int) -> StrategySample:
        value = state.value(self._mark_prices)
        equity = state.equity
        if equity is None and value.unrealised is not None:
            equity = finite(state.realised + value.unrealised)
        curve = state.curve
        curve.observe(now_ns, equity)
        has_ratios = curve.daily_changes >= self.options.min_days
        statistics = state.statistics
        mark_ns = value.oldest_mark_price_ns
        return StrategySample(
            strategy=state.strategy,
            realised_pnl=state.realised,
            unrealised_pnl=value.unrealised,
            daily_pnl=state.daily_pnl.daily(now_ns),
            weekly_pnl=state.daily_pnl.weekly(now_ns),
            equity=state.equity,
            exposure=value.gross,
            net_exposure=value.net,
            mark_age_seconds=None if mark_ns is None else max(now_ns - mark_ns, 0) / NS_PER_SECOND,
            open_positions=state.open_positions,
            position_breaks=sum(
                holding.is_broken(now_ns, self._break_ns) for holding in state.holdings.values()
            ),
            silent_seconds=max(now_ns - state.received_ns, 0) / NS_PER_SECOND,
            current_r=value.current_r,
            signals=state.signals,
            fills=state.fills,
            duplicate_fills=state.duplicate_fills,
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
            daily_loss_streak=state.daily_pnl.daily_loss_streak,
            drawdown=None if equity is None else curve.drawdown,
            max_drawdown=curve.max_drawdown,
            drawdown_seconds=None if equity is None else curve.drawdown_ns / NS_PER_SECOND,
            max_drawdown_seconds=curve.max_drawdown_ns / NS_PER_SECOND,
            daily_changes=curve.daily_changes,
            sharpe=curve.sharpe if has_ratios else None,
            sortino=curve.sortino if has_ratios else None,
            regime_changes=state.regime_changes,
        )

    def _state(self, strategy: str, received_ns: int) -> StrategyState | None:
        """Returns the state of a strategy; ``None`` if there is no room for it."""
        state = self._states.get(strategy)
        if state is None:
            if not self.keys.admit((strategy,), received_ns):
                return None
            state = self._states[strategy] = StrategyState.appearing(
                strategy, received_ns, self._position_keys
            )
        # Events are restored type by type, so an older event can follow a newer one.
        state.received_ns = max(state.received_ns, received_ns)
        return state

    def _log_hints(self, state: StrategyState) -> None:
        """Logs once per instrument that quotes under a similar name may be meant for a position."""
        for holding in state.open_holdings():
            name = (holding.venue, holding.instrument)
            if name not in self._hinted and mark_of(holding, self._mark_prices).price is None:
                hint = hint_of(holding, self._mark_prices)
                if hint:
                    self._hinted.add(name)
                    self._log.warning("mark_price_missed", venue=name[0], instrument=name[1], hint=hint)

    def _sweep(self, now_ns: int) -> None:
        self._swept_ns = now_ns
        before_ns = now_ns - self._idle_ns
        self._mark_prices.retire(before_ns)
        for name, state in list(self._states.items()):
            self._log_hints(state)
            state.drop_flat_holdings(before_ns)
            if state.received_ns < before_ns and not state.open_positions:
                state.release_positions()
                del self._states[name]
                self.keys.release((name,))


def _update(
    state: StrategyState, event: Fill | Position | Equity | Signal | Regime, received_ns: int
) -> None:
    if isinstance(event, Fill):
        state.add_fill(event, received_ns)
    elif isinstance(event, Position):
        state.report_position(event, received_ns)
    elif isinstance(event, Equity):
        state.report_equity(event, received_ns)
    elif isinstance(event, Signal):
        state.signals += 1
    else:
        state.take_regime(event)
