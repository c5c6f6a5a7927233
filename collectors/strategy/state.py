"""The state of one strategy, computed from its events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from msgspec import Struct, field

from collectors.common.fill_ids import FillIds, Seen, digest_of
from collectors.common.mark_prices import MarkPrices
from collectors.common.values import UnusableEventError, finite, is_usable
from collectors.common.windows import RecentSet
from collectors.strategy.cash import CashAccount
from collectors.strategy.equity import EquityCurve
from collectors.strategy.fill_log import Effect, Rules
from collectors.strategy.holding import Holding
from collectors.strategy.money import MoneyNow, converted
from collectors.strategy.periods import DailyPnl, DailyR
from collectors.strategy.position import Mark, MarkSource
from collectors.strategy.statistics import RoundTripStatistics
from decahertz.accounting import AccountingSettings, CostMethod
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Cash, CashKind, Equity, Fill, Origin, Position, Regime
from decahertz.executions import AMENDMENTS, fill_id
from decahertz.key_budget import KeyBudget
from decahertz.round_trip import RoundTrip, added
from decahertz.trading_days import TradingDays

HoldingKey: TypeAlias = tuple[str, str, str]
"""(account, venue, instrument)."""
_FEWEST_KEPT = 64
"""Newest fills of a position that are kept however many positions there are."""
_ALL_KEPT = 20_000
"""Newest fills of all positions that are kept, unless the fewest of each are more."""
_CASH_REMEMBERED = 10_000
_LATE_NS = 60 * NS_PER_SECOND


@dataclass(slots=True)
class Valuation:
    """The value of the open positions at their mark prices, in money."""

    unrealised: float | None = 0.0
    gross: float | None = 0.0
    net: float | None = 0.0
    oldest_mark_price_ns: int | None = None
    """Time of receipt of the oldest mark price in use; ``None`` without a position or a mark price."""
    current_r: float | None = None
    undefined: int = 0
    """Open positions in instruments without a definition, counted one to one."""


class Closing(NamedTuple):
    """A round trip that has closed; with a negative sign, one that is withdrawn."""

    round_trip: RoundTrip
    sign: int


class StrategyState(Struct):
    """One strategy.

    Its equity curve consists of the strategy's ``equity`` events; before the first one, of realised plus
    unrealised P&L, starting at zero.
    """

    strategy: str
    received_ns: int
    curve: EquityCurve
    position_keys: KeyBudget
    """The budget of the positions of all strategies."""
    cost: CostMethod = CostMethod.AVERAGE
    kept_fills: int = 1000
    """Newest fills of a position that are kept, so that late ones find their place."""
    holdings: dict[HoldingKey, Holding] = {}
    _realised: Decimal = Decimal(0)
    daily_pnl: DailyPnl = field(default_factory=DailyPnl)
    daily_r: DailyR = field(default_factory=DailyR)
    statistics: RoundTripStatistics = field(default_factory=RoundTripStatistics)
    cash_pnl: float = 0.0
    """Realised P&L of cash flows, in money."""
    transfers: float = 0.0
    """Deposits minus withdrawals, in money."""
    unconverted_cash: int = 0
    """Cash flows in a currency without a rate; they are in no sum."""
    cash_accounts: dict[str, CashAccount] = {}
    """Reported cash and cash flows by account."""
    account_currency: str = ""
    _cash_seen: RecentSet = field(default_factory=lambda: RecentSet(_CASH_REMEMBERED))
    signals: int = 0
    fills: int = 0
    unconverted_fills: int = 0
    """Fills whose result has no rate into the account currency; it is in no sum."""
    duplicate_fills: int = 0
    regime_changes: int = 0
    _open: dict[HoldingKey, None] = {}
    """Holdings with an open position."""
    _compared: dict[HoldingKey, None] = {}
    """Holdings whose fills and reports differ, or may do so since the last cycle."""
    is_changed: bool = True
    """Whether an event has come since the newest sample."""
    conflicting_fills: int = 0
    """Fills with the ids of another one and another side, price or quantity."""
    misplaced_fills: int = 0
    """Reports that came when the fills around their time were not kept any more."""
    _fill_ids: FillIds = field(default_factory=FillIds)
    _unsettled: dict[HoldingKey, int] = {}
    """Holdings with fills that are not folded yet, with the receipt of the newest."""
    _late_ns: int | None = None
    """Receipt of the newest fill, if it arrived more than a minute after its time."""
    regime: Regime | None = None
    """The newest regime reported."""
    _closings: list[Closing] = []
    """Those since the last call of :meth:`take_closings`."""

    @classmethod
    def appearing(cls, strategy: str, now_ns: int, position_keys: KeyBudget) -> StrategyState:
        """The state of a strategy before its first event."""
        return cls(strategy, now_ns, EquityCurve.starting(), position_keys)

    def account_by(self, calendar: TradingDays, accounting: AccountingSettings) -> None:
        """Sets the trading days, the cost method, and the amount below which a result is zero."""
        self.cost, self.account_currency = accounting.cost, accounting.currency
        self.daily_pnl.calendar = self.daily_r.calendar = calendar
        self.daily_pnl.minor_unit = self.statistics.minor_unit = self.curve.minor_unit = accounting.minor_unit

    @property
    def realised(self) -> float:
        """P&L realised by fills and cash flows, in money."""
        return float(self._realised)

    def is_catching_up(self, now_ns: int) -> bool:
        """Whether fills of the past arrive: open positions are not those of now."""
        return self._late_ns is not None and 0 <= now_ns - self._late_ns < _LATE_NS

    def add_fill(self, fill: Fill, received_ns: int, origin: Origin, *, is_margined: bool = False) -> None:
        """Adds a report of a fill unless it is a duplicate. Raises :class:`UnusableEventError`.

        ``is_margined``: cash gets the results of the instrument only.
        """
        key = (fill.account, fill.venue, fill.instrument)
        holding = self._holding(key, received_ns)
        if holding is None:
            return
        _check(fill)
        place = (fill.time_ns, *origin)
        ids = digest_of(fill_id(fill))
        is_amendment = fill.kind in AMENDMENTS
        seen = self._fill_ids.add(
            digest_of((*fill_id(fill), fill.kind)) if is_amendment else ids,
            (fill.side, fill.price, fill.quantity),
        )
        if seen is Seen.REPEAT:
            self.duplicate_fills += 1
            if not holding.log.precedes(place, ids):
                return
        elif not is_amendment:
            self.fills += 1
            holding.fills += 1
            self.conflicting_fills += seen is Seen.CONFLICT
        self._late_ns = received_ns if received_ns - fill.time_ns > _LATE_NS else None
        misplaced = holding.log.misplaced
        holding.is_margined = is_margined
        holding.is_foreign = fill.currency is not None and fill.currency != self.account_currency
        effects = holding.add_fill(place, fill, ids, received_ns, self._rules())
        self._note(key, holding)
        self.misplaced_fills += holding.log.misplaced - misplaced
        self._apply(holding, effects)
        if holding.log.changed_from is not None:
            self._unsettled[key] = received_ns

    def settle(self) -> None:
        """Folds late fills, busts and corrections: once for all that arrived since the last call."""
        while self._unsettled:
            key, _ = self._unsettled.popitem()
            holding = self.holdings.get(key)
            if holding is not None:
                effects = holding.log.settle(self._rules())
                self._note(key, holding)
                self._apply(holding, effects)
                self.is_changed = True

    def _note(self, key: HoldingKey, holding: Holding) -> None:
        """Notes whether a holding is open, and that its reports are to be compared again."""
        self._compared[key] = None
        if holding.is_open:
            self._open[key] = None
        else:
            self._open.pop(key, None)

    def _rules(self) -> Rules:
        share = max(_ALL_KEPT // max(len(self.position_keys), 1), _FEWEST_KEPT)
        return Rules(self.cost, min(self.kept_fills, share))

    def _apply(self, holding: Holding, effects: Sequence[Effect]) -> None:
        cash = self.cash_account(holding.account) if effects else None
        results: dict[int, float] = {}
        for effect in effects:
            holding.apply(effect)
            booking, sign = effect.booking, effect.sign
            if cash is not None:
                cash.add_booking(
                    effect.time_ns, booking, sign,
                    margined=holding.is_margined, foreign=holding.is_foreign,
                )  # fmt: skip
            self.unconverted_fills += sign * (booking.realised is None)
            amount = sign * (booking.realised or 0.0)
            self._book(effect.time_ns, amount)
            results[effect.time_ns] = results.get(effect.time_ns, 0.0) + amount
            if booking.closed is not None:
                self._count(booking.closed, sign)
        if effects:
            self.curve.realise(results)
            self._observe_flat(effects[-1].time_ns)

    def take_closings(self) -> list[Closing]:
        """Returns the round trips that have closed, or are withdrawn, since the last call."""
        closings = self._closings
        if closings:
            self._closings = []
        return closings

    def _count(self, round_trip: RoundTrip, sign: int) -> None:
        self._closings.append(Closing(round_trip, sign))
        statistics, daily_r = self.statistics, self.daily_r
        (statistics.add if sign > 0 else statistics.remove)(round_trip)
        if round_trip.r_multiple is not None:
            (daily_r.add if sign > 0 else daily_r.remove)(round_trip.closed_ns, round_trip.r_multiple)

    def take_cash(self, event: Cash) -> None:
        """Adds a cash flow, unless it is repeated: to the results, or a transfer to none.

        Raises :class:`UnusableEventError`.
        """
        amount = event.amount
        if event.currency is not None:
            amount = math.nan if event.rate is None else amount * event.rate
        if not (math.isnan(amount) or is_usable(amount)):
            raise UnusableEventError(f"cash flow {event.cash_id!r} of {event.strategy!r} is too large")
        if not self._cash_seen.add((event.account, event.cash_id)):
            return
        is_foreign = event.currency is not None and event.currency != self.account_currency
        known = None if math.isnan(amount) else amount
        self.cash_account(event.account).add(event.time_ns, known, foreign=is_foreign)
        if known is None:
            self.unconverted_cash += 1
        elif event.kind is CashKind.TRANSFER:
            self.transfers += amount
            self.curve.transfer(event, amount)
        else:
            self.cash_pnl += amount
            self._book(event.time_ns, amount)
            self.curve.realise({event.time_ns: amount})
            self._observe_flat(event.time_ns)

    def _book(self, time_ns: int, amount: float) -> None:
        self._realised = added(self._realised, amount)
        self.daily_pnl.add(time_ns, amount)

    def _observe_flat(self, time_ns: int) -> None:
        if not (self.open_positions or self._unsettled):
            # A flat strategy needs no mark price: the curve stays exact between samples and during a restore.
            self.curve.observe(time_ns, self.realised)

    def report_position(self, position: Position, received_ns: int) -> None:
        """Records a reported position."""
        key = (position.account, position.venue, position.instrument)
        holding = self._holding(key, received_ns)
        if holding is not None:
            holding.report(position, received_ns)
            self._compared[key] = None

    def position_breaks(self, now_ns: int, break_ns: int) -> int:
        """Returns the number of holdings whose report and fills have differed for ``break_ns``."""
        breaks = 0
        for key in list(self._compared):
            holding = self.holdings[key]
            breaks += holding.is_broken(now_ns, break_ns)
            if holding.agrees:
                del self._compared[key]
        return breaks

    def cash_account(self, name: str) -> CashAccount:
        """Returns the cash of an account."""
        account = self.cash_accounts.get(name)
        if account is None:
            account = self.cash_accounts[name] = CashAccount()
        return account

    def cash_breaks(self, now_ns: int, break_ns: int) -> int:
        """Returns the number of accounts whose reported cash and flows have differed for ``break_ns``."""
        minor_unit = self.statistics.minor_unit
        return sum(cash.is_broken(now_ns, break_ns, minor_unit) for cash in self.cash_accounts.values())

    @property
    def cash_difference(self) -> float | None:
        """Reported cash minus that of the flows, of all accounts that report; ``None``: not known."""
        known = [account.difference for account in self.cash_accounts.values() if account.first_ns]
        differences = [one for one in known if one is not None]
        return sum(differences) if differences and len(differences) == len(known) else None

    def report_equity(self, event: Equity) -> None:
        """Records a reported equity. Raises :class:`UnusableEventError`."""
        if not is_usable(event.equity):
            raise UnusableEventError(f"equity of {event.strategy!r} is too large to calculate with")
        self.curve.report(self.daily_pnl.calendar.day_of(event.time_ns), event)
        if event.cash is not None and is_usable(event.cash):
            self.cash_account(event.account).report(event.time_ns, event.cash)

    def take_regime(self, event: Regime) -> None:
        """Counts a change of regime; the first regime is not a change."""
        if self.regime is not None:
            if event.time_ns < self.regime.time_ns:
                return
            self.regime_changes += event.regime != self.regime.regime
        self.regime = event

    def open_holdings(self) -> Iterator[Holding]:
        """Iterates over the holdings with an open position."""
        return (self.holdings[key] for key in self._open)

    @property
    def open_positions(self) -> int:
        """Number of holdings with an open position."""
        return len(self._open)

    @property
    def is_still(self) -> bool:
        """Whether its sample can change by time alone."""
        is_settled = all(account.is_settled for account in self.cash_accounts.values())
        return is_settled and not (self.is_changed or self._open or self._compared)

    def observe(self, mark_prices: MarkPrices, money: MoneyNow) -> Valuation:
        """Values the open positions as :meth:`value` does, and notes their worst and best P&L."""
        return self.value(mark_prices, money, is_cycle=True)

    def value(self, mark_prices: MarkPrices, money: MoneyNow, *, is_cycle: bool = False) -> Valuation:
        """Values the open positions at the newest mids, or else at the newest reported mark prices.

        Sums are ``None`` while a mark price or a rate is missing. ``current_r`` covers the positions with
        known risk.
        """
        total = Valuation()
        unrealised = gross = net = gain = risk = 0.0
        is_complete = is_risk_complete = True
        for holding in self.open_holdings():
            mark = mark_of(holding, mark_prices)
            price, received_ns = mark.price, mark.received_ns
            trip = holding.trip
            total.undefined += not holding.is_defined
            if price is None:
                is_complete = False
                is_risk_complete = is_risk_complete and not trip.risk
                continue
            rate = money.rate(holding, price)
            value = converted(trip.value(price), rate)
            open_pnl = converted(trip.unrealised(price), rate)
            if value is None or open_pnl is None:
                is_complete = False
                is_risk_complete = is_risk_complete and not trip.risk
                continue
            unrealised += open_pnl
            gross += abs(value)
            net += value
            realised = trip.realised()
            if is_cycle and realised is not None and trip.opening is not None:
                holding.excursion.observe(trip.opening, open_pnl + realised)
            if trip.risk and realised is not None:
                gain += open_pnl + realised
                risk += trip.risk
            if total.oldest_mark_price_ns is None or received_ns < total.oldest_mark_price_ns:
                total.oldest_mark_price_ns = received_ns
        if not is_complete:
            total.unrealised = total.gross = total.net = None
        else:
            total.unrealised, total.gross, total.net = finite(unrealised), finite(gross), finite(net)
        if risk and is_risk_complete:
            total.current_r = finite(gain / risk)
        return total

    def values(self, mark_prices: MarkPrices, money: MoneyNow) -> Iterator[tuple[str, str, str, float]]:
        """Iterates over the open positions that have a value: venue, instrument, settlement currency, value.

        The currency is empty for an instrument without a definition.
        """
        for holding in self.open_holdings():
            price, trip = mark_of(holding, mark_prices).price, holding.trip
            value = None if price is None else converted(trip.value(price), money.rate(holding, price))
            if value is not None:
                currency = "" if trip.opening is None else trip.opening.currency or ""
                yield holding.venue, holding.instrument, currency, value

    def drop_flat_holdings(self, before_ns: int) -> None:
        """Drops flat holdings without a fill or report since ``before_ns``."""
        for key, holding in list(self.holdings.items()):
            if not holding.is_open and holding.received_ns < before_ns:
                self._drop(key)

    def release_positions(self) -> None:
        """Gives back the room of its positions in the budget."""
        for key in list(self.holdings):
            self._drop(key)

    def _drop(self, key: HoldingKey) -> None:
        del self.holdings[key]
        self._compared.pop(key, None)
        self.position_keys.release((self.strategy, *key))

    def _holding(self, key: HoldingKey, received_ns: int) -> Holding | None:
        """Returns the position in an instrument; ``None`` if there is no room for it."""
        holding = self.holdings.get(key)
        if holding is None and self.position_keys.admit((self.strategy, *key), received_ns):
            holding = self.holdings[key] = Holding(*key)
        return holding


def _check(fill: Fill) -> None:
    """Raises :class:`UnusableEventError` for numbers too large to calculate with."""
    units = fill.quantity * (fill.multiplier or 1.0)
    value = units / fill.price if fill.inverse and fill.price else units * fill.price
    numbers = (fill.price, units, value, value * (fill.rate or 1.0), fill.fee, fill.risk or 0.0)
    fee = fill.fee * (fill.fee_rate or 1.0) * max(abs(fill.price), 1.0)
    if not all(map(is_usable, (*numbers, fee))):
        raise UnusableEventError(f"fill {fill.fill_id!r} of {fill.strategy!r} is too large to add up")


def mark_of(holding: Holding, mark_prices: MarkPrices) -> Mark:
    """Returns the newest mid of a holding's instrument, or else the newest reported mark price."""
    mark = mark_prices.get(holding.venue, holding.instrument)
    if mark is not None and mark.price is not None:
        return Mark(mark.price, mark.received_ns, MarkSource.QUOTE)
    return Mark(holding.reported_mark, holding.reported_mark_received_ns, MarkSource.REPORT)


def hint_of(holding: Holding, mark_prices: MarkPrices) -> str:
    """Names the quotes that a holding without a mark price may have missed; empty if there are none."""
    similar = mark_prices.similar(holding.venue, holding.instrument)
    if similar is None:
        return ""
    venue, instrument = similar
    if venue == holding.venue:
        return f"{instrument} is quoted: if it is the same, list one in aliases of the other's definition"
    return f"{instrument} is quoted at {venue}: names of venue and instrument must be those of the quotes"
