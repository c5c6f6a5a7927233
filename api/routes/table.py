"""All routes."""

from __future__ import annotations

from typing import Any, Final

from api.http.route import Route
from api.routes import collectors, events, export, health, history, ledger, market, metrics, records

ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *history.ROUTES,
    *records.ROUTES,
    *market.ROUTES,
    *export.ROUTES,
    *collectors.ROUTES,
    *events.ROUTES,
    *ledger.ROUTES,
)
