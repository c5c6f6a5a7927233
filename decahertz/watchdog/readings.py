"""Input of the watchdog: the newest samples and figures of the recorder, as findings by alert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from decahertz.watchdog.tracker import Findings

STALE_NS = 2 * NS_PER_SECOND
"""Older samples say nothing about the present: their collector fails or is skipped."""
_FIRST_NS = 10 * NS_PER_SECOND
"""Time that a collector has for its first samples."""
_SAMPLE_TYPES: frozenset[type[Sample]] = frozenset({MarketSample, StrategySample, RiskSample, SystemSample})

Reading: TypeAlias = "Callable[[int], Findings | None]"
"""Reads a condition at a monotonic time; ``None``: it is not known now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of the recorder's parts; the functions are cheap."""

    cycles: Callable[[], CycleCounts]
    unbalanced: Callable[[], Mapping[str, int]]
    """Rows that are unaccounted for, by stream; only streams that have such."""
    database_lost_seconds: Callable[[], float | None]
    """Time since the database was lost; ``None`` while it is reachable."""
    keys_over_budget: Callable[[], Mapping[str, int]]
    """Keys without room by collector; only collectors that have such."""


class Readings:
    """Holds the newest batch of each built-in collector, and reads conditions from them and the figures."""

    def __init__(self, figures: Figures, now_ns: int) -> None:
        self._figures = figures
        self._first_until_ns = now_ns + _FIRST_NS
        self._batches: dict[type[Sample], tuple[SampleBatch, int]] = {}
        self._missed = MissedCycles()
        self.by_alert: Mapping[str, Reading] = {
            "FeedStale": lambda now: self._read(MarketSample, now, probes.stale_venues),
            "FeedMute": lambda now: self._read(MarketSample, now, probes.mute_instruments),
            "DrawdownDeep": lambda now: self._read(StrategySample, now, probes.drawdowns),
            "DailyLossLimit": lambda now: self._read(StrategySample, now, probes.daily_losses),
            "PositionBreak": lambda now: self._read(StrategySample, now, probes.position_breaks),
            "RiskLimitBreached": self._risk_limits,
            "EventLoopLag": lambda now: self._read(SystemSample, now, probes.loop_lag),
            "CyclesMissed": lambda now: self._missed.read(figures.cycles(), now),
            "LedgerUnbalanced": lambda _: probes.unbalanced_streams(figures.unbalanced()),
            "KeysOverBudget": lambda _: probes.keys_over_budget(figures.keys_over_budget()),
            "DatabaseLost": lambda _: probes.database_lost(figures.database_lost_seconds()),
        }

    def take(self, batch: SampleBatch, now_ns: int) -> None:
        """Take a batch that a collector has published."""
        if batch.schema.type in _SAMPLE_TYPES:
            self._batches[batch.schema.type] = (batch, now_ns)

    def _read(
        self, type_: type[SampleT], now_ns: int, probe: Callable[[tuple[SampleT, ...]], Findings]
    ) -> Findings | None:
        samples = self._newest(type_, now_ns)
        return None if samples is None else probe(samples)

    def _risk_limits(self, now_ns: int) -> Findings | None:
        risks = self._newest(RiskSample, now_ns)
        if risks is None:
            return None
        return probes.risk_limits(risks, self._newest(StrategySample, now_ns) or ())

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
