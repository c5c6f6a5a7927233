"""Health of the process, for people, load balancers and service managers."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.http.access import Scope
from api.http.query import NoQuery
from api.http.route import AnyRoute, Route, StatusResponse
from api.parts import Request
from decahertz.health import ComponentStatus, Health

_FAILED = 503


class HealthReport(Struct, frozen=True, kw_only=True):
    """Health of the process and of each component."""

    recorder: str
    """Name of this recorder."""
    health: Health
    """The worst health of any component."""
    version: str
    time_ns: int
    components: list[ComponentStatus]


class Live(Struct, frozen=True, kw_only=True):
    """The process responds."""

    live: bool


class Ready(Struct, frozen=True, kw_only=True):
    """Readiness of the process."""

    ready: bool
    failed: list[ComponentStatus]
    """Components that do not work."""
    reasons: list[str]
    """Why the process is not ready: each component that does not work or is limited, with its detail."""


class ServerTime(Struct, frozen=True, kw_only=True):
    """Current time of the server, nanoseconds UTC."""

    time_ns: int


async def health(request: Request[NoQuery, None]) -> HealthReport | StatusResponse[HealthReport]:
    """Returns the health of each component and the worst of them.

    `degraded` responds with 200: the component works with a limitation that it names. `failed` responds with
    503.
    """
    components = request.parts.components()
    worst = _worst(components)
    report = HealthReport(
        recorder=request.parts.recorder,
        health=worst,
        version=request.parts.version,
        time_ns=request.parts.clock.time_ns(),
        components=components,
    )
    return StatusResponse(report, _FAILED) if worst is Health.FAILED else report


async def live(_request: Request[NoQuery, None]) -> Live:
    """Returns 200 while the event loop runs, whatever the state of the database and the feeds."""
    return Live(live=True)


async def ready(request: Request[NoQuery, None]) -> Ready | StatusResponse[Ready]:
    """Returns 503 until every component is started and the database responds."""
    is_ready, components = request.parts.ready(), request.parts.components()
    failed = [status for status in components if status.health is Health.FAILED]
    reasons = [] if is_ready else [_reason(status) for status in components if status.health is not Health.OK]
    if not is_ready and not reasons:
        reasons = ["some components have not started yet"]
    report = Ready(ready=is_ready, failed=failed, reasons=reasons)
    return report if is_ready else StatusResponse(report, _FAILED)


async def ping(request: Request[NoQuery, None]) -> ServerTime:
    """Returns the current time of the server."""
    return ServerTime(time_ns=request.parts.clock.time_ns())


def _reason(status: ComponentStatus) -> str:
    return f"{status.name}: {status.detail or status.health.value}"


def _worst(components: list[ComponentStatus]) -> Health:
    states = {component.health for component in components}
    for state in (Health.FAILED, Health.DEGRADED):
        if state in states:
            return state
    return Health.OK


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/health",
        summary="Health of the process and of each component",
        handler=health,
        response=HealthReport,
        statuses={200: "Every component works, if with limitations.", _FAILED: "A component has failed."},
        scope=Scope.PUBLIC,
    ),
    Route(
        path="/api/v1/health/live",
        summary="Liveness",
        handler=live,
        response=Live,
        scope=Scope.PUBLIC,
    ),
    Route(
        path="/api/v1/health/ready",
        summary="Readiness",
        handler=ready,
        response=Ready,
        statuses={200: "Ready.", _FAILED: "Not ready."},
        scope=Scope.PUBLIC,
    ),
    Route(
        path="/api/v1/ping",
        summary="Server time",
        handler=ping,
        anywhere=True,
        response=ServerTime,
        scope=Scope.PUBLIC,
    ),
)
