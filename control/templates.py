"""Templates of order requests: written by people, submitted by hand or by their schedules."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from control.actor import RECORDER, Actor
from control.checks import RequestViolationError
from control.schedules import CalendarError
from control.validation import InvalidRequestError, validated
from decahertz.audit import AuditEntry
from decahertz.clock import NS_PER_SECOND
from decahertz.decode_errors import InvalidField, invalid_field
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.order_requests import AnyOrderRequest, TemplateUse
from decahertz.order_templates import RunOutcome, ScheduledRun, Template, TemplateContent, TemplateVersion
from decahertz.supervision import end, supervise
from storage.database import DatabaseClosedError, DatabaseError
from storage.write.order_templates import VersionConflictError

if TYPE_CHECKING:
    from control.queue import DryRun, RequestQueue
    from control.schedules import Schedules
    from control.settings import ControlSettings
    from decahertz.clock import Clock
    from decahertz.order_requests import RequestRecord
    from storage.write.order_templates import TemplateStore

_MOST_TEMPLATES: Final = 1_000
_MOST_VERSIONS: Final = 1_000
_MOST_MISSED: Final = 1_000
_TICK_SECONDS: Final = 0.2
"""How late a scheduled time may be dealt with."""
_KEYS_SECONDS: Final = 10.0
"""How long a scheduled time waits for keys and halts to be read."""


class UnknownTemplateError(LookupError):
    """Raised for an id that no template of this recorder has."""


class TooManyTemplatesError(Exception):
    """Raised for a template beyond the limit."""


class Templates:
    """The templates of one recorder, and their schedules. ``start`` once; ``stop`` is safe without it.

    A scheduled time becomes one request, also over restarts: its idempotency key is the template with the
    time. Times that passed while the recorder was away are told, and not made up for. Methods raise
    :class:`~storage.database.DatabaseUnavailableError` while the database is away.
    """

    def __init__(
        self,
        store: TemplateStore,
        queue: RequestQueue,
        schedules: Schedules,
        clock: Clock,
        settings: ControlSettings,
        *,
        recorder: str,
    ) -> None:
        self._store = store
        self._queue = queue
        self._schedules = schedules
        self._clock = clock
        self._grace_ns = round(settings.schedule_grace_seconds * NS_PER_SECOND)
        self._recorder = recorder
        self.may_submit: Callable[[], bool] = lambda: True
        """Whether schedules may submit: only where a key has the scope ``trade``."""
        self.scheduled: list[Template] = []
        """Those with a next time, as far as is known."""
        self.times = Counter[RunOutcome]()
        """Scheduled times that have come since the start, by outcome."""
        self._is_stale = True
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="control")
        self._incident = Incident("schedules", self._log)

    async def start(self) -> None:
        """Begins to submit what is scheduled."""
        self._task = supervise(self._run, "schedules")

    async def stop(self) -> None:
        """Stops."""
        task, self._task = self._task, None
        await end(task)

    def status(self) -> ComponentStatus:
        """Degraded while schedules cannot be followed."""
        problem = self._incident.problem if self._incident.active else ""
        return ComponentStatus(
            name="schedules", health=Health.DEGRADED if problem else Health.OK, detail=problem
        )

    async def all(self) -> list[Template]:
        """Every template, by name."""
        return await self._store.all()

    async def find(self, template_id: str) -> Template:
        """A template. Raises :class:`UnknownTemplateError`."""
        found = await self._store.find(template_id)
        if found is None:
            raise UnknownTemplateError(template_id)
        return found

    async def versions(self, template_id: str) -> list[TemplateVersion]:
        """The versions of a template, the newest first. Raises :class:`UnknownTemplateError`."""
        found = await self._store.versions(template_id, _MOST_VERSIONS)
        if not found:
            raise UnknownTemplateError(template_id)
        return found

    async def create(self, content: TemplateContent, actor: Actor) -> Template:
        """Stores a template.

        Raises :class:`~control.validation.InvalidRequestError`, :class:`TooManyTemplatesError` and
        :class:`~storage.write.order_templates.NameTakenError`.
        """
        now_ns = self._clock.time_ns()
        next_ns = await self._checked(content, now_ns)
        if len(await self._store.all()) >= _MOST_TEMPLATES:
            raise TooManyTemplatesError(str(_MOST_TEMPLATES))
        made = Template(
            template_id=f"t-{uuid.uuid4().hex}",
            recorder=self._recorder,
            version=1,
            created_ns=now_ns,
            updated_ns=now_ns,
            updated_by=actor.name,
            next_ns=next_ns,
            last_run=None,
            **_fields(content),
        )
        await self._store.add(made, self._audit("template.create", actor))
        self._is_stale = True
        return made

    async def update(
        self, template_id: str, version: int | None, content: TemplateContent, actor: Actor
    ) -> Template:
        """Stores the next version of a template; returns it.

        Raises as :meth:`create`, and :class:`UnknownTemplateError` and
        :class:`~storage.write.order_templates.VersionConflictError`.
        """
        now_ns = self._clock.time_ns()
        next_ns = await self._checked(content, now_ns)

        def updated(before: Template) -> Template:
            return replace(
                before,
                version=before.version + 1,
                updated_ns=now_ns,
                updated_by=actor.name,
                # A change of something else leaves a time that is due as it is.
                next_ns=before.next_ns if before.schedule == content.schedule else next_ns,
                **_fields(content),
            )

        audit = self._audit("template.update", actor)
        found = await self._store.change(template_id, version, updated, now_ns, audit)
        if found is None:
            raise UnknownTemplateError(template_id)
        self._is_stale = True
        return found

    async def delete(self, template_id: str, version: int | None, actor: Actor) -> Template:
        """Deletes a template; its versions are kept. Raises as :meth:`update`."""
        audit = self._audit("template.delete", actor)
        found = await self._store.change(template_id, version, lambda _: None, self._clock.time_ns(), audit)
        if found is None:
            raise UnknownTemplateError(template_id)
        self._is_stale = True
        return found

    async def submit(
        self,
        template_id: str,
        version: int | None,
        overrides: Mapping[str, Any],
        actor: Actor,
        idempotency_key: str | None,
    ) -> tuple[RequestRecord, bool]:
        """Queue a request with the values of a template and other values for some; see the queue.

        Raises as :meth:`~control.queue.RequestQueue.submit` and :meth:`update`.
        """
        template = await self._current(template_id, version)
        return await self._queue.submit(
            self._body(template, overrides),
            actor,
            idempotency_key,
            template=TemplateUse(template_id=template_id, version=template.version),
            identity=[template_id, dict(overrides)],
        )

    async def dry_run(self, template_id: str, version: int | None, overrides: Mapping[str, Any]) -> DryRun:
        """Tells the outcome of :meth:`submit` and queue nothing."""
        template = await self._current(template_id, version)
        return await self._queue.dry_run(self._body(template, overrides))

    async def _current(self, template_id: str, version: int | None) -> Template:
        found = await self.find(template_id)
        if version is not None and version != found.version:
            raise VersionConflictError(str(found.version))
        return found

    def _body(self, template: Template, overrides: Mapping[str, Any]) -> AnyOrderRequest:
        """The request of a template. Raises :class:`~control.validation.InvalidRequestError`."""
        body = msgspec.to_builtins(template.order)
        if "kind" in overrides and overrides["kind"] != body["kind"]:
            raise InvalidRequestError([InvalidField("overrides.kind", "is that of the template")])
        if template.valid_seconds is not None and overrides.get("valid_until") is None:
            until_ns = self._clock.time_ns() + round(template.valid_seconds * NS_PER_SECOND)
            body["valid_until"] = until_ns
        try:
            made: AnyOrderRequest = msgspec.convert({**body, **overrides}, AnyOrderRequest)
        except msgspec.ValidationError as error:
            field, reason = invalid_field(error, AnyOrderRequest)
            raise InvalidRequestError([InvalidField(_override(field), reason)]) from error
        try:
            validated(made, self._clock.time_ns())
        except InvalidRequestError as error:
            fields = [
                InvalidField(_override(field) if field in overrides else field, reason)
                for field, reason in error.fields
            ]
            raise InvalidRequestError(fields) from error
        return made

    async def _checked(self, content: TemplateContent, now_ns: int) -> int | None:
        """Checks what a person wrote; returns when it is submitted next."""
        problems: list[InvalidField] = []
        if content.order.valid_until is not None:
            problems.append(InvalidField("order.valid_until", "a template has valid_seconds instead"))
        else:
            try:
                validated(content.order, now_ns)
            except InvalidRequestError as error:
                problems += [InvalidField(f"order.{field}", reason) for field, reason in error.fields]
        if content.schedule is not None:
            try:
                await self._schedules.check(content.schedule)
            except InvalidRequestError as error:
                problems += error.fields
        if problems:
            raise InvalidRequestError(problems)
        return await self._schedules.next_ns(content.schedule, now_ns)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                await self._tick()
            except DatabaseClosedError:  # its opening reports why
                self._is_stale = True
            except (DatabaseError, CalendarError) as error:
                self._is_stale = True
                self._incident.fail(self._clock.monotonic_ns(), error)
            else:
                self._incident.recover()

    async def _tick(self) -> None:
        if self._is_stale:
            self._is_stale = False
            self.scheduled = [one for one in await self._store.all() if one.next_ns is not None]
        now_ns, problem = self._clock.time_ns(), None
        for template in self.scheduled:
            if template.next_ns is not None and template.next_ns <= now_ns:
                self._is_stale = True
                try:
                    await self._due(template, template.next_ns, now_ns)
                except CalendarError as error:  # the others go on
                    problem = error
        if problem is not None:
            raise problem

    async def _due(self, template: Template, scheduled_ns: int, now_ns: int) -> None:
        """Deals with a scheduled time that has come, and with those after it that have passed too."""
        assert template.schedule is not None  # noqa: S101 - it has a next time
        known = await self._queue.repeated(RECORDER.name, _key(template, scheduled_ns))
        if known is not None:  # the previous process was killed right after its submission
            run = _run(scheduled_ns, now_ns, RunOutcome.SUBMITTED, request_id=known.request_id)
            await self._ran(template, run, scheduled_ns)
            return
        passed: list[int] = []
        if await self._schedules.is_open(template.schedule, scheduled_ns):
            passed.append(scheduled_ns)
        async for at_ns in self._schedules.times(template.schedule, scheduled_ns):
            if at_ns > now_ns or len(passed) > _MOST_MISSED:
                break
            passed.append(at_ns)
        if not passed:  # its calendar has changed: no session after all
            await self._skip(template, now_ns)
            return
        newest_ns, missed = passed[-1], len(passed) - 1
        if now_ns - newest_ns > self._grace_ns or missed >= _MOST_MISSED:
            reason = f"the recorder or its database was away for {(now_ns - newest_ns) / NS_PER_SECOND:.0f} s"
            run = _run(newest_ns, now_ns, RunOutcome.MISSED, reason=reason, missed=missed)
        elif not self.may_submit() and now_ns - newest_ns < _KEYS_SECONDS * NS_PER_SECOND:
            return  # keys and halts may not be read yet: tried again
        else:
            run = await self._submitted(template, newest_ns, now_ns, missed)
        await self._ran(template, run, max(newest_ns, now_ns) if missed >= _MOST_MISSED else newest_ns)

    async def _submitted(
        self, template: Template, scheduled_ns: int, now_ns: int, missed: int
    ) -> ScheduledRun:
        ended = partial(_run, scheduled_ns, now_ns, missed=missed)
        if not self.may_submit():
            return ended(RunOutcome.REFUSED, reason="no key has the scope 'trade', or halts are not read yet")
        try:
            record, _ = await self._queue.submit(
                self._body(template, {}),
                RECORDER,
                _key(template, scheduled_ns),
                template=TemplateUse(
                    template_id=template.template_id, version=template.version, scheduled_ns=scheduled_ns
                ),
                identity=[template.template_id, scheduled_ns],
            )
        except (RequestViolationError, InvalidRequestError) as error:
            return ended(RunOutcome.REFUSED, reason=str(error)[:1024])
        return ended(RunOutcome.SUBMITTED, request_id=record.request_id)

    async def _ran(self, template: Template, run: ScheduledRun, after_ns: int) -> None:
        next_ns = await self._schedules.next_ns(template.schedule, after_ns)
        if run.outcome is not RunOutcome.SUBMITTED or run.missed:
            self._log.warning(
                f"schedule_{run.outcome.value}",
                template=template.name,
                scheduled_ns=run.scheduled_ns,
                missed=run.missed,
                reason=run.reason,
            )
        await self._store.ran(template, run, next_ns, self._audit("template.run", RECORDER))
        self.times[run.outcome] += 1
        self.times[RunOutcome.MISSED] += run.missed

    async def _skip(self, template: Template, now_ns: int) -> None:
        """Moves on to the next time, without a word about one outside of all sessions."""
        next_ns = await self._schedules.next_ns(template.schedule, now_ns)
        await self._store.move(template, next_ns)

    def _audit(self, action: str, actor: Actor) -> Callable[[Template | None, Template | None], AuditEntry]:
        return partial(self._entry, action, actor)

    def _entry(
        self, action: str, actor: Actor, before: Template | None, after: Template | None
    ) -> AuditEntry:
        target = after or before
        assert target is not None  # noqa: S101 - one of both is there
        return AuditEntry(
            time_ns=self._clock.time_ns(),
            recorder=self._recorder,
            actor=actor.name,
            key_id=actor.key_id,
            address=actor.address or None,
            action=action,
            target=target.template_id,
            before=None if before is None else msgspec.to_builtins(before),
            after=None if after is None else msgspec.to_builtins(after),
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )


def _override(field: str) -> str:
    return f"overrides.{field}" if field else "overrides"


def _key(template: Template, scheduled_ns: int) -> str:
    return f"{template.template_id}:{scheduled_ns}"


def _run(
    scheduled_ns: int,
    time_ns: int,
    outcome: RunOutcome,
    *,
    request_id: str | None = None,
    reason: str | None = None,
    missed: int = 0,
) -> ScheduledRun:
    return ScheduledRun(
        scheduled_ns=scheduled_ns,
        time_ns=time_ns,
        outcome=outcome,
        request_id=request_id,
        reason=reason,
        missed=missed,
    )


def _fields(content: TemplateContent) -> dict[str, Any]:
    return {name: getattr(content, name) for name in TemplateContent.__struct_fields__}
