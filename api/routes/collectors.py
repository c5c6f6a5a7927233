"""What runs: collectors and feeds."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import Call, Route
from decahertz.health import CollectorStatus, FeedStatus


class Plugins(Struct, frozen=True, kw_only=True):
    """Collectors and feeds as their hosts see them."""

    collectors: list[CollectorStatus]
    feeds: list[FeedStatus]


async def collectors(call: Call[NoQuery, None]) -> Plugins:
    """Each collector and each feed: its state, what it did, its last error. Durations in seconds."""
    return Plugins(collectors=call.parts.collectors(), feeds=call.parts.feeds())


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/collectors",
        summary="Collectors and feeds",
        handler=collectors,
        response=Plugins,
    ),
)
