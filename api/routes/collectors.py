"""Collectors and feeds."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.parts import Request
from decahertz.health import CollectorStatus, FeedStatus


class Plugins(Struct, frozen=True, kw_only=True):
    """Status of all collectors and feeds."""

    recorder: str
    """Name of this recorder."""
    collectors: list[CollectorStatus]
    feeds: list[FeedStatus]


async def collectors(request: Request[NoQuery, None]) -> Plugins:
    """Returns the state, counters and last error of each collector and feed. Durations are in seconds."""
    return Plugins(
        recorder=request.parts.recorder, collectors=request.parts.collectors(), feeds=request.parts.feeds()
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/collectors",
        summary="Collectors and feeds",
        handler=collectors,
        response=Plugins,
    ),
)
