"""All routes of the REST API, and the OpenAPI document of them."""

from __future__ import annotations

from typing import Any, Final

from api.http.openapi import openapi_document
from api.http.route import AnyRoute
from api.routes import (
    alerts,
    collectors,
    events,
    export,
    health,
    history,
    ledger,
    live,
    market,
    metrics,
    positions,
    records,
)
from api.routes.names import Names
from decahertz.event import Count, Identifier, Name, Number, Size, Text, TimeNs

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *history.ROUTES,
    *records.ROUTES,
    *market.ROUTES,
    *positions.ROUTES,
    *export.ROUTES,
    *collectors.ROUTES,
    *events.ROUTES,
    *ledger.ROUTES,
    *live.ROUTES,
    *alerts.ROUTES,
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
