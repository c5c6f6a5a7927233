"""The queue of order requests: from submission to the trading process, and back.

The table is the queue: every change is committed before anybody is told of it. This module adds what a table
cannot do: it wakes the processes that wait for work, ends leases, and publishes changes on the bus.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from control.actor import RECORDER, Actor
from control.checks import (
    HALTED,
    RULES,
    RequestViolationError,
    Violation,
    inapplicable_rules,
    instruments_of,
)
from control.validation import InvalidRequestError, validated
from decahertz import order_requests as life
from decahertz.audit import AuditEntry
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Identifier
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.order_requests import (
    TOPIC,
    AnyOrderRequest,
    ChangeType,
    NackOutcome,
    RequestConflictError,
    RequestRecord,
    Resolution,
    TemplateUse,
    change_of,
)
from decahertz.supervision import end, supervise
from storage.database import DatabaseClosedError, DatabaseError, DatabaseUnavailableError
from storage.write.order_requests import Blocked, Held, NewRequest, Poll

if TYPE_CHECKING:
    from control.checks import PreTradeChecks
    from control.halts import Halts
    from control.settings import ControlSettings
    from decahertz.bus import Bus
    from decahertz.clock import Clock
    from storage.write.order_requests import Audit, RequestStore, StateCount

ResultT = TypeVar("ResultT")

TABLE: Final = "order_requests"
_TICK_SECONDS: Final = 0.5
"""How late a lease or a valid-until may end."""


class UnknownRequestError(LookupError):
    """Raised for an id that no request of this recorder has."""


class News(Struct, frozen=True, kw_only=True):
    """The answer to a process that has asked for work."""

    taken: list[RequestRecord]
    """Requests that it has to deal with: new ones, and those of an answer that it did not get."""
    held: list[RequestRecord]
    """All requests that it holds, those in ``taken`` included."""
    lost: list[str]
    """Requests that it names and does not hold any more, or not under the token that it knows."""


class CheckOutcome(StrEnum):
    """Verdicts of a check on a request."""

    PASSED = "passed"
    VIOLATED = "violated"
    OFF = "off"
    """The settings do not ask for it."""
    NOT_APPLICABLE = "not_applicable"
    """The rule says nothing about such a request: a collar about one without a limit price, for example."""
    NOT_REACHED = "not_reached"
    """A halt speaks against the request already."""


class CheckResult(Struct, frozen=True, kw_only=True):
    """Verdict of one check on a request."""

    rule: str
    """`halted`, `feed-not-live`, …"""
    outcome: CheckOutcome
    reason: str | None
    """Why it is violated."""


class DryRun(Struct, frozen=True, kw_only=True):
    """Outcome of a submission that was not made: nothing was queued."""

    order: AnyOrderRequest
    """The request as the trading process would get it."""
    valid_until_ns: int | None
    passes: bool
    """Whether no check speaks against it."""
    checks: list[CheckResult]


class KnownRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that a process knows that it holds."""

    request_id: Identifier
    token: int
    cancel_requested: bool = False
    """Whether it knows that it is asked to cancel the order."""


class RequestQueue:
    """The queue of one recorder. Call ``start`` once; ``stop`` is safe without it, and twice.

    Methods raise :class:`~storage.database.DatabaseUnavailableError` while the database is away,
    :class:`~decahertz.order_requests.RequestConflictError` for a change that the state of the request does
    not permit, and :class:`UnknownRequestError`.
    """

    def __init__(
        self,
        store: RequestStore,
        bus: Bus,
        clock: Clock,
        settings: ControlSettings,
        *,
        recorder: str,
        checks: PreTradeChecks | None = None,
        halts: Halts | None = None,
    ) -> None:
        """``checks`` judge each request before it is queued; halted ones are neither queued nor taken."""
        self._checks = checks
        self._halts = halts
        if halts is not None:
            halts.on_changed = self._wake
        self._store = store
        self._bus = bus
        self._clock = clock
        self._max_attempts = settings.max_attempts
        self.recorder = recorder
        """Name of the recorder that keeps the requests."""
        self._waiting: dict[str, asyncio.Event] = {}
        """By session: set when there may be news for it, and when another poll of it takes over."""
        self._submissions: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By strategy, where open requests are limited: the check of the next one counts this one."""
        self._full: set[str] = set()
        """Sessions that wait without room for another request, and those that are being looked at."""
        self._is_open = True
        """Whether any request may have a time that can end."""
        self._is_stopped = False
        self._was_away = True
        self._task: asyncio.Task[None] | None = None
        self._incident = Incident("order_queue", structlog.get_logger(part="control"))
        self.counts: Mapping[life.RequestState, StateCount] = {}
        """Requests that somebody has to deal with, half a second old at most while the database is there."""
        self.changes = Counter[ChangeType]()
        """Changes since the start."""
        self.refusals = Counter[str]()
        """Violations of submitted requests since the start, by rule."""
        self.on_changed: Callable[[tuple[str, ...]], None] = lambda _tables: None
        """Called with the tables in which rows were changed."""

    async def start(self) -> None:
        """Begins to end leases; a holder has its whole lease from now on."""
        self._task = supervise(self._run, "order-queue")

    async def stop(self) -> None:
        """Stops; processes that wait for work get an empty answer."""
        self._is_stopped = True
        self._wake()
        task, self._task = self._task, None
        await end(task)

    def status(self) -> ComponentStatus:
        """Degraded while leases cannot be ended."""
        problem = self._incident.problem if self._incident.active else ""
        return ComponentStatus(
            name="order-queue", health=Health.DEGRADED if problem else Health.OK, detail=problem
        )

    async def submit(
        self,
        body: AnyOrderRequest,
        actor: Actor,
        idempotency_key: str | None,
        *,
        template: TemplateUse | None = None,
        identity: object = None,
    ) -> tuple[RequestRecord, bool]:
        """Queue a request, durably; returns it and whether it is new.

        ``template`` is what it was made from; ``identity`` is what another submission under the same key has
        to have in common with it, by default the whole body.

        Raises :class:`~control.validation.InvalidRequestError`,
        :class:`~control.checks.RequestViolationError` and
        :class:`~storage.write.order_requests.KeyReusedError`.
        """
        given = body if identity is None else identity
        hashed = hashlib.sha256(msgspec.json.encode(given, order="deterministic")).digest()
        async with self._turn(body.strategy):
            now_ns = self._clock.time_ns()
            try:
                valid_until_ns = validated(body, now_ns)
                await self._check(body)
            except (InvalidRequestError, RequestViolationError) as error:
                if idempotency_key is not None:  # its first submission was in order, and is answered as then
                    known = await self._stored(self._store.repeated(actor.name, idempotency_key, hashed))
                    if known is not None:
                        return known, False
                if isinstance(error, RequestViolationError):
                    self.refusals.update(rule for rule, _ in error.violations)
                raise
            new = NewRequest(
                request_id=f"r-{uuid.uuid4().hex}",
                created_ns=now_ns,
                body=body,
                valid_until_ns=valid_until_ns,
                submitted_by=actor.name,
                idempotency_key=idempotency_key,
                body_hash=hashed,
                template=template,
            )
            record, is_new = await self._stored(self._store.submit(new, self._audit("order.submit", actor)))
        if is_new:
            self._changed(ChangeType.SUBMITTED, record, actor)
        return record, is_new

    def _turn(self, strategy: str) -> AbstractAsyncContextManager[object]:
        """Lets one submission of a strategy after the other pass, where its open requests are limited."""
        if self._checks is None or not self._checks.counts_requests:
            return nullcontext()
        return self._submissions.setdefault(strategy, asyncio.Lock())

    async def repeated(self, submitted_by: str, idempotency_key: str) -> RequestRecord | None:
        """The request that was submitted under a key, if any."""
        return await self._stored(self._store.repeated(submitted_by, idempotency_key, None))

    async def dry_run(self, body: AnyOrderRequest) -> DryRun:
        """Tells the outcome of :meth:`submit` and queue nothing.

        Raises :class:`~control.validation.InvalidRequestError`.
        """
        valid_until_ns = validated(body, self._clock.time_ns())
        violations = dict(await self._violations(body))
        asked = {HALTED} if self._checks is None else {HALTED, *self._checks.rules}
        inapplicable = asked & inapplicable_rules(body)
        return DryRun(
            order=body,
            valid_until_ns=valid_until_ns,
            passes=not violations,
            checks=[
                CheckResult(
                    rule=rule,
                    outcome=_outcome(rule, violations, asked, inapplicable),
                    reason=violations.get(rule),
                )
                for rule in RULES
            ],
        )

    async def _check(self, body: AnyOrderRequest) -> None:
        violations = await self._violations(body)
        if violations:
            raise RequestViolationError(violations)

    async def _violations(self, body: AnyOrderRequest) -> list[Violation]:
        """Every rule that a request violates; the checks of a halted one are left out."""
        refusal = self._halted(body)
        if refusal:
            return [Violation(HALTED, refusal)]
        checks = self._checks
        if checks is None:
            return []
        open_requests = 0
        if checks.counts_requests:
            open_requests = await self._stored(self._store.open_requests(body.strategy))
        return checks.violations(body, open_requests)

    def _halted(self, body: AnyOrderRequest) -> str:
        if self._halts is None:
            return ""
        return self._halts.refusal(body.strategy, body.venue, instruments_of(body))

    async def cancel(self, request_id: str, reason: str, actor: Actor) -> RequestRecord:
        """Cancels a request, or asks its holder to cancel the order."""
        now_ns = self._clock.time_ns()
        return await self._change(
            request_id, "order.cancel", actor, lambda record: life.cancel(record, reason, now_ns)
        )

    async def begin(self, request_id: str, token: int, actor: Actor) -> RequestRecord:
        """Notes, durably, that the holder may send the order from now on.

        While a halt speaks against it, the request returns to the queue.
        """
        now_ns = self._clock.time_ns()
        refusal = ""

        def begun(record: RequestRecord) -> RequestRecord:
            nonlocal refusal
            refusal = self._halted(record.body) if record.state is life.RequestState.TAKEN else ""
            if refusal:
                return life.release(record, token, refusal, now_ns)
            return life.begin(record, token, now_ns)

        record = await self._change(request_id, "order.begin", actor, begun, by_holder=True)
        if refusal:
            raise RequestConflictError(refusal)
        return record

    async def ack(self, request_id: str, token: int, order_id: str | None, actor: Actor) -> RequestRecord:
        """Notes that the holder has dealt with it."""
        now_ns = self._clock.time_ns()
        return await self._change(
            request_id,
            "order.ack",
            actor,
            lambda record: life.ack(record, token, order_id, now_ns),
            by_holder=True,
        )

    async def nack(
        self, request_id: str, token: int, outcome: NackOutcome, reason: str, actor: Actor
    ) -> RequestRecord:
        """Notes that the holder has given it back."""
        now_ns, most = self._clock.time_ns(), self._max_attempts
        return await self._change(
            request_id,
            "order.nack",
            actor,
            lambda record: life.nack(record, token, outcome, reason, now_ns, most),
            by_holder=True,
        )

    async def resolve(
        self, request_id: str, resolution: Resolution, reason: str, actor: Actor
    ) -> RequestRecord:
        """Notes what a person says about an unresolved request."""
        now_ns = self._clock.time_ns()
        return await self._change(
            request_id,
            "order.resolve",
            actor,
            lambda record: life.resolve(record, resolution, reason, now_ns),
        )

    async def find(self, request_id: str) -> RequestRecord:
        """A request in its present state."""
        record = await self._stored(self._store.find(request_id))
        if record is None:
            raise UnknownRequestError(request_id)
        return record

    async def poll(
        self,
        poll: Poll,
        known: Sequence[KnownRequest],
        wait_seconds: float,
        actor: Actor,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> News:
        """Renews the leases of a session and takes requests, waiting for some up to a third of a lease.

        ``known`` are the requests that the process knows that it holds. Another poll of the same session ends
        this one with an empty answer. One whose process ``is_gone`` takes nothing.
        """
        wait_ns = min(round(wait_seconds * NS_PER_SECOND), poll.lease_ns // 3)
        deadline_ns = self._clock.monotonic_ns() + wait_ns
        event = asyncio.Event()
        earlier, self._waiting[poll.session] = self._waiting.get(poll.session), event
        if earlier is not None:
            earlier.set()
        try:
            while True:
                self._full.add(poll.session)  # what is told meanwhile may make room
                news, taken = await self._look(poll, known, actor)
                if len(news.held) < poll.capacity and self._waiting.get(poll.session) is event:
                    self._full.discard(poll.session)
                later = self._waiting.get(poll.session)
                if later is not None and later is not event:
                    later.set()  # what this one has taken is sent by that one
                    return news
                if is_gone():
                    await self._requeue(taken)
                    return news
                left = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_SECOND
                if news.taken or news.lost or _has_new_cancel(news, known) or left <= 0 or self._is_stopped:
                    return news
                try:
                    async with asyncio.timeout(left):
                        await event.wait()
                except TimeoutError:
                    return news
                if self._waiting.get(poll.session) is not event or is_gone():
                    return news  # it takes nothing more: its answer may reach nobody
                event.clear()
        finally:
            if self._waiting.get(poll.session) is event:
                del self._waiting[poll.session]
                self._full.discard(poll.session)

    async def _requeue(self, taken: Sequence[RequestRecord]) -> None:
        """Returns to the queue what nobody has heard of."""
        now_ns, reason = self._clock.time_ns(), "its process was gone before it heard of it"
        for record in taken:
            await self._change(
                record.request_id,
                "order.take",
                RECORDER,
                partial(life.release, token=record.token, reason=reason, now_ns=now_ns),
            )

    async def _look(
        self, poll: Poll, known: Sequence[KnownRequest], actor: Actor
    ) -> tuple[News, list[RequestRecord]]:
        """The answer to a poll, and the requests that were taken for it."""
        now_ns = self._clock.time_ns()
        blocked = Blocked() if self._halts is None else self._halts.blocked()
        found: Held = await self._stored(
            self._store.poll(poll, now_ns, blocked, self._blank_entry("order.take", actor, now_ns))
        )
        for record in found.taken:
            self._changed(ChangeType.TAKEN, record, actor, wakes=False)
        held = [*found.held, *found.taken]
        leases = {(record.request_id, record.token) for record in held}
        known_leases = {(one.request_id, one.token) for one in known}
        news = News(
            taken=[record for record in held if (record.request_id, record.token) not in known_leases],
            held=held,
            lost=[one.request_id for one in known if (one.request_id, one.token) not in leases],
        )
        return news, found.taken

    async def _change(
        self,
        request_id: str,
        action: str,
        actor: Actor,
        compute: Callable[[RequestRecord], RequestRecord],
        *,
        by_holder: bool = False,
    ) -> RequestRecord:
        changed = await self._stored(self._store.change(request_id, compute, self._audit(action, actor)))
        if changed is None:
            raise UnknownRequestError(request_id)
        record, kind = changed
        if kind is not None:
            # What the holder says is not news for it, unless it had no room for more.
            is_news = not by_holder or kind is ChangeType.REQUEUED
            self._changed(kind, record, actor, wakes=is_news or bool(self._full))
        return record

    async def _stored(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        try:
            return await work
        except DatabaseUnavailableError:
            self._was_away = True
            raise

    def _audit(self, action: str, actor: Actor) -> Audit:
        return partial(self._entry, action, actor)

    def _entry(
        self, action: str, actor: Actor, before: RequestRecord | None, after: RequestRecord, kind: ChangeType
    ) -> AuditEntry:
        return replace(
            self._blank_entry(action, actor, after.updated_ns),
            target=after.request_id,
            before=None if before is None else _shown(before),
            after={"change": kind.value, **_shown(after)}
            | ({} if before is not None or after.template_id is None else _template(after))
            | ({"body": msgspec.to_builtins(after.body)} if before is None else {}),
        )

    def _blank_entry(self, action: str, actor: Actor, time_ns: int) -> AuditEntry:
        """An entry that lacks its target and what has changed."""
        return AuditEntry(
            time_ns=time_ns,
            recorder=self.recorder,
            actor=actor.name,
            key_id=actor.key_id,
            address=actor.address or None,
            action=action,
            target="",
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )

    def _changed(self, kind: ChangeType, record: RequestRecord, actor: Actor, *, wakes: bool = True) -> None:
        self._is_open = True
        self.changes[kind] += 1
        self._bus.publish(TOPIC, change_of(record, kind, actor.name))
        self.on_changed((TABLE,))
        if wakes:
            self._wake()

    def _wake(self) -> None:
        for event in self._waiting.values():
            event.set()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if not (self._is_open or self._was_away):
                continue
            try:
                await self._tick()
            except DatabaseClosedError:  # its opening reports why
                self._was_away = True
            except DatabaseError as error:
                self._was_away = True
                self._incident.fail(self._clock.monotonic_ns(), error)
            else:
                self._incident.recover()

    async def _tick(self) -> None:
        now_ns = self._clock.time_ns()
        if self._was_away:
            # No holder could renew its lease meanwhile.
            await self._store.extend(now_ns)
            self._was_away = False
            self._wake()
        self._is_open = False
        try:
            changes = await self._store.lapse(
                now_ns, self._max_attempts, self._audit("order.lapse", RECORDER)
            )
            for kind, record in changes:
                self._changed(kind, record, RECORDER)
            self.counts = counts = await self._store.counts()
        except BaseException:
            self._is_open = True
            raise
        self._is_open = self._is_open or any(
            state in counts
            for state in (life.RequestState.QUEUED, life.RequestState.TAKEN, life.RequestState.WORKING)
        )


def _outcome(
    rule: str, violations: Collection[str], asked: Collection[str], inapplicable: Collection[str]
) -> CheckOutcome:
    if rule in violations:
        return CheckOutcome.VIOLATED
    if rule not in asked:
        return CheckOutcome.OFF
    if rule in inapplicable:
        return CheckOutcome.NOT_APPLICABLE
    return CheckOutcome.NOT_REACHED if HALTED in violations else CheckOutcome.PASSED


def _has_new_cancel(news: News, known: Sequence[KnownRequest]) -> bool:
    unaware = {one.request_id for one in known if not one.cancel_requested}
    return any(
        record.cancel_requested_ns is not None and record.request_id in unaware for record in news.held
    )


def _template(record: RequestRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in ("template_id", "template_version", "scheduled_ns")}


def _shown(record: RequestRecord) -> dict[str, object]:
    """The part of a record that the audit log has."""
    return {name: getattr(record, name) for name in life.AUDITED}
