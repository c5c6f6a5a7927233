"""Alerts: list, webhook of Alertmanager, acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta, Struct

from api.alertmanager.silences import SilenceError
from api.alertmanager.webhook import AT_ONCE, Webhook, WebhookReader, alerts_of
from api.http.access import Scope
from api.http.body import BodyReader
from api.http.problems import FieldProblem, ProblemError
from api.http.query import NoQuery, Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.records import Cursor, Limit, Text
from decahertz.alert import TOPIC, Acknowledgement, Alert, AlertOrigin, AlertState
from decahertz.audit import AuditEntry
from decahertz.clock import TimeFormatError, parse_time
from storage.database import DatabaseUnavailableError, within
from storage.query.alerts import AlertFilter
from storage.query.queries import Page

_LARGEST_NS = 2**63 - 1
_DATABASE_SECONDS = 3.0
"""Alerts are asked for and reported during incidents: a database that hangs must not make that hang."""


ACKNOWLEDGE, REPORT = "alert.acknowledge", "alerts.report"


class AlertsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of alerts that fired within `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    name: Text | None = None
    severity: Text | None = None
    state: AlertState | None = None
    origin: AlertOrigin | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class AlertQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one alert."""

    id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the alert.")]


class WebhookReceipt(Struct, frozen=True, kw_only=True):
    """Response to a webhook."""

    changed: int
    """Alerts that began to fire, were resolved or have another text."""
    unchanged: int
    """Alerts of which this was known."""
    truncated: int
    """Alerts that Alertmanager left out because of `max_alerts`."""


class NewAcknowledgement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody looks after an alert."""

    who: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*$", description="Who.")]
    comment: Annotated[
        str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]*$", description="What they do about it.")
    ]
    until: Annotated[
        int | str, Meta(description="When it ends: nanoseconds since the Unix epoch, or RFC 3339.")
    ]


class AcknowledgedAlert(Struct, frozen=True, kw_only=True):
    """Response to an acknowledgement, which is stored."""

    alert: Alert
    silence_problem: str | None
    """Why Alertmanager made no silence; null if it made one, and if none was asked for."""


async def alerts(request: Request[AlertsQuery, None]) -> Page[Alert]:
    """Returns alerts of the watchdog and of Prometheus, the last started first.

    While the database is away, or does not answer within 3 s, `state=firing` is answered from memory, in one
    page.
    """
    query = request.query
    if query.start is not None and query.end is not None and query.start > query.end:
        raise parameter_problem("start", "is after end")
    which = AlertFilter(
        recorder=query.recorder,
        name=query.name,
        severity=query.severity,
        state=query.state,
        origin=query.origin,
        start_ns=query.start,
        end_ns=query.end,
    )
    queries = request.parts.queries
    try:
        return await within(_DATABASE_SECONDS, queries.alerts(which, limit=query.limit, cursor=query.cursor))
    except DatabaseUnavailableError:
        if which.state is not AlertState.FIRING or query.cursor is not None:
            raise
        found = [alert for alert in request.parts.alerts if which.selects(alert)]
        return Page(items=sorted(found, key=lambda alert: alert.starts_ns, reverse=True))


async def alert(request: Request[AlertQuery, None]) -> Alert:
    """Returns one alert. One that fires is found while the database is away, too."""
    parts, wanted = request.parts, request.query.id
    found = parts.alerts.get(wanted) or await within(_DATABASE_SECONDS, parts.queries.alert(wanted))
    if found is None:
        raise _unknown(wanted)
    return found


async def alerts_webhook(request: Request[NoQuery, Webhook]) -> WebhookReceipt:
    """Receives alerts from Alertmanager (`webhook_config`, version 4).

    The same group again changes nothing. 503 makes Alertmanager send it again: the database is away or does
    not answer within 3 s. A large group is stored in parts, and those that are stored stay. An alert that
    names no recorder in its label `recorder` is stored as one of this recorder.
    """
    parts, webhook = request.parts, request.body
    reported = await alerts_of(webhook, parts.recorder, parts.clock.time_ns())
    if webhook.truncated_alerts:
        structlog.get_logger(part="alerts").warning(
            "alerts_truncated", receiver=webhook.receiver, alerts=webhook.truncated_alerts
        )
    changed: set[str] = set()
    for start in range(0, len(reported), AT_ONCE):
        storing = parts.alert_store.report(
            reported[start : start + AT_ONCE], partial(_reported, request, webhook.receiver)
        )
        for alert in await within(_DATABASE_SECONDS, storing):
            changed.add(alert.id)
            parts.bus.publish(TOPIC, alert)
        await asyncio.sleep(0)
    if changed:
        parts.auditor.stored()
    unchanged = len({alert.id for alert in reported} - changed)
    return WebhookReceipt(changed=len(changed), unchanged=unchanged, truncated=webhook.truncated_alerts)


def _reported(request: Request[NoQuery, Webhook], receiver: str, changed: Sequence[Alert]) -> AuditEntry:
    states = {alert.id: alert.state.value for alert in changed}
    return request.parts.auditor.entry(
        REPORT, receiver, caller=request.caller, address=request.address, after=states
    )


async def acknowledge_alert(request: Request[AlertQuery, NewAcknowledgement]) -> AcknowledgedAlert:
    """Acknowledges an alert until a time; if it fires, silences it in Alertmanager where that is configured.

    The acknowledgement is stored before the silence is made, and stays if Alertmanager fails. The newest one
    of an alert counts, and its silence replaces the one before.
    """
    parts, body = request.parts, request.body
    now_ns = parts.clock.time_ns()
    acknowledgement = Acknowledgement(
        who=body.who, comment=body.comment, time_ns=now_ns, until_ns=_until(body.until, now_ns)
    )
    before, after = await within(_DATABASE_SECONDS, _acknowledged(request, acknowledgement))
    problem = None
    if parts.silences is not None and before.is_firing:
        try:
            silence_id = await parts.silences.silence(before, acknowledgement)
        except SilenceError as error:
            problem = str(error)
        else:
            with_silence = msgspec.structs.replace(acknowledgement, silence_id=silence_id)
            entry = parts.auditor.entry(
                "alert.silence",
                before.id,
                caller=request.caller,
                address=request.address,
                before={"silence_id": before.acknowledgement and before.acknowledgement.silence_id},
                after={"silence_id": silence_id},
            )
            storing = parts.alert_store.acknowledge(before.id, with_silence, entry)
            stored = await within(_DATABASE_SECONDS, storing)
            after = after if stored is None else stored
    parts.bus.publish(TOPIC, after)
    parts.auditor.stored()
    return AcknowledgedAlert(alert=after, silence_problem=problem)


async def _acknowledged(
    request: Request[AlertQuery, NewAcknowledgement], acknowledgement: Acknowledgement
) -> tuple[Alert, Alert]:
    """Stores an acknowledgement; returns the alert before and after it."""
    parts, alert_id = request.parts, request.query.id
    waiting = parts.alerts.get(alert_id)
    if waiting is not None:
        await parts.alert_store.report([waiting])  # it may not be stored yet
    before = await parts.queries.alert(alert_id)
    if before is None:
        raise _unknown(alert_id)
    entry = parts.auditor.entry(
        ACKNOWLEDGE,
        before.id,
        caller=request.caller,
        address=request.address,
        before=None if before.acknowledgement is None else msgspec.to_builtins(before.acknowledgement),
        after=msgspec.to_builtins(acknowledgement),
    )
    after = await parts.alert_store.acknowledge(before.id, acknowledgement, entry)
    if after is None:
        raise _unknown(alert_id)
    return before, after


def _until(value: int | str, now_ns: int) -> int:
    try:
        until_ns = value if isinstance(value, int) else parse_time(value)
    except TimeFormatError as error:
        raise _invalid("until", str(error)) from error
    if until_ns <= now_ns:
        raise _invalid("until", "is not in the future")
    if until_ns > _LARGEST_NS:
        raise _invalid("until", "lies after 2262")
    return until_ns


def _invalid(field: str, reason: str) -> ProblemError:
    return ProblemError("invalid-body", f"{field}: {reason}", [FieldProblem(field=field, reason=reason)])


def _unknown(alert_id: str) -> ProblemError:
    return ProblemError("not-found", f"there is no alert {alert_id[:256]!r}")


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/alerts",
        summary="Alerts",
        handler=alerts,
        query=AlertsQuery,
        response=Page[Alert],
        problems=("invalid-cursor", "database-unavailable"),
    ),
    Route(
        method="POST",
        path="/api/v1/alerts/webhook",
        summary="Alerts from Alertmanager",
        handler=alerts_webhook,
        body=WebhookReader(),
        response=WebhookReceipt,
        scope=Scope.INGEST,
        audit=REPORT,
        problems=("invalid-webhook", "database-unavailable"),
    ),
    Route(
        method="POST",
        path="/api/v1/alerts/{id}/acknowledge",
        summary="Acknowledge an alert",
        handler=acknowledge_alert,
        query=AlertQuery,
        body=BodyReader(NewAcknowledgement),
        response=AcknowledgedAlert,
        scope=Scope.TRADE,
        audit=ACKNOWLEDGE,
        problems=("not-found", "database-unavailable"),
    ),
    Route(
        path="/api/v1/alerts/{id}",
        summary="One alert",
        handler=alert,
        query=AlertQuery,
        response=Alert,
        problems=("not-found", "database-unavailable"),
    ),
)
