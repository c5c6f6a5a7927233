"""Stores alerts: what Alertmanager reports, what the watchdog finds, and acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from decahertz.alert import Acknowledgement, Alert, AlertState
from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.schema.alerts import COLUMNS, alerts_of, row_of
from storage.write.audit import add_entry

if TYPE_CHECKING:
    from decahertz.audit import AuditEntry
    from storage.database import AnyConnection, Database

LATE_NS = 60 * NS_PER_SECOND
"""A report that an alert fires, this soon after one that it is resolved, was sent before that one."""

_RELATED = """
SELECT * FROM alerts WHERE fingerprint = ANY($1::text[])
  AND (id = ANY($2::text[]) OR state = 'firing' OR starts_ns >= $3)
ORDER BY id FOR UPDATE
"""
_UPSERT = f"""
INSERT INTO alerts ({", ".join(COLUMNS)})
VALUES ({", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")}
"""  # noqa: S608 - names of our own
_ACKNOWLEDGE = """
INSERT INTO alert_acknowledgements (time, recorder, alert_id, who, comment, time_ns, until_ns, silence_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (alert_id, time_ns) DO UPDATE SET silence_id = excluded.silence_id
"""


_REPORTED = "UPDATE alerts SET reported_ns = $2 WHERE id = ANY($1::text[])"
_EXPIRE = """
UPDATE alerts SET state = 'resolved', ends_ns = $2, updated_ns = $2
WHERE state = 'firing' AND origin = 'prometheus' AND reported_ns < $1 RETURNING *
"""
_UNREPORTED = """
SELECT id, fingerprint FROM alerts
WHERE state = 'firing' AND origin = 'prometheus' AND recorder = $2 AND reported_ns < $1
"""
_RESOLVE_UNREPORTED = """
UPDATE alerts SET state = 'resolved', ends_ns = $3, updated_ns = $3
WHERE id = ANY($1::text[]) AND state = 'firing' AND reported_ns < $2 RETURNING *
"""
_FIRING = """
SELECT * FROM alerts WHERE state = 'firing' AND (origin = 'prometheus' OR recorder = $1) ORDER BY starts_ns
"""


class AlertStore:
    """The tables ``alerts`` and ``alert_acknowledgements``.

    Every method can raise :class:`~storage.database.DatabaseUnavailableError`.
    """

    def __init__(self, database: Database, recorder: str) -> None:
        self._database = database
        self._recorder = recorder
        self._turn = asyncio.Lock()  # reports are stored in the order in which they arrive

    async def report(
        self,
        reported: Sequence[Alert],
        audit: Callable[[Sequence[Alert]], AuditEntry] | None = None,
    ) -> list[Alert]:
        """Stores these alerts as far as they tell anything new; returns the alerts that changed.

        ``audit`` makes the entry of the audit log from the alerts that changed, if any did.
        """
        if not reported:
            return []
        async with self._turn, self._database.query() as connection, connection.transaction():
            rows = await connection.fetch(
                _RELATED,
                [alert.fingerprint for alert in reported],
                [alert.id for alert in reported],
                min(alert.starts_ns for alert in reported),
            )
            changed = changes(await alerts_of(connection, rows), reported)
            await connection.executemany(_UPSERT, [row_of(alert) for alert in changed])
            await connection.execute(
                _REPORTED, [alert.id for alert in reported], max(alert.updated_ns for alert in reported)
            )
            if changed and audit is not None:
                await add_entry(connection, audit(changed))
        return changed

    async def expire(self, before_ns: int, now_ns: int) -> list[Alert]:
        """Resolves and returns the alerts that Alertmanager last reported as firing before ``before_ns``."""
        async with self._database.query() as connection, connection.transaction():
            return await alerts_of(connection, await connection.fetch(_EXPIRE, before_ns, now_ns))

    async def unreported(self, before_ns: int) -> dict[str, str]:
        """Ids and fingerprints of this recorder's alerts that were last reported before ``before_ns``."""
        async with self._database.query() as connection:
            rows = await connection.fetch(_UNREPORTED, before_ns, self._recorder)
        return {row["id"]: row["fingerprint"] for row in rows}

    async def resolve_unreported(self, ids: Iterable[str], before_ns: int, now_ns: int) -> list[Alert]:
        """Resolves and returns those of these alerts that were not reported since ``before_ns``."""
        async with self._database.query() as connection, connection.transaction():
            rows = await connection.fetch(_RESOLVE_UNREPORTED, list(ids), before_ns, now_ns)
            return await alerts_of(connection, rows)

    async def acknowledge(
        self, alert_id: str, acknowledgement: Acknowledgement, audit: AuditEntry | None = None
    ) -> Alert | None:
        """Stores an acknowledgement, or its silence, and the entry of the audit log.

        Returns the alert, ``None`` if there is no such alert.
        """
        async with self._database.query() as connection, connection.transaction():
            changed = await connection.execute(
                "UPDATE alerts SET updated_ns = greatest(updated_ns, $2) WHERE id = $1",
                alert_id,
                acknowledgement.time_ns,
            )
            if changed != "UPDATE 1":
                return None
            await connection.execute(
                _ACKNOWLEDGE,
                to_datetime(acknowledgement.time_ns),
                self._recorder,
                alert_id,
                acknowledgement.who,
                acknowledgement.comment,
                acknowledgement.time_ns,
                acknowledgement.until_ns,
                acknowledgement.silence_id,
            )
            if audit is not None:
                await add_entry(connection, audit)
            return await _find(connection, alert_id)

    async def firing(self) -> list[Alert]:
        """The alerts that fire: those of Prometheus, and those of this recorder's watchdog."""
        async with self._database.query() as connection:
            return await alerts_of(connection, await connection.fetch(_FIRING, self._recorder))


async def _find(connection: AnyConnection, alert_id: str) -> Alert | None:
    found = await alerts_of(
        connection, await connection.fetch("SELECT * FROM alerts WHERE id = $1", alert_id)
    )
    return found[0] if found else None


def changes(known: Iterable[Alert], reported: Iterable[Alert]) -> list[Alert]:
    """The alerts that change when these are reported; ``known`` are all later and all firing ones of them."""
    by_fingerprint: dict[str, dict[str, Alert]] = {}
    for alert in known:
        by_fingerprint.setdefault(alert.fingerprint, {})[alert.id] = alert
    changed: dict[str, Alert] = {}
    for report in reported:
        alerts = by_fingerprint.setdefault(report.fingerprint, {})
        others = [a for a in alerts.values() if a.id != report.id]
        later_ns = min((a.starts_ns for a in others if a.starts_ns > report.starts_ns), default=None)
        if later_ns is not None and report.is_firing:
            # It has fired again since: this report came late.
            report = resolved(report, later_ns, report.updated_ns)  # noqa: PLW2901 - the same report
        news = _news(alerts.get(report.id), report)
        if news is None:
            continue
        found = [news]
        if news.is_firing:
            found += [resolved(a, news.starts_ns, news.updated_ns) for a in others if a.is_firing]
        for alert in found:
            alerts[alert.id] = changed[alert.id] = alert
    return list(changed.values())


def _news(known: Alert | None, report: Alert) -> Alert | None:
    """The alert after the report; ``None`` if that changes nothing."""
    if known is None:
        return report
    if not known.is_firing and (not report.is_firing or report.updated_ns - known.updated_ns < LATE_NS):
        return None
    news = msgspec.structs.replace(
        report,
        recorder=known.recorder,
        value=known.value,
        threshold=known.threshold,
        acknowledgement=known.acknowledgement,
    )
    return None if msgspec.structs.replace(news, updated_ns=known.updated_ns) == known else news


def resolved(alert: Alert, ends_ns: int, now_ns: int) -> Alert:
    """The alert, resolved at ``ends_ns``."""
    return msgspec.structs.replace(
        alert, state=AlertState.RESOLVED, ends_ns=max(ends_ns, alert.starts_ns), updated_ns=now_ns
    )
