"""Alerts as rows of ``alerts``, and their acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from decahertz.alert import Acknowledgement, Alert, AlertOrigin, AlertState
from decahertz.clock import to_datetime

if TYPE_CHECKING:
    import asyncpg

    from storage.database import AnyConnection

COLUMNS = (
    "time",
    "recorder",
    "id",
    "fingerprint",
    "origin",
    "name",
    "severity",
    "state",
    "labels",
    "summary",
    "description",
    "runbook_url",
    "starts_ns",
    "ends_ns",
    "updated_ns",
    "reported_ns",
    "value",
    "threshold",
)
_NEWEST_ACKNOWLEDGEMENTS = """
SELECT DISTINCT ON (alert_id) alert_id, who, comment, time_ns, until_ns, silence_id
FROM alert_acknowledgements WHERE alert_id = ANY($1::text[])
ORDER BY alert_id, time_ns DESC
"""


def row_of(alert: Alert) -> tuple[Any, ...]:
    """The row of an alert, in the order of :data:`COLUMNS`."""
    values = {
        "time": to_datetime(alert.starts_ns),
        "origin": alert.origin.value,
        "state": alert.state.value,
        "labels": msgspec.json.encode(alert.labels).decode(),
        "reported_ns": alert.updated_ns,
    }
    return tuple(values.get(name) or getattr(alert, name) for name in COLUMNS)


async def alerts_of(connection: AnyConnection, rows: Sequence[asyncpg.Record]) -> list[Alert]:
    """The alerts of these rows, with their acknowledgements."""
    found = await connection.fetch(_NEWEST_ACKNOWLEDGEMENTS, [row["id"] for row in rows]) if rows else []
    acknowledged = {
        row["alert_id"]: Acknowledgement(
            **{name: row[name] for name in Acknowledgement.__struct_fields__},
        )
        for row in found
    }
    return [_alert(row, acknowledged.get(row["id"])) for row in rows]


def _alert(row: asyncpg.Record, acknowledgement: Acknowledgement | None) -> Alert:
    values = {name: row[name] for name in COLUMNS if name not in ("time", "reported_ns")}
    values["origin"] = AlertOrigin(row["origin"])
    values["state"] = AlertState(row["state"])
    values["labels"] = msgspec.json.decode(row["labels"], type=dict[str, str])
    return Alert(**values, acknowledgement=acknowledgement)
