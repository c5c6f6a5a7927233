"""The risk collector: every risk measure that a strategy or the desk reports, and its limit.

A measure appears with its first ``risk`` event, if the key budget has room for it, and is retired after
``idle_seconds`` without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from collectors.common.values import finite
from collectors.risk.sample import DESK, RiskSample
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.event import Event, Risk
from decahertz.key_budget import MaxKeys, MaxKeysPerEmitter
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
        self.keys.make_room = self._retire

    def checkpoint(self) -> RiskCheckpoint:
        """Returns the state."""
        return RiskCheckpoint(self._measures)

    def resume(self, checkpoint: RiskCheckpoint) -> None:
        """Continues from a state."""
        self._measures = checkpoint.measures

    def on_event(self, event: Event, received_ns: int) -> None:
        """Updates the measure that a ``risk`` event reports."""
        if not isinstance(event, Risk):
            return
        key = (event.strategy or DESK, event.name)
        measure = self._measures.get(key)
        if measure is None:
            if self.keys.admit(key, received_ns):
                self._measures[key] = Measure(event, received_ns)
        else:
            measure.take(event, received_ns)

    def sample(self, now_ns: int) -> list[Sample]:
        """Returns one sample per measure."""
        self._retire(now_ns)
        return [_sample(key, measure, now_ns) for key, measure in self._measures.items()]

    def _retire(self, now_ns: int) -> None:
        before_ns = now_ns - self._idle_ns
        idle = [key for key, measure in self._measures.items() if measure.received_ns < before_ns]
        for key in idle:
            del self._measures[key]
            self.keys.release(key)


def _sample(key: tuple[str, str], measure: Measure, now_ns: int) -> RiskSample:
    report = measure.newest
    limit = report.limit
    return RiskSample(
        strategy=key[0],
        risk=key[1],
        value=report.value,
        limit_value=limit,
        usage_ratio=finite(abs(report.value) / limit) if limit is not None and limit > 0 else None,
        breached=report.breached,
        age_seconds=max(now_ns - measure.received_ns, 0) / NS_PER_SECOND,
        reports=measure.reports,
    )
