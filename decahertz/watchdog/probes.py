"""The present values of the conditions: read from the newest samples and from the recorder's parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from collectors.market.sample import MarketSample, Verdict
from collectors.risk.sample import RiskSample
from collectors.strategy.sample import StrategySample
from collectors.system.sample import SystemSample
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.sample import Sample
from decahertz.watchdog.tracker import Finding, Findings, Key

SampleT = TypeVar("SampleT", bound=Sample)

MISSED_WINDOW_NS = 60 * NS_PER_SECOND
# Class attributes of an enumeration are slow to read, and there is one for each instrument.
_STALE, _MUTE = Verdict.STALE, Verdict.MUTE

_OWN_FIGURES: dict[str, Callable[[StrategySample], float | None]] = {
    "exposure": lambda s: s.exposure,
    "gross-exposure": lambda s: s.exposure,
    "net-exposure": lambda s: s.net_exposure,
    "drawdown": lambda s: s.drawdown,
    "daily-loss": lambda s: max(0.0, -s.daily_pnl),
}
_OWN_FIGURES |= {name.replace("-", "_"): figure for name, figure in _OWN_FIGURES.items()}
"""The recorder's own figure for a risk measure of this name."""


def stale_venues(samples: Iterable[MarketSample]) -> Findings:
    """Time since the newest message of each venue whose verdict is stale."""
    found: dict[Key, Finding] = {}
    for sample in [s for s in samples if s.verdict is _STALE]:
        key, age = (sample.venue,), sample.age_seconds
        known = found.get(key)
        if known is None or known.value is None or (age is not None and age < known.value):
            found[key] = Finding(age, is_forced=age is None)
    return found


def mute_instruments(samples: Iterable[MarketSample]) -> Findings:
    """Time since the newest message of each instrument whose verdict is mute."""
    return {
        (s.venue, s.instrument): Finding(s.age_seconds, is_forced=s.age_seconds is None)
        for s in [s for s in samples if s.verdict is _MUTE]
    }


def drawdowns(samples: Iterable[StrategySample]) -> Findings:
    """Drawdown of each strategy over its highest equity."""
    return {
        (s.strategy,): Finding(_part(s.drawdown, s.equity + s.drawdown))
        for s in samples
        if s.equity is not None and s.drawdown
    }


def daily_losses(samples: Iterable[StrategySample]) -> Findings:
    """Loss of each strategy in this UTC day over the equity before it."""
    return {
        (s.strategy,): Finding(_part(-s.daily_pnl, s.equity - s.daily_pnl))
        for s in samples
        if s.equity is not None and s.daily_pnl < 0
    }


def position_breaks(samples: Iterable[StrategySample]) -> Findings:
    """Instruments of each strategy whose reported position differs from the fills."""
    return {(s.strategy,): Finding(float(s.position_breaks)) for s in samples if s.position_breaks}


def cash_breaks(samples: Iterable[StrategySample]) -> Findings:
    """Accounts of each strategy whose reported cash differs from the fills and cash flows."""
    return {
        (s.strategy,): Finding(float(s.cash_breaks), amount=s.cash_difference or 0.0)
        for s in samples
        if s.cash_breaks
    }


def risk_limits(risks: Iterable[RiskSample], strategies: Iterable[StrategySample]) -> Findings:
    """Use of each limit: the larger one of the reported figure and the recorder's own."""
    by_name = {s.strategy: s for s in strategies}
    found: dict[Key, Finding] = {}
    for risk in risks:
        limit, amount = risk.limit_value, abs(risk.value)
        own = _OWN_FIGURES.get(risk.risk)
        if own is not None and risk.strategy in by_name:
            amount = max(amount, abs(own(by_name[risk.strategy]) or 0.0))
        if limit is not None and limit > 0:
            found[risk.strategy, risk.risk] = Finding(amount / limit, risk.breached, amount, limit)
        elif risk.breached:
            found[risk.strategy, risk.risk] = Finding(None, is_forced=True, amount=amount)
    return found


def loop_lag(samples: Iterable[SystemSample]) -> Findings:
    """Longest event-loop lag of the last second."""
    return {(): Finding(max((s.loop_lag_max_seconds for s in samples), default=0.0))}


def unbalanced_streams(rows: Mapping[str, int]) -> Findings:
    """Rows of each stream that are unaccounted for."""
    return {(stream,): Finding(float(abs(count))) for stream, count in rows.items()}


def keys_over_budget(keys: Mapping[str, int]) -> Findings:
    """Keys without room of each collector."""
    return {(collector,): Finding(float(count)) for collector, count in keys.items()}


def database_lost(seconds: float | None) -> Findings:
    """Time since the database was lost."""
    return {} if seconds is None else {(): Finding(seconds)}


@dataclass(frozen=True, slots=True)
class CycleCounts:
    """Counts of the sampler since the start."""

    run: int
    missed: int


class MissedCycles:
    """Counts the cycles missed within a minute, those of a sampler that stands still included."""

    def __init__(self) -> None:
        self._last: CycleCounts | None = None
        self._last_run_ns = 0
        self._missed: deque[tuple[int, int]] = deque()
        self._total = 0

    def read(self, counts: CycleCounts, now_ns: int) -> Findings:
        """The cycles missed until ``now_ns``, by the monotonic clock."""
        last, self._last = self._last, counts
        if last is None or counts.run != last.run:
            self._last_run_ns = now_ns
        if last is not None and counts.missed > last.missed:
            self._missed.append((now_ns, counts.missed - last.missed))
            self._total += counts.missed - last.missed
        while self._missed and self._missed[0][0] <= now_ns - MISSED_WINDOW_NS:
            self._total -= self._missed.popleft()[1]
        overdue = max(0, (now_ns - self._last_run_ns) // CYCLE_NS - 1) if counts.run else 0
        return {(): Finding(float(self._total + overdue))}


def _part(amount: float, whole: float) -> float | None:
    return amount / whole if whole > 0 else None
