"""How the process is: for people, load balancers and service managers."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import Answer, Call, Route, Scope
from decahertz.health import ComponentStatus, Health

_FAILED = 503


class HealthReport(Struct, frozen=True, kw_only=True):
    """The whole process, and its parts."""

    health: Health
    """The worst of its components."""
    version: str
    time_ns: int
    components: list[ComponentStatus]


class Live(Struct, frozen=True, kw_only=True):
    """The process answers."""

    live: bool


class Ready(Struct, frozen=True, kw_only=True):
    """Whether requests make sense yet."""

    ready: bool
    failed: list[ComponentStatus]
    """Components that do not do their work."""


class PingAnswer(Struct, frozen=True, kw_only=True):
    """The time here, nanoseconds UTC."""

    time_ns: int


async def health(call: Call[NoQuery, None]) -> HealthReport | Answer[HealthReport]:
    """The worst state of all components, and each of them.

    `degraded` still answers 200: it works, with a loss that it names. `failed` answers 503.
    """
    components = call.parts.components()
    worst = _worst(components)
    report = HealthReport(
        health=worst,
        version=call.parts.version,
        time_ns=call.parts.clock.time_ns(),
        components=components,
    )
    return Answer(report, _FAILED) if worst is Health.FAILED else report


async def live(_call: Call[NoQuery, None]) -> Live:
    """The event loop runs and answers. Says nothing of the database or the feeds."""
    return Live(live=True)


async def ready(call: Call[NoQuery, None]) -> Ready | Answer[Ready]:
    """503 until everything is started and the database answers."""
    is_ready = call.parts.ready()
    failed = [status for status in call.parts.components() if status.health is Health.FAILED]
    report = Ready(ready=is_ready, failed=failed)
    return report if is_ready else Answer(report, _FAILED)


async def ping(call: Call[NoQuery, None]) -> PingAnswer:
    """The cheapest answer there is."""
    return PingAnswer(time_ns=call.parts.clock.time_ns())


def _worst(components: list[ComponentStatus]) -> Health:
    states = {component.health for component in components}
    for state in (Health.FAILED, Health.DEGRADED):
        if state in states:
            return state
    return Health.OK


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/health",
        summary="Health of the process and of each component",
        handler=health,
        response=HealthReport,
        statuses={200: "It works, perhaps with a loss that it names.", _FAILED: "A component has failed."},
        scope=Scope.PUBLIC,
    ),
    Route(
        method="GET",
        path="/api/v1/health/live",
        summary="Whether the process answers",
        handler=live,
        response=Live,
        scope=Scope.PUBLIC,
    ),
    Route(
        method="GET",
        path="/api/v1/health/ready",
        summary="Whether the process can do its work",
        handler=ready,
        response=Ready,
        statuses={200: "Ready.", _FAILED: "Not ready yet, or not any more."},
        scope=Scope.PUBLIC,
    ),
    Route(
        method="GET",
        path="/api/v1/ping",
        summary="The time here",
        handler=ping,
        response=PingAnswer,
        scope=Scope.PUBLIC,
    ),
)
