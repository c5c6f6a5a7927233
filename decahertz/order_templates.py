"""Templates of order requests: submitted by hand with other values, or by a schedule."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from decahertz.decode_errors import explained
from decahertz.event import Name, TimeNs
from decahertz.order_requests import AnyOrderRequest, Notes

_CRON: Final = explained(
    r"^[0-9A-Za-z*/,#\- ]*$",
    "a cron expression has 5 fields of digits, names of days and months, and * / , - #",
)
_ZONE: Final = explained(r"^[A-Za-z0-9_+\-/]*$", "is not a time zone; Europe/Berlin is one")
_CALENDAR: Final = explained(
    r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,31}$", "is not a calendar of exchange-calendars; XNYS is one"
)
Cron: TypeAlias = Annotated[str, Meta(max_length=256, pattern=_CRON)]
Zone: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=_ZONE)]
CalendarName: TypeAlias = Annotated[str, Meta(pattern=_CALENDAR)]


class Schedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a template is submitted automatically."""

    cron: Cron
    """Minute, hour, day of the month, month and day of the week, as in crontab: `55 15 * * 1-5`."""
    timezone: Zone | None = None
    """The zone of the times, such as `America/New_York`; null: `accounting.timezone`."""
    calendar: CalendarName | None = None
    """A calendar of exchange-calendars, such as `XNYS`: times outside its sessions are skipped."""
    enabled: bool = True


class TemplateContent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a template, as a person writes it."""

    name: Name
    """Unique among the templates of a recorder."""
    description: Notes = ""
    order: AnyOrderRequest
    """The request, without `valid_until`."""
    valid_seconds: Annotated[float, Meta(ge=1, le=31_536_000)] | None = None
    """Time after which a request expires unless a process has begun it."""
    schedule: Schedule | None = None
    """Null: it is submitted by hand only."""


class RunOutcome(StrEnum):
    """Outcome of a scheduled time."""

    SUBMITTED = "submitted"
    REFUSED = "refused"
    """A check or a halt refused it; it is not tried again."""
    MISSED = "missed"
    """The recorder, or its database, was away for longer than `control.schedule_grace_seconds`."""


class ScheduledRun(Struct, frozen=True, kw_only=True):
    """Outcome of the newest scheduled time."""

    scheduled_ns: TimeNs
    time_ns: TimeNs
    """When it was handled."""
    outcome: RunOutcome
    request_id: str | None = None
    """The request that was submitted."""
    reason: str | None = None
    """Why no request was submitted."""
    missed: int = 0
    """Scheduled times before this one that were missed since the last run."""


class Template(Struct, frozen=True, kw_only=True):
    """A template in its current version."""

    template_id: str
    recorder: str
    version: int
    """From 1; also the `ETag`."""
    created_ns: TimeNs
    updated_ns: TimeNs
    updated_by: str
    """Name of the key; `local` without one."""
    name: Name
    description: Notes
    order: AnyOrderRequest
    valid_seconds: float | None
    schedule: Schedule | None
    next_ns: int | None
    """When it is submitted next; null: by hand only."""
    last_run: ScheduledRun | None
    """The newest scheduled time that has passed."""

    @property
    def content(self) -> TemplateContent:
        """The content, as a person wrote it."""
        return TemplateContent(
            name=self.name,
            description=self.description,
            order=self.order,
            valid_seconds=self.valid_seconds,
            schedule=self.schedule,
        )


class TemplateVersion(Struct, frozen=True, kw_only=True):
    """A version of a template."""

    template_id: str
    version: int
    time_ns: TimeNs
    """When it took effect."""
    actor: str
    content: TemplateContent
