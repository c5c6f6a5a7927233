"""The machine, the parts of the process, and their performance."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.http.self_metrics import RouteFigures
from api.parts import Request
from collectors.system.sample import SystemSample
from decahertz.alert import Alert
from decahertz.health import (
    CollectorStatus,
    ComponentStatus,
    FeedStatus,
    Health,
    ProcessFigures,
    RunState,
)
from decahertz.quantities import Figures, Reasons, TimeNanoseconds

_READINGS: Final = {
    "CpuHigh": "cpu_ratio",
    "MemoryHigh": "memory_used_ratio",
    "EventLoopLag": "loop_lag_max_seconds",
    "ClockOffset": "clock_offset_seconds",
}
"""Alerts of the machine with a threshold for one reading."""
_MACHINE_ALERTS: Final = (*_READINGS, "DiskFilling", "ClockStepped", "CyclesMissed")


class Reading(Struct, frozen=True, kw_only=True):
    """One figure of the machine and the alert about it."""

    name: str
    """Metric of the collector `system`; its help and unit are in `metrics/catalogue`."""
    value: float | None
    """Null while the machine does not provide it."""
    alert: str
    threshold: float | None
    """The alert fires above it, once that has lasted; null if the alert is disabled."""
    is_above: bool


class MachineHealth(Struct, frozen=True, kw_only=True):
    """Health of the machine and of the process on it."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    host: str | None
    health: Health
    """`degraded` while an alert about the machine fires."""
    readings: list[Reading]
    values: dict[str, float | None]
    """All metrics of the collector `system`."""
    alerts: list[Alert]
    """Alerts about the machine that fire."""
    reasons: Reasons


class Components(Struct, frozen=True, kw_only=True):
    """Everything that can fail, with its counters."""

    recorder: str
    """Name of this recorder."""
    health: Health
    """The worst of all."""
    parts: list[ComponentStatus]
    collectors: list[CollectorStatus]
    feeds: list[FeedStatus]


class SystemPerformance(Struct, frozen=True, kw_only=True):
    """How fast the process works."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    process: ProcessFigures
    routes: list[RouteFigures]
    """HTTP requests by route since the start, the most frequent first."""
    collectors: list[CollectorStatus]


async def system_health(request: Request[NoQuery, None]) -> MachineHealth:
    """Returns processor, memory, disk, event loop and clock of the machine, and the alerts about them."""
    parts = request.parts
    batch = parts.latest.get("system")
    sample = next((s for s in batch.samples if isinstance(s, SystemSample)), None) if batch else None
    alerts = [alert for alert in parts.alerts if alert.name in _MACHINE_ALERTS]
    figures = Figures()
    figures.add("host", None if sample is None else sample.host, "the collector system has no sample")
    names = [name for name in SystemSample.__struct_fields__ if name not in SystemSample.key]
    return MachineHealth(
        recorder=parts.recorder,
        time_ns=parts.clock.time_ns(),
        health=Health.DEGRADED if alerts else Health.OK,
        readings=[_reading(alert, name, sample, parts.threshold(alert)) for alert, name in _READINGS.items()],
        values={} if sample is None else {name: getattr(sample, name) for name in names},
        alerts=alerts,
        **figures.values_with_reasons(),
    )


async def system_components(request: Request[NoQuery, None]) -> Components:
    """Returns parts, collectors and feeds with their health and counters, and the worst health of all."""
    parts = request.parts
    listed, collectors, feeds = parts.components(), parts.collectors(), parts.feeds()
    states = {part.health for part in listed}
    plugin_states = [plugin.state for plugin in collectors] + [plugin.state for plugin in feeds]
    if RunState.FAILED in plugin_states:
        states.add(Health.DEGRADED)
    worst = next((health for health in (Health.FAILED, Health.DEGRADED) if health in states), Health.OK)
    return Components(recorder=parts.recorder, health=worst, parts=listed, collectors=collectors, feeds=feeds)


async def system_performance(request: Request[NoQuery, None]) -> SystemPerformance:
    """Returns cycles and their lateness, rows and events, and the durations of requests and collectors."""
    parts = request.parts
    return SystemPerformance(
        recorder=parts.recorder,
        time_ns=parts.clock.time_ns(),
        process=parts.process(),
        routes=parts.requests(),
        collectors=parts.collectors(),
    )


def _reading(alert: str, name: str, sample: SystemSample | None, threshold: float | None) -> Reading:
    value = None if sample is None else getattr(sample, name)
    size = abs(value) if value is not None else None
    is_above = threshold is not None and size is not None and size > threshold
    return Reading(name=name, value=value, alert=alert, threshold=threshold, is_above=is_above)


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/system/health",
        summary="Health of the machine",
        handler=system_health,
        response=MachineHealth,
    ),
    Route(
        path="/api/v1/system/components",
        summary="Parts, collectors and feeds",
        handler=system_components,
        response=Components,
    ),
    Route(
        path="/api/v1/system/performance",
        summary="Cycles, requests and collectors: counts and durations",
        handler=system_performance,
        response=SystemPerformance,
    ),
)
