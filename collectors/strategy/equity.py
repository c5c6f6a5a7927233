"""Equity curve of a strategy: its drawdowns and its daily changes, without transfers.

Values count at the times of their events. The equity of the strategy's own reports is the curve; before the
first one, it is realised plus unrealised P&L, starting at zero.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Mapping
from copy import copy

from msgspec import Struct, field

from decahertz.clock import NS_PER_SECOND
from decahertz.event import Cash, Equity
from decahertz.statistics.daily import DailyChange, ratios_of_days
from decahertz.statistics.equity_days import DAYS_KEPT, Transfers, changes_of_equity, merged

_RECENT = 100
"""Newest values that an older value or a late transfer can still change one by one."""
_REFRESH_NS = NS_PER_SECOND
_DELAY_NS = NS_PER_SECOND
"""A result that arrives so soon after its time is part of the next value."""


class Path(Struct):
    """Peaks and drawdowns of values in order of time."""

    newest_ns: int
    value: float
    peak: float
    peak_ns: int
    """When the value was last at its peak."""
    max_drawdown: float = 0.0
    max_drawdown_ns: int = 0
    first: float = 0.0
    """Where it began."""
    first_ns: int = 0

    @property
    def drawdown(self) -> float:
        """Fall from the peak; not negative."""
        return self.peak - self.value

    def observe(self, time_ns: int, value: float) -> None:
        """Adds a value that is not older than the newest one."""
        if self.value < self.peak:
            self.max_drawdown_ns = max(self.max_drawdown_ns, time_ns - self.peak_ns)
        else:  # the value before lasted until now
            self.peak_ns = time_ns
        self.newest_ns, self.value = time_ns, value
        if value >= self.peak:
            self.peak, self.peak_ns = value, time_ns
        else:
            self.max_drawdown = max(self.max_drawdown, self.peak - value)

    def shift(self, time_ns: int, amount: float) -> None:
        """Moves what was observed from ``time_ns`` on."""
        if self.newest_ns >= time_ns:
            self.value += amount
            if self.peak_ns >= time_ns:
                self.peak += amount
            self.peak = max(self.peak, self.value)
        if self.first_ns >= time_ns:
            self.first += amount


class Account(Struct):
    """Reports of one account of a strategy."""

    newest_ns: int = 0
    equity: float = 0.0
    """The newest one."""
    is_known: bool = False
    """Whether an equity was reported."""
    closes: dict[int, tuple[int, float]] = {}
    """Time and value of the newest equity of each day."""
    transfers: Transfers = field(default_factory=Transfers)

    @property
    def result(self) -> float:
        """The newest equity, without the transfers that it includes."""
        return self.equity - self.transfers.until(self.newest_ns)


class EquityCurve(Struct):
    """Equity over time, in money, without transfers; that of several accounts adds up.

    Drawdowns follow from every value. A value or transfer that arrives late changes them as if it had come in
    time if it is not older than the newest 100 values; an older transfer moves what it can, an older value
    counts for the days only. The daily statistics do not depend on the order of arrival.
    """

    path: Path
    _settled: Path
    """The path up to the values in ``_recent``."""
    minor_unit: float = 0.01
    is_reported: bool = False
    _recent: deque[tuple[int, float]] = field(default_factory=deque)
    accounts: dict[str, Account] = {}
    _earned: float = 0.0
    """Result before the first report."""
    _before: float = 0.0
    """Results of accounts at their first reports, which are not results of the curve."""
    _unrealised: dict[int, float] = {}
    """Unrealised P&L at the end of each day that ended with an open position."""
    _is_stale: bool = True
    _refreshed_ns: int = 0
    _refreshed_day: int = -1
    _complete_ns: int = 0
    """End of the complete days."""
    daily_changes: int = 0
    sharpe: float | None = None
    sharpe_error: float | None = None
    sortino: float | None = None

    @classmethod
    def starting(cls) -> EquityCurve:
        """Starts the curve of a strategy without P&L, before any event."""
        path = Path(0, 0.0, 0.0, 0)
        return cls(path, copy(path))

    @property
    def result(self) -> float:
        """Earnings since the beginning, in money."""
        return self._earned + self.path.value - self.path.first

    @property
    def drawdown(self) -> float:
        """Current fall from the peak, in money."""
        return self.path.drawdown

    @property
    def max_drawdown(self) -> float:
        """Largest fall from a peak, in money."""
        return self.path.max_drawdown

    def drawdown_ns(self, now_ns: int) -> int:
        """Returns the time since the peak; 0 at the peak."""
        return max(now_ns - self.path.peak_ns, 0) if self.path.drawdown > 0 else 0

    def max_drawdown_ns(self, now_ns: int) -> int:
        """Returns the longest time below a peak."""
        return max(self.path.max_drawdown_ns, self.drawdown_ns(now_ns))

    def observe(self, time_ns: int, pnl: float) -> None:
        """Adds realised plus unrealised P&L, unless the strategy reports its equity.

        A value that is older than the newest one counts at the time of that one.
        """
        if not self.is_reported:
            self._append(max(time_ns, self.path.newest_ns), pnl)

    def hold(self, day: int, unrealised: float) -> None:
        """Sets the unrealised P&L at the end of a day, as far as it is known."""
        if unrealised or day in self._unrealised:
            self._unrealised[day] = unrealised
            _limit(self._unrealised)

    @property
    def equity(self) -> float | None:
        """The newest equity of all accounts; ``None`` if none is reported."""
        if not self.is_reported:
            return None
        return sum(account.equity for account in self.accounts.values())

    def report(self, day: int, event: Equity) -> None:
        """Adds an equity that the strategy reports; the first one restarts the curve."""
        account = self.accounts.setdefault(event.account, Account())
        time_ns, equity = event.time_ns, event.equity
        close = account.closes.get(day)
        if close is None or time_ns >= close[0]:
            self._is_stale = self._is_stale or day < self._refreshed_day
            account.closes[day] = (time_ns, equity)
            _limit(account.closes)
        if account.is_known and time_ns < account.newest_ns:
            if len(self.accounts) == 1:
                self._insert(time_ns, equity - account.transfers.until(time_ns) - self._before)
            return
        is_new, account.is_known = not account.is_known, True
        account.newest_ns, account.equity = time_ns, equity
        if not self.is_reported:
            self.is_reported = True
            self._earned = self.result
            start = account.result
            self.path = Path(time_ns, start, start, time_ns, first=start, first_ns=time_ns)
            self._settled = copy(self.path)
            self._recent.clear()
            return
        if is_new:
            self._before += account.result
        value = sum(known.result for known in self.accounts.values()) - self._before
        self._append(max(time_ns, self.path.newest_ns), value)

    def transfer(self, event: Cash, amount: float) -> None:
        """Takes a deposit, or a withdrawal if negative, out of the reported equity from its time on.

        ``amount`` is in the account currency.
        """
        account = self.accounts.setdefault(event.account, Account())
        account.transfers.add(event.time_ns, amount)
        self._is_stale = self._is_stale or event.time_ns < self._complete_ns
        if account.is_known and event.time_ns <= account.newest_ns:
            self._shift({event.time_ns: -amount})

    def realise(self, results: Mapping[int, float]) -> None:
        """Takes into account P&L by its time that was realised before values that are known already.

        One call for the many results that a late fill changes: each call goes through the newest values.
        """
        results = {time_ns: amount for time_ns, amount in results.items() if amount}
        self._is_stale = self._is_stale or any(time_ns < self._complete_ns for time_ns in results)
        before_ns = self.path.newest_ns - _DELAY_NS
        late = {time_ns: amount for time_ns, amount in results.items() if time_ns < before_ns}
        if late and not self.is_reported:
            self._shift(late)

    def is_due(self, now_ns: int, today: int) -> bool:
        """Whether the statistics of the complete days have to be computed again: at most once a second."""
        return today != self._refreshed_day or (
            self._is_stale and not 0 <= now_ns - self._refreshed_ns < _REFRESH_NS
        )

    def refresh(self, now_ns: int, today: int, today_ns: int, pnl_by_day: Mapping[int, float]) -> None:
        """Computes the statistics of the complete days; ``today_ns`` is when ``today`` started."""
        self._is_stale, self._refreshed_ns, self._refreshed_day = False, now_ns, today
        self._complete_ns = today_ns
        changes = self.changes(today, pnl_by_day)
        ratios = ratios_of_days(changes, self.minor_unit)
        self.daily_changes = len(changes)
        self.sharpe, self.sharpe_error, self.sortino = ratios.sharpe, ratios.sharpe_error, ratios.sortino

    def changes(self, today: int, pnl_by_day: Mapping[int, float]) -> list[DailyChange]:
        """Returns the changes of the days before ``today``, oldest first."""
        if self.is_reported:
            parts = [changes_of_equity(a.closes, a.transfers, today) for a in self.accounts.values()]
            return parts[0] if len(parts) == 1 else merged(parts)
        return self._changes_of_pnl(today, pnl_by_day)

    def _changes_of_pnl(self, today: int, pnl_by_day: Mapping[int, float]) -> list[DailyChange]:
        days = [day for day in (*pnl_by_day, *self._unrealised) if day < today]
        changes = []
        held = 0.0
        for day in range(max(min(days), today - DAYS_KEPT), today) if days else ():
            unrealised = self._unrealised.get(day, 0.0)
            changes.append(DailyChange(day, pnl_by_day.get(day, 0.0) + unrealised - held))
            held = unrealised
        return changes

    def _append(self, time_ns: int, value: float) -> None:
        self.path.observe(time_ns, value)
        self._recent.append((time_ns, value))
        if len(self._recent) > _RECENT:
            self._settled.observe(*self._recent.popleft())

    def _insert(self, time_ns: int, value: float) -> None:
        if time_ns > self._settled.newest_ns:
            insort(self._recent, (time_ns, value))
            self._refold()

    def _shift(self, amounts: Mapping[int, float]) -> None:
        """Moves the values from each of these times on."""
        due = deque(sorted(amounts.items()))
        for time_ns, amount in due:
            self._settled.shift(time_ns, amount)
        moved = 0.0
        for at, (value_ns, value) in enumerate(self._recent):
            while due and due[0][0] <= value_ns:
                moved += due.popleft()[1]
            self._recent[at] = (value_ns, value + moved)
        self._refold()

    def _refold(self) -> None:
        self.path = copy(self._settled)
        for time_ns, value in self._recent:
            self.path.observe(time_ns, value)


def _limit(days: dict[int, tuple[int, float]] | dict[int, float]) -> None:
    if len(days) > DAYS_KEPT:
        del days[min(days)]
