"""The body of Alertmanager's webhook, version 4, and the alerts in it.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.http.body import BodyReader
from api.http.problems import FieldProblem, ProblemError
from decahertz.alert import ALERT_NAME, RECORDER, SEVERITY, Alert, AlertOrigin, AlertState, alert_id
from decahertz.clock import NS_PER_SECOND, TimeFormatError, parse_time
from decahertz.event import Text
from decahertz.wire import Codec

AT_ONCE = 200
"""Alerts that are handled without a pause: a few milliseconds."""
_LARGEST_AHEAD_NS = 24 * 3600 * NS_PER_SECOND
"""A clock may be wrong by hours, but an alert of next year would head every list until then."""
_Label = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]
_Labels = Annotated[dict[_Label, Text], Meta(max_length=256)]


class ReportedAlert(Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of a group. Alertmanager may add fields."""

    status: Literal["firing", "resolved"]
    labels: _Labels
    annotations: _Labels = {}
    starts_at: Annotated[str, Meta(max_length=64)]
    """RFC 3339."""
    ends_at: Annotated[str, Meta(max_length=64)]
    """RFC 3339; of the year 1 while the alert fires."""
    fingerprint: Annotated[str, Meta(min_length=16, max_length=16, pattern=r"^[0-9a-f]{16}$")]


class Webhook(Struct, frozen=True, kw_only=True, rename="camel"):
    """A group of alerts. Alertmanager may add fields."""

    version: Literal["4"]
    group_key: Annotated[str, Meta(max_length=65_536)]
    truncated_alerts: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Alerts of the group that `max_alerts` of the receiver left out."""
    status: Literal["firing", "resolved"]
    receiver: Annotated[str, Meta(max_length=1024)]
    alerts: Annotated[list[ReportedAlert], Meta(max_length=10_000)]


class WebhookReader(BodyReader[Webhook]):
    """Decodes the body. Any other body is a bad request, which Alertmanager does not send again."""

    def __init__(self) -> None:
        super().__init__(Webhook)

    async def read(self, data: bytes, codec: Codec) -> Webhook:
        """Raises :class:`ProblemError` (``malformed-body``, ``invalid-webhook``)."""
        try:
            return await super().read(data, codec)
        except ProblemError as problem:
            if problem.kind != "invalid-body":
                raise
            raise ProblemError("invalid-webhook", problem.detail, problem.errors) from problem


async def alerts_of(webhook: Webhook, recorder: str, now_ns: int) -> list[Alert]:
    """The alerts of a group, received by ``recorder``. Raises :class:`ProblemError` (``invalid-webhook``).

    Pauses after :data:`AT_ONCE` alerts, so that a large group delays no cycle.
    """
    found = []
    for index, reported in enumerate(webhook.alerts):
        if index and index % AT_ONCE == 0:
            await asyncio.sleep(0)
        found.append(_alert(reported, index, recorder, now_ns))
    return found


def _alert(reported: ReportedAlert, index: int, recorder: str, now_ns: int) -> Alert:
    where = f"alerts[{index}]"
    labels, annotations = reported.labels, reported.annotations
    name = labels.get(ALERT_NAME, "")
    if not name:
        raise _invalid(f"{where}.labels.{ALERT_NAME}", "an alert has a name")
    starts_ns = _time(reported.starts_at, f"{where}.startsAt")
    ends_ns = _time(reported.ends_at, f"{where}.endsAt")
    is_firing = reported.status == "firing" or ends_ns <= 0
    if starts_ns <= 0:
        raise _invalid(f"{where}.startsAt", "is before 1970")
    for field, time_ns in (("startsAt", starts_ns), ("endsAt", 0 if is_firing else ends_ns)):
        if time_ns > now_ns + _LARGEST_AHEAD_NS:
            raise _invalid(f"{where}.{field}", "is more than a day in the future")
    return Alert(
        id=alert_id(reported.fingerprint, starts_ns),
        fingerprint=reported.fingerprint,
        origin=AlertOrigin.PROMETHEUS,
        name=name,
        severity=labels.get(SEVERITY, ""),
        state=AlertState.FIRING if is_firing else AlertState.RESOLVED,
        recorder=labels.get(RECORDER) or recorder,
        labels=dict(sorted(labels.items())),
        summary=_first(annotations.get(key) for key in ("summary", "description")) or name,
        description=annotations.get("description", ""),
        runbook_url=annotations.get("runbook_url", ""),
        starts_ns=starts_ns,
        ends_ns=None if is_firing else max(ends_ns, starts_ns),
        updated_ns=now_ns,
        value=_number(annotations.get("value")),
        threshold=_number(annotations.get("threshold")),
    )


def _time(text: str, field: str) -> int:
    try:
        return parse_time(text)
    except TimeFormatError as error:
        raise _invalid(field, str(error)) from error


def _number(text: str | None) -> float | None:
    """The figure that an annotation holds; the templates of rules are free text."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _first(texts: Iterable[str | None]) -> str:
    return next((text for text in texts if text), "")


def _invalid(field: str, reason: str) -> ProblemError:
    return ProblemError("invalid-webhook", f"{field}: {reason}", [FieldProblem(field=field, reason=reason)])
