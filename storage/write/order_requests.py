"""Stores order requests and every change of them, each with its entry of the audit log in one statement.

A round trip to the database costs what the event loop is behind by, which may be ten milliseconds: a
submission and a take have one each, and so has a begin or an acknowledgement of a request whose row has the
version that this process knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import Struct

from decahertz.clock import to_datetime
from decahertz.order_requests import (
    AUDITED,
    AnyOrderRequest,
    ChangeType,
    RequestConflictError,
    RequestRecord,
    RequestState,
    TemplateUse,
    change_type,
    lapse,
)
from storage.schema.order_requests import record_of
from storage.write.audit import insert_for_each, values_of

if TYPE_CHECKING:
    import asyncpg

    from decahertz.audit import AuditEntry
    from storage.database import AnyConnection, Database

Audit: TypeAlias = Callable[[RequestRecord | None, RequestRecord, ChangeType], "AuditEntry"]
"""Makes the entry of a change: from the record before, which is ``None`` for a new one, and after."""
Change: TypeAlias = tuple[ChangeType, RequestRecord]

_SELECT: Final = "SELECT *, xmin AS version FROM order_requests WHERE recorder = $1"
_SUBMITTED: Final = (
    *("time", "request_id", "recorder", "created_ns", "updated_ns", "state", "priority", "kind", "strategy"),
    *("venue", "instrument", "account", "body", "submitted_by", "idempotency_key", "body_hash"),
    *("valid_until_ns", "template_id", "template_version", "scheduled_ns"),
)
_INSERT: Final = f"""
WITH submitted AS (
    INSERT INTO order_requests ({", ".join(_SUBMITTED)})
    VALUES ({", ".join(f"${number}" for number in range(1, len(_SUBMITTED) + 1))})
    ON CONFLICT (recorder, submitted_by, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING *
), audited AS ({insert_for_each("submitted", len(_SUBMITTED) + 1)})
SELECT * FROM submitted
"""  # noqa: S608 - names of this module
_REPEATED: Final = f"{_SELECT} AND submitted_by = $2 AND idempotency_key = $3"
_ONE: Final = f"{_SELECT} AND request_id = $2"
_CHANGED: Final = (
    *("updated_ns", "state", "holder", "session", "lease_ns", "lease_until_ns", "token", "attempts"),
    *("begun_ns", "cancel_requested_ns", "reason", "order_id", "valid_until_ns"),
)
_UPDATE: Final = f"""
WITH changed AS (
    UPDATE order_requests
    SET {", ".join(f"{name} = ${number}" for number, name in enumerate(_CHANGED, 3))}
    WHERE request_id = $1 AND xmin = $2
    RETURNING request_id, xmin AS version
), audited AS ({insert_for_each("changed", len(_CHANGED) + 3)})
SELECT version FROM changed
"""  # noqa: S608 - names of this module
_QUEUED: Final = """
recorder = $1 AND state = 'queued' AND (valid_until_ns IS NULL OR valid_until_ns > $2)
    AND ($7::text[] IS NULL OR strategy = ANY($7)) AND NOT strategy = ANY($9::text[])
    AND NOT EXISTS (
        SELECT FROM unnest($10::text[], $11::text[]) AS blocked (name, at_venue)
        WHERE at_venue IN ('', venue) AND (
            name = instrument OR body -> 'legs' @> jsonb_build_array(jsonb_build_object('instrument', name))
        )
    )
"""


def _shown(row: str) -> str:
    return ", ".join(f"'{name}', {row}.{name}" for name in AUDITED)


_OF_EACH: Final = {
    "id": "replace(gen_random_uuid()::text, '-', '')",
    "target": "taken.request_id",
    "before": f"jsonb_build_object({_shown('queued')})",
    "after": f"jsonb_build_object('change', '{ChangeType.TAKEN}', {_shown('taken')})",
}
_POLL: Final = f"""
WITH held AS (
    UPDATE order_requests SET lease_ns = $3, lease_until_ns = $4
    WHERE recorder = $1 AND session = $5 AND state IN ('taken', 'working')
    RETURNING *, xmin AS version
), queued AS (
    SELECT * FROM order_requests WHERE {_QUEUED}
    ORDER BY priority DESC, number
    LIMIT greatest($8 - (SELECT count(*) FROM held), 0) FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE order_requests SET
        state = 'taken', updated_ns = $2, holder = $6, session = $5, token = order_requests.token + 1,
        attempts = order_requests.attempts + 1, lease_ns = $3, lease_until_ns = $4, begun_ns = NULL,
        reason = NULL
    FROM queued WHERE order_requests.request_id = queued.request_id
    RETURNING order_requests.*, order_requests.xmin AS version
), audited AS ({insert_for_each("taken JOIN queued USING (request_id)", 12, _OF_EACH)})
SELECT TRUE AS is_new, * FROM taken UNION ALL SELECT FALSE, * FROM held
ORDER BY priority DESC, number
"""  # noqa: S608 - names of this module
_LAPSED: Final = f"""
{_SELECT} AND (state IN ('taken', 'working') AND lease_until_ns <= $2
    OR state IN ('queued', 'taken') AND valid_until_ns <= $2)
ORDER BY number LIMIT 500 FOR UPDATE SKIP LOCKED
"""
_EXTEND: Final = """
UPDATE order_requests SET lease_until_ns = greatest(lease_until_ns, $2 + lease_ns)
WHERE recorder = $1 AND state IN ('taken', 'working')
"""
_OPEN: Final = """
SELECT count(*) AS requests FROM order_requests
WHERE recorder = $1 AND strategy = $2 AND state IN ('queued', 'taken', 'working', 'unresolved')
    AND NOT EXISTS (
        SELECT FROM orders
        WHERE orders.request_id = order_requests.request_id AND orders.recorder = $1 AND NOT orders.is_final
    )
"""
_COUNTS: Final = """
SELECT state, count(*) AS requests, min(created_ns) AS oldest_ns FROM order_requests
WHERE recorder = $1 AND state IN ('queued', 'taken', 'working', 'unresolved', 'dead') GROUP BY state
"""


_MOST_HELD: Final = 10_000
"""Held requests that are remembered."""


class NewRequest(Struct, frozen=True, kw_only=True):
    """A request that is to be queued."""

    request_id: str
    created_ns: int
    body: AnyOrderRequest
    valid_until_ns: int | None
    submitted_by: str
    idempotency_key: str | None
    body_hash: bytes
    template: TemplateUse | None = None


class KeyReusedError(Exception):
    """Raised for another submission under an idempotency key that was used."""


class Poll(Struct, frozen=True, kw_only=True):
    """A process asks the queue for work."""

    holder: str
    session: str
    capacity: int
    """Requests that it holds at most, with those that it holds already."""
    lease_ns: int
    strategies: Sequence[str] | None = None
    """Only requests of these strategies; ``None``: of all."""


class Blocked(Struct, frozen=True, kw_only=True):
    """Requests that nobody gets."""

    everything: bool = False
    strategies: list[str] = []
    instruments: list[tuple[str, str]] = []
    """Instrument and venue; an empty venue is every venue."""


class Held(Struct, frozen=True, kw_only=True):
    """Requests that a process holds after it has asked."""

    held: list[RequestRecord]
    """Requests that it held before, their leases renewed."""
    taken: list[RequestRecord]
    """Requests that it has got."""


class StateCount(Struct, frozen=True):
    """Requests in one state."""

    requests: int
    oldest_ns: int


class RequestStore:
    """The table ``order_requests``.

    A change and its entry of the audit log are one statement, which counts only if the row has still the
    version that the change was computed from: two changes of a request never meet. Every method can raise
    :class:`~storage.database.DatabaseUnavailableError`; the change was then made or not, and never in part.
    """

    def __init__(self, database: Database, recorder: str) -> None:
        self._database = database
        self._recorder = recorder
        self._held: dict[str, tuple[RequestRecord, int]] = {}
        """Requests that processes hold, and the versions of their rows, as far as they are known."""

    async def submit(self, new: NewRequest, audit: Audit) -> tuple[RequestRecord, bool]:
        """Queue a request; returns it, and whether it is new: otherwise its key was used for the same before.

        Raises :class:`KeyReusedError`.
        """
        body, use = new.body, new.template
        record = _queued(new, self._recorder)
        values = (
            to_datetime(new.created_ns),
            new.request_id,
            self._recorder,
            new.created_ns,
            record.updated_ns,
            record.state,
            body.priority.rank,
            str(body.__struct_config__.tag),
            body.strategy,
            body.venue,
            body.instrument,
            body.account,
            msgspec.json.encode(body).decode(),
            new.submitted_by,
            new.idempotency_key,
            new.body_hash,
            new.valid_until_ns,
            *((None, None, None) if use is None else (use.template_id, use.version, use.scheduled_ns)),
        )
        entry = audit(None, record, ChangeType.SUBMITTED)
        async with self._database.query(reserved=True) as connection:
            row = await connection.fetchrow(_INSERT, *values, *values_of(entry))
            if row is not None:
                return record_of(row), True
            row = await connection.fetchrow(_REPEATED, self._recorder, new.submitted_by, new.idempotency_key)
        assert row is not None  # noqa: S101 - rows are never deleted
        if bytes(row["body_hash"]) != new.body_hash:
            raise KeyReusedError(row["request_id"])
        return record_of(row), False

    async def repeated(self, submitted_by: str, key: str, body_hash: bytes | None) -> RequestRecord | None:
        """The request that was submitted under this key, if any.

        Raises :class:`KeyReusedError` if it is another one than that of ``body_hash``.
        """
        async with self._database.query(reserved=True) as connection:
            row = await connection.fetchrow(_REPEATED, self._recorder, submitted_by, key)
        if row is None:
            return None
        if body_hash is not None and bytes(row["body_hash"]) != body_hash:
            raise KeyReusedError(row["request_id"])
        return record_of(row)

    async def find(self, request_id: str) -> RequestRecord | None:
        """A request of this recorder; ``None``: there is none with this id."""
        async with self._database.query(reserved=True) as connection:
            row = await connection.fetchrow(_ONE, self._recorder, request_id)
        return None if row is None else record_of(row)

    async def change(
        self, request_id: str, compute: Callable[[RequestRecord], RequestRecord], audit: Audit
    ) -> tuple[RequestRecord, ChangeType | None] | None:
        """Stores the next state of a request, as ``compute`` makes it from the present one.

        Returns the record and the kind of its change, ``None`` for none; ``None`` if there is no such
        request. An error of ``compute`` leaves everything as it was.
        """
        async with self._database.query(reserved=True) as connection:
            known = self._held.pop(request_id, None)
            if known is not None:
                before, version = known
                with suppress(RequestConflictError):  # unless the row has changed
                    after = compute(before)
                    if after != before and await self._store(connection, version, before, after, audit):
                        return after, change_type(before, after)
            while True:
                row = await connection.fetchrow(_ONE, self._recorder, request_id)
                if row is None:
                    return None
                before = record_of(row)
                after = compute(before)
                if after == before:
                    return before, None
                if await self._store(connection, row["version"], before, after, audit):
                    return after, change_type(before, after)

    async def _store(
        self,
        connection: AnyConnection,
        version: int,
        before: RequestRecord,
        after: RequestRecord,
        audit: Audit,
    ) -> bool:
        """Stores a change and its entry in one statement; ``False`` if the row has another version by now."""
        values = (getattr(after, name) for name in _CHANGED)
        entry = values_of(audit(before, after, change_type(before, after)))
        stored = await connection.fetchval(_UPDATE, after.request_id, version, *values, *entry)
        if stored is None:
            return False
        self._note(after, stored)
        return True

    def _note(self, record: RequestRecord, version: int) -> None:
        """Remembers a request that a process holds: what it says of it needs no query then."""
        if record.state in (RequestState.TAKEN, RequestState.WORKING):
            if len(self._held) >= _MOST_HELD:
                self._held.clear()
            self._held[record.request_id] = record, version
        else:
            self._held.pop(record.request_id, None)

    async def poll(self, poll: Poll, now_ns: int, blocked: Blocked, entry: AuditEntry) -> Held:
        """Renews the leases of a session, and takes as many requests as its capacity leaves room for.

        One statement does it all, and adds an ``entry`` to the audit log for each request that it takes: as
        :func:`~decahertz.order_requests.take` has it.
        """
        rows = await self._database.fetch(
            _POLL,
            [
                *(self._recorder, now_ns, poll.lease_ns, now_ns + poll.lease_ns, poll.session, poll.holder),
                None if poll.strategies is None else list(poll.strategies),
                0 if blocked.everything else poll.capacity,
                blocked.strategies,
                *([each[at] for each in blocked.instruments] for at in (0, 1)),
                *values_of(entry, computed=_OF_EACH),
            ],
            reserved=True,
        )
        found = Held(held=[], taken=[])
        for row in rows:
            record = record_of(row)
            self._note(record, row["version"])
            (found.taken if row["is_new"] else found.held).append(record)
        return found

    async def lapse(self, now_ns: int, max_attempts: int, audit: Audit) -> list[Change]:
        """Ends the leases and requests whose time has passed; returns the changes."""
        changes: list[Change] = []
        async with self._database.query(reserved=True) as connection, connection.transaction():
            for row in await connection.fetch(_LAPSED, self._recorder, now_ns):
                before = record_of(row)
                after = lapse(before, now_ns, max_attempts)
                if after != before and await self._store(connection, row["version"], before, after, audit):
                    changes.append((change_type(before, after), after))
        return changes

    async def extend(self, now_ns: int) -> None:
        """Gives every holder a whole lease from now on: the queue could not hear it for some time."""
        async with self._database.query(reserved=True) as connection:
            await connection.execute(_EXTEND, self._recorder, now_ns)

    async def open_requests(self, strategy: str) -> int:
        """Requests of a strategy that are not over, unresolved ones included, and have no open order."""
        (row,) = await self._database.fetch(_OPEN, [self._recorder, strategy], reserved=True)
        return int(row["requests"])

    async def counts(self) -> Mapping[RequestState, StateCount]:
        """The requests that somebody has to deal with, by state."""
        rows: Iterable[asyncpg.Record] = await self._database.fetch(_COUNTS, [self._recorder], reserved=True)
        return {RequestState(row["state"]): StateCount(row["requests"], row["oldest_ns"]) for row in rows}


def _queued(new: NewRequest, recorder: str) -> RequestRecord:
    """A request as it is after its submission."""
    use = new.template
    return RequestRecord(
        request_id=new.request_id,
        recorder=recorder,
        created_ns=new.created_ns,
        updated_ns=new.created_ns,
        state=RequestState.QUEUED,
        body=new.body,
        submitted_by=new.submitted_by,
        valid_until_ns=new.valid_until_ns,
        holder=None,
        lease_until_ns=None,
        attempts=0,
        begun_ns=None,
        cancel_requested_ns=None,
        reason=None,
        order_id=None,
        template_id=None if use is None else use.template_id,
        template_version=None if use is None else use.version,
        scheduled_ns=None if use is None else use.scheduled_ns,
        token=0,
        session=None,
        lease_ns=0,
    )
