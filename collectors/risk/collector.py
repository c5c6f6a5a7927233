"""The risk collector: every risk measure that a strategy or the desk reports, and the recorder's own limits.

A reported measure appears with its first ``risk`` event, if the key budget has room for it, and is retired
after ``idle_seconds`` without one. The recorder's own limits are those of the settings; it reports their
changes itself, under names that begin with :data:`~decahertz.risk_limits.OWN_PREFIX`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.values import finite
from collectors.risk.sample import DESK, RiskSample
from collectors.risk.standing import Standing
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Event, Risk
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
from decahertz.risk_limits import OWN_PREFIX, Level
from decahertz.sample import Sample

_DAY_SECONDS = 86_400.0


class RiskOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.risk]``."""

    idle_seconds: Annotated[
        float, Meta(gt=0, le=2_678_400, description="Retire a measure after this long without a report.")
    ] = _DAY_SECONDS
    max_keys: MaxKeys = 1_000
    max_keys_per_emitter: MaxKeysPerEmitter = 500


class Measure(msgspec.Struct):
    """One measure: its newest report by time of the event."""

    newest: Risk
    received_ns: int
    reports: int = 1

    def take(self, report: Risk, received_ns: int) -> None:
        """Counts a report."""
        self.reports += 1
        if report.time_ns >= self.newest.time_ns:
            self.newest = report
            self.received_ns = received_ns


class RiskCheckpoint(msgspec.Struct, frozen=True):
    """The state of the collector."""

    measures: dict[tuple[str, str], Measure]
    own: dict[tuple[str, str], Measure] = {}


class RiskCollector(BaseCollector[RiskOptions]):
    """Risk measures by strategy and name."""

    sample_type: ClassVar[type[Sample]] = RiskSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Risk})
    restored: ClassVar[Mapping[type[Event], float]] = {Risk: _DAY_SECONDS}
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = RiskCheckpoint
    options_type: ClassVar[type[msgspec.Struct]] = RiskOptions

    def __init__(self, clock: Clock, options: RiskOptions) -> None:
        super().__init__(clock, options)
        self._idle_ns = round(options.idle_seconds * NS_PER_SECOND)
        self._measures: dict[tuple[str, str], Measure] = {}
        self._own: dict[tuple[str, str], Measure] = {}
        self.standings: Sequence[Standing] = ()
        """How the recorder's own limits stand now; set by the part that evaluates them."""
        self.desk_figures: Mapping[str, float] = {}
        """Figures of the desk without a limit, by the names of their measures; set by the same part."""
        self.keys.make_room = self._retire

    def checkpoint(self) -> RiskCheckpoint:
        """Returns the state."""
        return RiskCheckpoint(self._measures, self._own)

    def resume(self, checkpoint: RiskCheckpoint) -> None:
        """Continues from a state."""
        self._measures, self._own = checkpoint.measures, checkpoint.own

    def on_event(self, event: Event, received_ns: int) -> None:
        """Updates the measure that a ``risk`` event reports."""
        if not isinstance(event, Risk):
            return
        key = (event.strategy or DESK, event.name)
        measures = self._own if event.name.startswith(OWN_PREFIX) else self._measures
        measure = measures.get(key)
        if measure is None:
            if self.keys.admit(key, received_ns):
                measures[key] = Measure(event, received_ns)
        else:
            measure.take(event, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per measure; none of an own measure that is not known now."""
        self._retire(now_ns)
        samples: list[Sample] = [_sample(key, measure, now_ns) for key, measure in self._measures.items()]
        samples += [self._sample_of(standing) for standing in self.standings if standing.value is not None]
        samples += [_sample_of_desk(name, value) for name, value in self.desk_figures.items()]
        return samples

    def newest_own(self, strategy: str, name: str) -> Risk | None:
        """Returns the newest event with which the recorder has reported a limit of its own."""
        measure = self._own.get((strategy, name))
        return None if measure is None else measure.newest

    def _sample_of(self, standing: Standing) -> RiskSample:
        own = self._own.get((standing.strategy, standing.name))
        assert standing.value is not None  # noqa: S101 - sampled only if it is known
        return RiskSample(
            strategy=standing.strategy,
            risk=standing.name,
            value=standing.value,
            limit_value=standing.limit.hard,
            soft_limit_value=standing.limit.soft,
            usage_ratio=finite(standing.value / standing.limit.hard),
            breached=standing.level is Level.HARD,
            soft_breached=standing.level is not Level.OK and standing.limit.soft is not None,
            age_seconds=0.0,
            reports=0 if own is None else own.reports,
        )

    def _retire(self, now_ns: int) -> None:
        before_ns = now_ns - self._idle_ns
        for measures in (self._measures, self._own):
            idle = [key for key, measure in measures.items() if measure.received_ns < before_ns]
            for key in idle:
                del measures[key]
                self.keys.release(key)


def _sample_of_desk(name: str, value: float) -> RiskSample:
    return RiskSample(
        strategy=DESK,
        risk=name,
        value=value,
        limit_value=None,
        soft_limit_value=None,
        usage_ratio=None,
        breached=False,
        soft_breached=False,
        age_seconds=0.0,
        reports=0,
    )


def _sample(key: tuple[str, str], measure: Measure, now_ns: int) -> RiskSample:
    report = measure.newest
    limit, soft = report.limit, report.soft_limit
    return RiskSample(
        strategy=key[0],
        risk=key[1],
        value=report.value,
        limit_value=limit,
        soft_limit_value=soft,
        usage_ratio=finite(abs(report.value) / limit) if limit is not None and limit > 0 else None,
        breached=report.breached,
        soft_breached=soft is not None and abs(report.value) > soft,
        age_seconds=max(now_ns - measure.received_ns, 0) / NS_PER_SECOND,
        reports=measure.reports,
    )
