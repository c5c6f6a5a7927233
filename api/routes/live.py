"""Figures of the WebSocket clients."""

from __future__ import annotations

from typing import Final

from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.live.statistics import LiveStatistics
from api.parts import Request


async def system_stats(request: Request[NoQuery, None]) -> LiveStatistics:
    """Returns what each WebSocket client has subscribed to, and its queues, lag and conflation.

    The same as totals is in `/metrics`, as `decahertz_api_websocket_…`.
    """
    return request.parts.live()


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/system/stats",
        summary="WebSocket clients",
        handler=system_stats,
        response=LiveStatistics,
    ),
)
