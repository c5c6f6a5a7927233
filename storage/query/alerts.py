"""Queries of stored alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.alert import Alert, AlertOrigin, AlertState
from storage.query.pagination import KeysetPage
from storage.schema.alerts import alerts_of
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import Reads

ALERTS = KeysetPage("alerts", "starts_ns", ("starts_ns", "id"), ends_column="ends_ns")


class AlertFilter(Struct, frozen=True, kw_only=True):
    """Selects alerts; ``None`` does not restrict. A time range selects those that fired within it."""

    recorder: str | None = None
    name: str | None = None
    severity: str | None = None
    state: AlertState | None = None
    origin: AlertOrigin | None = None
    start_ns: int | None = None
    end_ns: int | None = None

    def selects(self, alert: Alert) -> bool:
        """Whether it selects an alert that is in memory."""
        names = ("recorder", "name", "severity", "state", "origin")
        same = all(getattr(self, name) in (None, getattr(alert, name)) for name in names)
        has_begun = self.end_ns is None or alert.starts_ns < self.end_ns
        return same and has_begun and (self.start_ns is None or alert.is_firing)


async def newest_alerts(
    database: Reads, which: AlertFilter, limit: int, cursor: str | None
) -> tuple[list[Alert], str | None]:
    """One page of alerts, the last started first, and the cursor of the next page.

    Raises :class:`~storage.query.pagination.CursorError`.
    """
    statement, values = ALERTS.statement(which, limit, cursor)
    async with database.query() as connection:
        rows = await connection.fetch(statement, *values)
        found = await alerts_of(connection, rows[:limit])
    return found, ALERTS.cursor_after(rows[limit - 1], which, cursor) if len(rows) > limit else None


async def find_alert(database: Reads, alert_id: str) -> Alert | None:
    """The alert with this id."""
    if not storable(alert_id):
        return None
    async with database.query() as connection:
        rows = await connection.fetch("SELECT * FROM alerts WHERE id = $1", alert_id)
        found = await alerts_of(connection, rows)
    return found[0] if found else None
