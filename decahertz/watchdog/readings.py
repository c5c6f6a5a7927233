"""Input of the watchdog: the newest samples and figures of the recorder, as findings by alert."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from collectors.market.sample import MarketSample
from collectors.risk.sample import RiskSample
from collectors.strategy.sample import StrategySample
from collectors.system.sample import SystemSample
from decahertz.clock import NS_PER_SECOND
from decahertz.sample import Sample, SampleBatch
from decahertz.watchdog import probes
from decahertz.watchdog.probes import CycleCounts, MissedCycles, SampleT
from decahertz.watchdog.tracker import Findings, PartialFindings

STALE_NS = 2 * NS_PER_SECOND
"""Older samples say nothing about the present: their collector fails or is skipped."""
_FIRST_NS = 10 * NS_PER_SECOND
"""Time that a collector has for its first samples."""
_STALL_NS = NS_PER_SECOND
"""Readings this far apart: this process was stalled."""
_SETTLE_NS = NS_PER_SECOND
"""Time that the writer has after a stall to read an answer that has arrived meanwhile."""
_SAMPLE_TYPES: frozenset[type[Sample]] = frozenset({MarketSample, StrategySample, RiskSample, SystemSample})

Reading: TypeAlias = "Callable[[int], Findings | None]"
"""Reads a condition at a monotonic time; ``None``: it is not known now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of the recorder's parts; the functions are cheap."""

    cycles: Callable[[], CycleCounts]
    unbalanced: Callable[[], Mapping[str, int]]
    """Rows that are unaccounted for, by stream; only streams that have any."""
    database_lost_seconds: Callable[[], float | None]
    """Time since the database was lost; ``None`` while it is reachable."""
    keys_over_budget: Callable[[], Mapping[str, int]]
    """Number of keys over budget of each collector that has any."""
    behind: Callable[[], Collection[str]]
    """Names of the collectors that lack a part of their past."""


class Readings:
    """Holds the newest batch of each built-in collector, and reads conditions from them and the figures.

    Samples of a collector that catches up are not judged: a position whose fills are not all known is no
    break. Only limits that a trading process reports as exceeded are taken from them.
    """

    def __init__(self, figures: Figures, now_ns: int) -> None:
        self._figures = figures
        self._first_until_ns = now_ns + _FIRST_NS
        self._batches: dict[type[Sample], tuple[SampleBatch, int]] = {}
        self._partial: set[type[Sample]] = set()
        """Types whose newest batch was made while their collector was behind."""
        self._missed = MissedCycles()
        self._read_ns = now_ns
        self._settled_ns = 0
        """Until then the answers of the database may be unread."""
        self.by_alert: Mapping[str, Reading] = {
            "FeedStale": lambda now: self._read(MarketSample, now, probes.stale_venues),
            "FeedMute": lambda now: self._read(MarketSample, now, probes.mute_instruments),
            "DrawdownDeep": lambda now: self._read(StrategySample, now, probes.drawdowns),
            "DailyLossLimit": lambda now: self._read(StrategySample, now, probes.daily_losses),
            "PositionBreak": lambda now: self._read(StrategySample, now, probes.position_breaks),
            "CashBreak": lambda now: self._read(StrategySample, now, probes.cash_breaks),
            "RiskLimitBreached": self._risk_limits,
            "EventLoopLag": lambda now: self._read(SystemSample, now, probes.loop_lag),
            "CyclesMissed": lambda now: self._missed.read(figures.cycles(), now),
            "LedgerUnbalanced": lambda _: probes.unbalanced_streams(figures.unbalanced()),
            "KeysOverBudget": lambda _: probes.keys_over_budget(figures.keys_over_budget()),
            "DatabaseLost": self._database_lost,
        }

    def take(self, batch: SampleBatch, now_ns: int) -> None:
        """Takes a batch that a collector has published."""
        if batch.schema.type in _SAMPLE_TYPES:
            self._batches[batch.schema.type] = (batch, now_ns)
            if self._is_behind(batch.schema.type):
                self._partial.add(batch.schema.type)
            else:
                self._partial.discard(batch.schema.type)

    def _is_behind(self, type_: type[Sample]) -> bool:
        return type_.collector in self._figures.behind()

    def _is_partial(self, type_: type[Sample]) -> bool:
        """Whether the newest samples of a type lack a part of the past."""
        return type_ in self._partial or self._is_behind(type_)

    def _read(
        self, type_: type[SampleT], now_ns: int, probe: Callable[[tuple[SampleT, ...]], Findings]
    ) -> Findings | None:
        samples = None if self._is_partial(type_) else self._newest(type_, now_ns)
        return None if samples is None else probe(samples)

    def _risk_limits(self, now_ns: int) -> Findings | None:
        risks = self._newest(RiskSample, now_ns)
        if risks is None:
            return None
        if self._is_partial(RiskSample) or self._is_partial(StrategySample):
            return PartialFindings(probes.risk_limits(risks, ()))
        return probes.risk_limits(risks, self._newest(StrategySample, now_ns) or ())

    def _database_lost(self, now_ns: int) -> Findings | None:
        if now_ns - self._read_ns > _STALL_NS:
            self._settled_ns = now_ns + _SETTLE_NS
        self._read_ns = now_ns
        if now_ns < self._settled_ns:
            return None
        return probes.database_lost(self._figures.database_lost_seconds())

    def _newest(self, type_: type[SampleT], now_ns: int) -> tuple[SampleT, ...] | None:
        """The newest samples of a type; ``None`` if they are too old."""
        held = self._batches.get(type_)
        if held is None:  # without this collector no condition of it holds
            return () if now_ns >= self._first_until_ns else None
        batch, arrived_ns = held
        # A collector publishes one empty batch when its last key is gone, and then nothing.
        if batch.samples and now_ns - arrived_ns > STALE_NS:
            return None
        return cast("tuple[SampleT, ...]", batch.samples)
