"""The audit log of the API: who called a route that changes something, and with what result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from api.http.access import client_address
from api.http.problems import ProblemError, http_problem
from api.http.rate_limit import RateLimiter
from decahertz.audit import DONE, TOPIC, AuditEntry
from decahertz.clock import NS_PER_SECOND
from decahertz.incident import Incident
from decahertz.supervision import end, supervise
from storage.database import DatabaseClosedError, DatabaseError, within
from storage.query.audit import entries_since
from storage.write.audit import AuditStore

if TYPE_CHECKING:
    from api.http.access import Caller
    from api.http.middleware import ErrorMapping, Handler
    from decahertz.bus import Bus
    from decahertz.clock import Clock
    from storage.database import Database

_UNRECORDED: Final = ("unauthorized", "rate-limited")
"""Problems of senders that are not known, or of too many requests: they are counted, not recorded."""
_REFUSALS_PER_SECOND: Final = 10.0
"""Refused calls that are recorded of each actor; others are counted."""
_STORE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 2.0
_OVERLAP_NS: Final = 60 * NS_PER_SECOND
"""How late an entry may become visible: a transaction takes its time, and the clocks of machines differ."""


class Auditor:
    """Makes entries of the audit log, records refused calls, and publishes new entries on the bus.

    A change and its entry are one transaction, made by the store of what is changed: while the database is
    away neither happens, and the caller gets 503. New entries, also those of the command line and of other
    recorders, are read from the table every two seconds, and at once after a change of this process.
    """

    def __init__(
        self, database: Database, bus: Bus, clock: Clock, registry: CollectorRegistry, *, recorder: str
    ) -> None:
        self._database = database
        self._store = AuditStore(database)
        self._bus = bus
        self._clock = clock
        self._recorder = recorder
        self._limiter = RateLimiter("audit", clock, _REFUSALS_PER_SECOND)
        self._unrecorded = Counter(
            "decahertz_api_audit_unrecorded",
            "Refused calls that the audit log lacks: too many of one actor, or the database was away.",
            ("reason",),
            registry=registry,
        )
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[str, int] = {}
        self._log = structlog.get_logger(part="audit")
        self._incident = Incident("audit_feed", self._log)

    async def start(self) -> None:
        """Begins to publish the entries that are made from now on."""
        self._task = supervise(partial(self._run, self._clock.time_ns()), "audit")

    async def stop(self) -> None:
        """Stops; safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        await end(task)

    def entry(
        self,
        action: str,
        target: str,
        *,
        caller: Caller,
        address: str,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        result: str = DONE,
    ) -> AuditEntry:
        """Makes an entry of the request in progress."""
        return AuditEntry(
            time_ns=self._clock.time_ns(),
            recorder=self._recorder,
            actor=caller.name,
            key_id=caller.key_id,
            address=address or None,
            action=action,
            target=target,
            result=result,
            before=before,
            after=after,
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )

    def stored(self) -> None:
        """Says that an entry was stored: it is published at once."""
        self._changed.set()

    async def refuse(self, entry: AuditEntry) -> None:
        """Records a refused call, if it can: nothing was changed by it."""
        if not self._limiter.take(entry.key_id or entry.actor).is_admitted:
            self._unrecorded.labels("too_many").inc()
            return
        try:
            await within(_STORE_SECONDS, self._store.add(entry))
        except DatabaseError:
            self._unrecorded.labels("database").inc()
            self._log.warning(
                "refusal_not_recorded", action=entry.action, target=entry.target, actor=entry.actor
            )
        else:
            self.stored()

    async def _run(self, since_ns: int) -> None:
        while True:
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                since_ns = await self._publish(since_ns)
            except DatabaseClosedError:  # its opening reports why
                continue
            except DatabaseError as error:
                self._incident.fail(self._clock.monotonic_ns(), error)
                continue
            self._incident.recover()

    async def _publish(self, since_ns: int) -> int:
        """Publishes the new entries; returns the time from which the next ones are looked for."""
        while found := await entries_since(self._database, since_ns, self._seen):
            for entry in found:
                self._seen[entry.id] = entry.time_ns
                self._bus.publish(TOPIC, entry)
            since_ns = max(since_ns, found[-1].time_ns - _OVERLAP_NS)
        self._seen = {id_: time_ns for id_, time_ns in self._seen.items() if time_ns >= since_ns}
        return since_ns


def audited(
    action: str,
    handler: Handler,
    auditor: Auditor,
    caller_of: Callable[[web.Request], Caller | None],
    domain_problem: ErrorMapping,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Wraps the endpoint of a route that changes something: records the calls that it refuses."""

    async def audited_handler(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            problem = http_problem(error) or domain_problem(error) or ProblemError("internal-error", "")
            caller = caller_of(request)
            if caller is not None and problem.kind not in _UNRECORDED:
                target = "/".join(request.match_info.values()).replace("\0", "\ufffd")[:256]
                await auditor.refuse(
                    auditor.entry(
                        action,
                        target,
                        caller=caller,
                        address=client_address(request),
                        after=_violated(problem),
                        result=problem.kind,
                    )
                )
            raise

    return audited_handler


def _violated(problem: ProblemError) -> dict[str, Any] | None:
    """The rules that a refused request violated, and the fields that were wrong.

    Without their values, which may be secrets in the wrong place.
    """
    rules = {error.rule: error.reason for error in problem.errors if error.rule is not None}
    fields = [error.field for error in problem.errors if error.rule is None and error.field is not None]
    return {name: found for name, found in (("rules", rules), ("fields", fields)) if found} or None
