"""All routes of the REST API."""

from __future__ import annotations

from typing import Final

from api.http.route import AnyRoute
from api.routes import alerts, collectors, events, export, health, history, ledger, market, metrics, records

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *history.ROUTES,
    *records.ROUTES,
    *market.ROUTES,
    *export.ROUTES,
    *collectors.ROUTES,
    *events.ROUTES,
    *ledger.ROUTES,
    *alerts.ROUTES,
)
