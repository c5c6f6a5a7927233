"""Halts: in force in memory at once, stored, and ended by a person only."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec
import structlog

from collectors.risk.sample import DESK
from control.actor import RECORDER, Actor
from decahertz.alert import TOPIC as ALERTS
from decahertz.alert import Alert
from decahertz.audit import AuditEntry
from decahertz.halts import (
    TOPIC,
    Halt,
    HaltChange,
    HaltChangeType,
    HaltOrigin,
    HaltScope,
    covering,
)
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.supervision import end, supervise
from decahertz.trading_state import Objection
from storage.database import DatabaseClosedError, DatabaseError
from storage.write.order_requests import Blocked

if TYPE_CHECKING:
    from control.settings import ControlSettings
    from decahertz.bus import Bus, Message, Subscription
    from decahertz.clock import Clock
    from storage.write.halts import HaltStore

_RETRY_SECONDS: Final = 0.5
UNREAD: Final = "halts have not been read from the database yet"


class UnknownHaltError(LookupError):
    """Raised for an id that no lasting halt of this recorder has."""


class Halts:
    """The halts of one recorder. Call ``start`` once; ``stop`` is safe without it, and twice.

    A halt counts from the moment it is made, whether the database is there or not; one that could not be
    stored is stored later. Before the halts of the previous run are read, everything counts as halted.
    """

    def __init__(
        self, store: HaltStore, bus: Bus, clock: Clock, settings: ControlSettings, *, recorder: str
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._on_alerts = frozenset(settings.halt_on_alerts)
        self._recorder = recorder
        self._active: dict[str, Halt] = {}
        self._unstored: dict[str, AuditEntry] = {}
        self._is_read = False
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None
        self._log = structlog.get_logger(part="control")
        self._incident = Incident("halts", self._log)
        self.on_changed: Callable[[], None] = lambda: None
        """Called after each halt and resume."""
        self.may_halt: Callable[[], bool] = lambda: True
        """Whether limits and alerts may halt: only where somebody can resume."""

    async def start(self) -> None:
        """Reads the halts that last."""
        self._subscription = self._bus.subscribe(ALERTS, self._alerted)
        try:
            await self._read()
        except (DatabaseError, asyncpg.PostgresError):  # it is read later, and everything counts as halted
            self._has_work.set()
        self._task = supervise(self._run, "halts")

    async def stop(self) -> None:
        """Stops."""
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        task, self._task = self._task, None
        await end(task)

    def status(self) -> ComponentStatus:
        """Degraded while a halt is not stored."""
        unstored = len(self._unstored)
        detail = f"{unstored} halts are not stored yet" if unstored else ""
        return ComponentStatus(name="halts", health=Health.DEGRADED if unstored else Health.OK, detail=detail)

    @property
    def active(self) -> list[Halt]:
        """The halts that last, oldest first."""
        return list(self._active.values())

    @property
    def is_read(self) -> bool:
        """Whether the halts of the previous run are known."""
        return self._is_read

    def blocked(self) -> Blocked:
        """The requests that no process gets."""
        halts = self._active.values()
        return Blocked(
            everything=not self._is_read or any(halt.scope is HaltScope.DESK for halt in halts),
            strategies=[halt.strategy for halt in halts if halt.strategy is not None],
            instruments=[
                (halt.instrument, halt.venue or "") for halt in halts if halt.instrument is not None
            ],
        )

    def objections(self) -> list[Objection]:
        """Everything that the halts say against trading."""
        unread = [] if self._is_read else [Objection(reason=UNREAD)]
        return unread + [
            Objection(reason=str(halt), strategy=halt.strategy, venue=halt.venue, instrument=halt.instrument)
            for halt in self._active.values()
        ]

    def refusal(self, strategy: str, venue: str, instruments: Iterable[str]) -> str:
        """Why an order must not be sent now; empty: no halt speaks against it."""
        if not self._is_read:
            return UNREAD
        for instrument in instruments:
            halt = covering(self._active.values(), strategy, venue, instrument)
            if halt is not None:
                return str(halt)
        return ""

    async def halt(self, made: Halt, actor: Actor) -> tuple[Halt, bool]:
        """Halts, at once; returns the halt and whether it is new.

        Raises :class:`~storage.database.DatabaseUnavailableError` if it is not stored: it counts, and is
        stored when the database is there.
        """
        found = self._same(made)
        if found is None:
            self._begin(made, self._entry("halt", actor, None, made))
            found = made
        entry = self._unstored.get(found.halt_id)
        if entry is not None:
            try:
                await self._store.add(found, lambda _: entry)
                self._unstored.pop(found.halt_id, None)
            finally:
                if found.halt_id in self._unstored:  # also if the caller does not wait for it
                    self._has_work.set()
        return found, found is made

    def trip(self, origin: HaltOrigin, scope: HaltScope, reason: str, strategy: str | None = None) -> None:
        """Halts because a limit is exceeded or an alert fires."""
        made = self.new(scope, origin, RECORDER.name, reason, strategy=strategy)
        if self.may_halt() and self._same(made) is None:
            self._begin(made, self._entry("halt", RECORDER, None, made))
            self._has_work.set()

    def exceeded(self, strategy: str, reason: str) -> None:
        """Halts a strategy, or the desk, because a hard limit is exceeded."""
        if strategy == DESK:
            self.trip(HaltOrigin.LIMIT, HaltScope.DESK, reason)
        else:
            self.trip(HaltOrigin.LIMIT, HaltScope.STRATEGY, reason, strategy)

    def new(
        self,
        scope: HaltScope,
        origin: HaltOrigin,
        actor: str,
        reason: str,
        *,
        strategy: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
    ) -> Halt:
        """Makes a halt that begins now."""
        return Halt(
            halt_id=f"h-{uuid.uuid4().hex}",
            recorder=self._recorder,
            scope=scope,
            strategy=strategy,
            venue=venue,
            instrument=instrument,
            origin=origin,
            actor=actor,
            reason=reason,
            since_ns=self._clock.time_ns(),
        )

    async def resume(self, halt_id: str, reason: str, actor: Actor) -> Halt:
        """Ends a halt, once that is stored. Raises :class:`UnknownHaltError`, and if it is not stored."""
        halt = self._active.get(halt_id)
        if halt is None:
            raise UnknownHaltError(halt_id)
        entry = self._unstored.get(halt_id)
        if entry is not None:
            await self._store.add(halt, lambda _: entry)
            self._unstored.pop(halt_id, None)
        ended = await self._store.resume(
            halt,
            self._clock.time_ns(),
            actor.name,
            reason,
            lambda after: self._entry("resume", actor, halt, after),
        )
        self._active.pop(halt_id, None)
        if ended is None:
            raise UnknownHaltError(halt_id)
        self._changed(HaltChangeType.RESUMED, ended, ended.resumed_ns or 0)
        self._log.warning("trading_resumed", halt=halt_id, scope=halt.scope.value, reason=reason)
        return ended

    def _same(self, made: Halt) -> Halt | None:
        return next((halt for halt in self._active.values() if halt.place == made.place), None)

    def _begin(self, made: Halt, entry: AuditEntry) -> None:
        self._active[made.halt_id] = made
        self._unstored[made.halt_id] = entry
        self._log.warning("trading_halted", halt=made.halt_id, scope=made.scope.value, reason=made.reason)
        self._changed(HaltChangeType.HALTED, made, made.since_ns)

    def _changed(self, kind: HaltChangeType, halt: Halt, time_ns: int) -> None:
        self._bus.publish(TOPIC, HaltChange(type=kind, time_ns=time_ns, halt=halt))
        self.on_changed()

    def _entry(self, action: str, actor: Actor, before: Halt | None, after: Halt) -> AuditEntry:
        return AuditEntry(
            time_ns=self._clock.time_ns(),
            recorder=self._recorder,
            actor=actor.name,
            key_id=actor.key_id,
            address=actor.address or None,
            action=f"trading.{action}",
            target=after.halt_id,
            before=None if before is None else msgspec.to_builtins(before),
            after=msgspec.to_builtins(after),
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )

    def _alerted(self, message: Message) -> None:
        if isinstance(message, Alert) and message.is_firing and message.name in self._on_alerts:
            reason = f"the alert {message.name} fires: {message.summary}"[:1024]
            self.trip(HaltOrigin.ALERT, HaltScope.DESK, reason)

    async def _read(self) -> None:
        for halt in await self._store.active():
            self._active.setdefault(halt.halt_id, halt)
        self._is_read = True
        self.on_changed()

    async def _run(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            try:
                await self._catch_up()
            except DatabaseClosedError:  # its opening reports why
                self._has_work.set()
                await asyncio.sleep(_RETRY_SECONDS)
            except (DatabaseError, asyncpg.PostgresError) as error:
                self._incident.fail(self._clock.monotonic_ns(), error)
                self._has_work.set()
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._incident.recover()

    async def _catch_up(self) -> None:
        if not self._is_read:
            await self._read()
        for halt_id, entry in list(self._unstored.items()):
            halt = self._active.get(halt_id)
            if halt is not None:
                await self._store.add(halt, partial(_given, entry))
            self._unstored.pop(halt_id, None)


def _given(entry: AuditEntry, _halt: Halt) -> AuditEntry:
    return entry
