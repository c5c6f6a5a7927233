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
from msgspec.structs import replace

from collectors.common.mark_prices import MarkPrices, MarkPricesState, MaxInstruments
from collectors.common.values import finite
from collectors.strategy.cash import is_margined
from collectors.strategy.desk import DeskEquity, DeskFigures, red_days_of
from collectors.strategy.exposure import Exposure
from collectors.strategy.figures import StrategyFigures, figures_of
from collectors.strategy.holding import Holding
from collectors.strategy.money import MoneyNow
from collectors.strategy.portfolio import PortfolioStatistics
from collectors.strategy.position import NO_MARK, HeldPosition, position_of
from collectors.strategy.round_trip_metrics import metrics_of
from collectors.strategy.sample import StrategySample
from collectors.strategy.state import StrategyState, Valuation, hint_of, mark_of
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Cash, Equity, Event, Fill, Instrument, Origin, Position, Quote, Regime, Signal
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
from decahertz.sample import Sample
from decahertz.signal_generator import SOURCE as GENERATED
from decahertz.trading_days import TradingDays

_DAY_SECONDS = 86_400.0
_REFRESHES = 3
"""Strategies whose days are computed again in one cycle, at most: it takes a millisecond each."""
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
            description="Count a position or cash break when report and fills have differed for this long.",
        ),
    ] = 1.0
    min_days: Annotated[
        int,
        Meta(ge=2, le=1000, description="Daily changes required for the Sharpe and Sortino ratios."),
    ] = 5
    recent_trades: Annotated[
        int,
        Meta(ge=1, le=500, description="Newest round trips in the rolling window of the recent statistics."),
    ] = 50
    kept_fills: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Newest fills of a position that are kept, so that late ones find their place; fewer"
            " if there are more than 20 positions.",
        ),
    ] = 1000
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
    max_regimes: Annotated[
        int,
        Meta(ge=1, le=1000, description="Regimes whose round trips have statistics of their own."),
    ] = 50


class StrategyCheckpoint(msgspec.Struct, frozen=True):
    """The state of the collector."""

    accounting: AccountingSettings
    """The settings that the states follow from."""
    swept_ns: int
    states: dict[str, StrategyState]
    mark_prices: MarkPricesState
    desk_regime: Regime | None
    desk_equity: DeskEquity
    portfolio: PortfolioStatistics


class StrategyCollector(BaseCollector[StrategyOptions]):
    """P&L, positions and statistics by strategy."""

    sample_type: ClassVar[type[Sample]] = StrategySample
    events: ClassVar[frozenset[type[Event]]] = frozenset(
        {Quote, Instrument, Fill, Position, Cash, Equity, Signal, Regime}
    )
    restored: ClassVar[Mapping[type[Event], float]] = {
        Fill: math.inf,  # realised P&L includes every fill
        Cash: math.inf,  # … and every cash flow
        # … in the order in which they arrived, with what they mean for cash
        Instrument: math.inf,
        Equity: math.inf,
        Regime: math.inf,  # … and with the regimes at the openings of their round trips
        Position: 7 * _DAY_SECONDS,
    }
    takes_origin: ClassVar[bool] = True
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = StrategyCheckpoint
    checkpoint_version: ClassVar[int] = 2
    options_type: ClassVar[type[msgspec.Struct]] = StrategyOptions

    def __init__(
        self, clock: Clock, options: StrategyOptions, accounting: AccountingSettings | None = None
    ) -> None:
        super().__init__(clock, options)
        self._accounting = accounting or AccountingSettings()
        self._calendar = TradingDays(self._accounting)
        self._idle_ns = round(options.idle_seconds * NS_PER_SECOND)
        self._break_ns = round(options.break_seconds * NS_PER_SECOND)
        self._states: dict[str, StrategyState] = {}
        self._position_keys = self.key_budget("max_positions", options.max_positions)
        instruments = self.key_budget("max_instruments", options.max_instruments)
        self._regime_keys = self.key_budget("max_regimes", options.max_regimes, options.max_regimes)
        self.budgets = (self.keys, self._position_keys, instruments, self._regime_keys)
        for budget in self.budgets[:3]:
            budget.make_room = self._sweep
        self._mark_prices = MarkPrices(instruments, self._accounting)
        self._values: dict[str, Valuation] = {}
        """As of the newest sample, by strategy."""
        self._samples: dict[str, StrategySample] = {}
        """Those of the newest cycle, by strategy."""
        self._today = -1
        """The trading day of the newest sample."""
        self._hinted: set[tuple[str, str]] = set()
        self._log = structlog.get_logger(part="strategy")
        self.desk_regime: Regime | None = None
        """The newest regime that names no strategy."""
        self._desk_equity = DeskEquity()
        self.portfolio = PortfolioStatistics()
        self.portfolio.account_by(self._accounting.minor_unit, options.recent_trades)
        self._swept_ns = 0
        self._refreshes = 0
        """Strategies whose days may still be computed in this cycle."""

    def checkpoint(self) -> StrategyCheckpoint:
        """Returns the state."""
        return StrategyCheckpoint(
            self._accounting,
            self._swept_ns,
            self._states,
            self._mark_prices.state(),
            self.desk_regime,
            self._desk_equity,
            self.portfolio,
        )

    def resume(self, checkpoint: StrategyCheckpoint) -> None:
        """Continues from a state. Raises ``ValueError`` if the accounting settings have changed."""
        if checkpoint.accounting != self._accounting:
            raise ValueError("the section [accounting] has changed")
        self._swept_ns, self._states = checkpoint.swept_ns, checkpoint.states
        self._samples = {}
        self._mark_prices.resume(checkpoint.mark_prices)
        self.desk_regime, self._desk_equity = checkpoint.desk_regime, checkpoint.desk_equity
        self.portfolio = checkpoint.portfolio
        self.portfolio.account_by(self._accounting.minor_unit, self.options.recent_trades)
        for state in self._states.values():
            state.position_keys = self._position_keys
            state.account_by(self._calendar, self._accounting)
            state.kept_fills = self.options.kept_fills
            state.statistics.roll(self.options.recent_trades)

    def on_event(self, event: Event, received_ns: int, origin: Origin = ("", 0, 0)) -> None:
        """Updates the state by an event. Raises ``UnusableEventError`` for excessive numbers.

        ``origin`` decides the order of fills with the same time, and tells the signals that the recorder
        generates: they change nothing.
        """
        if isinstance(event, Quote):
            self._mark_prices.take(event, received_ns)
        elif isinstance(event, Instrument):
            self._mark_prices.define(event, received_ns)
        elif isinstance(event, Fill | Position | Cash | Equity | Signal | Regime):
            if isinstance(event, Signal) and origin[0] == GENERATED:
                return  # no sign of life of a trading process
            if isinstance(event, Regime):
                self.portfolio.take_regime(event)
            if event.strategy is not None:
                state = self._state(event.strategy, received_ns)
                if state is None:
                    return
                if isinstance(event, Fill):
                    definition = self._mark_prices.definition(event.venue, event.instrument)
                    state.add_fill(event, received_ns, origin, is_margined=is_margined(definition))
                    self._count_closings(state)
                else:
                    _update(state, event, received_ns)
            elif isinstance(event, Regime) and (
                self.desk_regime is None or event.time_ns >= self.desk_regime.time_ns
            ):
                self.desk_regime = event

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per strategy."""
        for state in self._states.values():
            self._settle(state)
        if not 0 <= now_ns - self._swept_ns < _SWEEP_NS:
            self._sweep(now_ns)
        self._refreshes = _REFRESHES
        money = MoneyNow(self._mark_prices, now_ns)
        today = self._calendar.day_of(now_ns)
        if today != self._today:
            self._today = today
            self._samples.clear()
        for name, state in self._states.items():
            before = self._samples.get(name)
            if before is None or not state.is_still or state.curve.is_due(now_ns, today):
                self._samples[name] = self._sample(state, money, now_ns)
            else:
                self._samples[name] = _aged(before, state, now_ns)
        is_known = all(sample.drawdown is not None for sample in self._samples.values())
        self._desk_equity.observe(now_ns, self._states.values(), is_known=is_known)
        return list(self._samples.values())

    @property
    def is_empty(self) -> bool:
        """Whether no event has named a strategy yet."""
        return not (self._states or self.portfolio.whole.trades)

    def _settle(self, state: StrategyState) -> None:
        state.settle()
        self._count_closings(state)

    def _count_closings(self, state: StrategyState) -> None:
        for round_trip, sign in state.take_closings():
            self.portfolio.count(round_trip, sign, self._regime_keys, state.received_ns)

    def desk(self, now_ns: int) -> DeskFigures:
        """Returns the figures of all strategies together, as of the newest sample."""
        equity = self._desk_equity
        return DeskFigures(
            drawdown=equity.path.drawdown if equity.is_known else None,
            red_days=red_days_of(self._states.values(), self._calendar.day_of(now_ns)),
        )

    def positions(self, now_ns: int) -> list[HeldPosition]:
        """Returns the position of every strategy in every instrument, flat ones included."""
        money = MoneyNow(self._mark_prices, now_ns)
        return [
            self._position(state.strategy, holding, money, now_ns)
            for state in self._states.values()
            for holding in state.holdings.values()
        ]

    def figures(self, now_ns: int) -> list[StrategyFigures]:
        """Returns P&L by period, regime and R of every strategy, by name."""
        money = MoneyNow(self._mark_prices, now_ns)
        return [
            figures_of(state, state.value(self._mark_prices, money), now_ns)
            for _, state in sorted(self._states.items())
        ]

    def exposures(self, now_ns: int) -> list[Exposure]:
        """Returns exposure and R of every strategy."""
        money = MoneyNow(self._mark_prices, now_ns)
        return [self._exposure(state, money, now_ns) for state in self._states.values()]

    def _exposure(self, state: StrategyState, money: MoneyNow, now_ns: int) -> Exposure:
        value = self._values.get(state.strategy) or state.value(self._mark_prices, money)
        by_instrument: dict[tuple[str, str], float] = {}
        by_currency: dict[str, float] = {}
        for venue, instrument, currency, amount in state.values(self._mark_prices, money):
            name = (venue, instrument)
            by_instrument[name] = by_instrument.get(name, 0.0) + amount
            by_currency[currency] = by_currency.get(currency, 0.0) + amount
        return Exposure(
            strategy=state.strategy,
            gross=value.gross,
            net=value.net,
            by_instrument=by_instrument,
            by_currency=by_currency,
            daily_r=state.daily_r.daily(now_ns)[0],
            weekly_r=state.daily_r.weekly(now_ns)[0],
        )

    def open_instruments(self) -> set[tuple[str, str]]:
        """Returns venue and instrument of every open position."""
        return {
            (holding.venue, holding.instrument)
            for state in self._states.values()
            if state.open_positions
            for holding in state.open_holdings()
        }

    def _position(self, strategy: str, holding: Holding, money: MoneyNow, now_ns: int) -> HeldPosition:
        mark = mark_of(holding, self._mark_prices)
        return position_of(
            strategy,
            holding,
            mark,
            rate=money.rate(holding, mark.price),
            definition=money.definition(holding),
            differs=holding.has_differed(now_ns, self._break_ns),
            no_mark=self._no_mark(holding) if mark.price is None else NO_MARK,
        )

    def _no_mark(self, holding: Holding) -> str:
        hint = hint_of(holding, self._mark_prices)
        return f"{NO_MARK}; {hint}" if hint else NO_MARK

    def _sample(self, state: StrategyState, money: MoneyNow, now_ns: int) -> StrategySample:
        state.is_changed = False
        value = self._values[state.strategy] = state.observe(self._mark_prices, money)
        curve = state.curve
        equity = self._observe(state, value, now_ns)
        has_ratios = curve.daily_changes >= self.options.min_days
        mark_ns = value.oldest_mark_price_ns
        return StrategySample(
            strategy=state.strategy,
            realised_pnl=state.realised,
            unrealised_pnl=value.unrealised,
            daily_pnl=state.daily_pnl.daily(now_ns),
            weekly_pnl=state.daily_pnl.weekly(now_ns),
            equity=curve.equity,
            exposure=value.gross,
            net_exposure=value.net,
            mark_age_seconds=None if mark_ns is None else max(now_ns - mark_ns, 0) / NS_PER_SECOND,
            open_positions=state.open_positions,
            undefined_instruments=value.undefined,
            position_breaks=state.position_breaks(now_ns, self._break_ns),
            cash_breaks=state.cash_breaks(now_ns, self._break_ns),
            cash_difference=state.cash_difference,
            silent_seconds=max(now_ns - state.received_ns, 0) / NS_PER_SECOND,
            current_r=value.current_r,
            cash_pnl=state.cash_pnl,
            transfers=state.transfers,
            unconverted_cash=state.unconverted_cash,
            signals=state.signals,
            fills=state.fills,
            unconverted_fills=state.unconverted_fills,
            duplicate_fills=state.duplicate_fills,
            conflicting_fills=state.conflicting_fills,
            misplaced_fills=state.misplaced_fills,
            **metrics_of(state.statistics),
            daily_loss_streak=state.daily_pnl.daily_loss_streak,
            drawdown=None if equity is None else curve.drawdown,
            max_drawdown=curve.max_drawdown,
            drawdown_seconds=None if equity is None else curve.drawdown_ns(now_ns) / NS_PER_SECOND,
            max_drawdown_seconds=curve.max_drawdown_ns(now_ns) / NS_PER_SECOND,
            daily_changes=curve.daily_changes,
            sharpe=curve.sharpe if has_ratios else None,
            sharpe_error=curve.sharpe_error if has_ratios else None,
            sortino=curve.sortino if has_ratios else None,
            regime_changes=state.regime_changes,
        )

    def _observe(self, state: StrategyState, value: Valuation, now_ns: int) -> float | None:
        """Continues the equity curve; returns its newest value, in money, if that is known."""
        curve, today = state.curve, self._calendar.day_of(now_ns)
        equity = curve.equity
        if equity is None and value.unrealised is not None:
            equity = finite(state.realised + value.unrealised)
            if equity is not None and state.open_positions and not state.is_catching_up(now_ns):
                curve.observe(now_ns, equity)
            curve.hold(today, value.unrealised)
        if self._refreshes and curve.is_due(now_ns, today):
            self._refreshes -= 1
            curve.refresh(now_ns, today, self._calendar.start_ns(today), state.daily_pnl.days)
        return equity

    def _state(self, strategy: str, received_ns: int) -> StrategyState | None:
        """Returns the state of a strategy; ``None`` if there is no room for it."""
        state = self._states.get(strategy)
        if state is None:
            if not self.keys.admit((strategy,), received_ns):
                return None
            state = self._states[strategy] = StrategyState.appearing(
                strategy, received_ns, self._position_keys
            )
            state.account_by(self._calendar, self._accounting)
            state.kept_fills = self.options.kept_fills
            state.statistics.roll(self.options.recent_trades)
        # Events are restored type by type, so an older event can follow a newer one.
        state.received_ns = max(state.received_ns, received_ns)
        state.is_changed = True
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
            self._settle(state)  # no cycle does it in a restore, and late fills may have closed a position
            self._log_hints(state)
            state.drop_flat_holdings(before_ns)
            if state.received_ns < before_ns and not state.open_positions:
                state.release_positions()
                self._desk_equity.retired += state.curve.result
                del self._states[name]
                self._values.pop(name, None)
                self._samples.pop(name, None)
                self.keys.release((name,))


def _aged(before: StrategySample, state: StrategyState, now_ns: int) -> StrategySample:
    """The sample of a flat strategy without an event since the sample before, on the same day."""
    curve = state.curve
    return replace(
        before,
        silent_seconds=max(now_ns - state.received_ns, 0) / NS_PER_SECOND,
        drawdown_seconds=None if before.drawdown is None else curve.drawdown_ns(now_ns) / NS_PER_SECOND,
        max_drawdown_seconds=curve.max_drawdown_ns(now_ns) / NS_PER_SECOND,
    )


def _update(
    state: StrategyState,
    event: Position | Cash | Equity | Signal | Regime,
    received_ns: int,
) -> None:
    if isinstance(event, Position):
        state.report_position(event, received_ns)
    elif isinstance(event, Cash):
        state.take_cash(event)
    elif isinstance(event, Equity):
        state.report_equity(event)
    elif isinstance(event, Signal):
        state.signals += 1
    else:
        state.take_regime(event)
