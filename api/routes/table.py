"""All routes of the REST API, and the OpenAPI document of them."""

from __future__ import annotations

from typing import Any, Final

from api.http.openapi import openapi_document
from api.http.route import AnyRoute
from api.routes import (
    alerts,
    analytics,
    audit,
    cash_totals,
    collectors,
    desk,
    events,
    execution,
    export,
    halts,
    health,
    history,
    ledger,
    live,
    market,
    market_feeds,
    metrics,
    metrics_summary,
    order_requests,
    orders,
    pnl,
    positions,
    providers,
    records,
    report,
    risk,
    sentiment,
    session,
    signals,
    statistics,
    stored,
    system,
    templates,
)
from api.routes.names import Names
from decahertz.event import Count, Identifier, Name, Number, Size, Text, TimeNs

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *metrics_summary.ROUTES,
    *history.ROUTES,
    *statistics.ROUTES,
    *report.ROUTES,
    *records.ROUTES,
    *orders.ROUTES,
    *order_requests.ROUTES,
    *templates.ROUTES,
    *stored.ROUTES,
    *cash_totals.ROUTES,
    *sentiment.ROUTES,
    *signals.ROUTES,
    *market.ROUTES,
    *analytics.ROUTES,
    *market_feeds.ROUTES,
    *positions.ROUTES,
    *pnl.ROUTES,
    *execution.ROUTES,
    *desk.ROUTES,
    *risk.ROUTES,
    *halts.ROUTES,
    *providers.ROUTES,
    *system.ROUTES,
    *export.ROUTES,
    *collectors.ROUTES,
    *events.ROUTES,
    *ledger.ROUTES,
    *live.ROUTES,
    *alerts.ROUTES,
    *audit.ROUTES,
    *session.ROUTES,
)

_NAMED_TYPES: Final = {
    "Count": Count,
    "Identifier": Identifier,
    "Name": Name,
    "Names": Names,
    "Number": Number,
    "Size": Size,
    "Text": Text,
    "TimeNs": TimeNs,
}
"""Types of fields that many schemas share."""


def api_document(version: str) -> dict[str, Any]:
    """Builds the OpenAPI document of all routes."""
    return openapi_document(ROUTES, version=version, named_types=_NAMED_TYPES)
