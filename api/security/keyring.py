"""The keys of this process: read from the database, verified once, remembered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from api.http.access import Caller, Scope
from api.security.keys import matches, parse_key
from decahertz.clock import NS_PER_SECOND
from decahertz.incident import Incident
from decahertz.supervision import supervise
from storage.database import DatabaseError

if TYPE_CHECKING:
    from api.security.keys import KeyText
    from decahertz.clock import Clock
    from storage.write.api_keys import ApiKey, ApiKeyStore

REFRESH_SECONDS = 2.0
"""A key that is created or revoked counts at most this much later."""
_LOOK_UP_NS = NS_PER_SECOND // 2
"""An unknown id is looked up in the database at most this often."""
_USED_NS = 60 * NS_PER_SECOND
"""The last use of a key is stored at most this often."""
_MAX_REFUSED = 1_000
"""Secrets that are remembered to be wrong."""
_MAX_WAITING = 32
"""Verifications that may wait for one another; each takes some 50 ms."""


class BusyError(Exception):
    """Too many keys are being verified."""


class KeysUnreadError(Exception):
    """The keys have not been read from the database yet; the message says why."""


class KeyRing:
    """Verifies keys.

    ::

        header ─► id known? ── no ──► look the table up (at most twice a second) ──► still no: refused
                    │ yes
                    ▼
        digest of the secret remembered? ── yes ──► valid
                    │ no
                    ▼
        scrypt in a thread, one at a time ── matches ──► remember the digest (one per key)

    While the database is away, the keys read last stay valid until they expire. Before the first read no key
    is known, and none can be called wrong.
    """

    def __init__(self, store: ApiKeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys: dict[str, tuple[ApiKey, Caller]] = {}
        self._digests: dict[str, bytes] = {}
        self._refused: dict[bytes, None] = {}
        self._used: dict[str, int] = {}
        self._stored_use: dict[str, int] = {}
        self._looked_up_ns = 0
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._looking_up = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._unread = ""
        """Why the keys have never been read; empty: they have."""
        self._incident = Incident("key_refresh", structlog.get_logger(part="api"))
        self.on_refresh: Callable[[], None] = lambda: None
        """Called after each look at the table: connections of revoked keys end."""

    async def start(self) -> None:
        """Reads the keys and keeps them current; a database that is away is awaited."""
        try:
            await self.refresh()
        except DatabaseError as error:
            self._unread = str(error)
        self._task = supervise(self._run, "api-keys")

    async def stop(self) -> None:
        """Stops; stores the last uses. Safe without ``start``, and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(DatabaseError):
                await self._store_uses(0)

    @property
    def is_read(self) -> bool:
        """Whether the keys have been read."""
        return not self._unread

    def has_valid_keys(self) -> bool:
        """Whether any key can be used now."""
        now_ns = self._clock.time_ns()
        return any(key.is_valid(now_ns) for key, _ in self._keys.values())

    def permits(self, scope: Scope) -> bool:
        """Whether any key that can be used now has this scope."""
        now_ns = self._clock.time_ns()
        return any(
            key.is_valid(now_ns) and not caller.scopes.isdisjoint((scope, Scope.ADMIN))
            for key, caller in self._keys.values()
        )

    def is_valid(self, key_id: str) -> bool:
        """Whether the key is neither revoked nor expired."""
        found = self._keys.get(key_id)
        return found is not None and found[0].is_valid(self._clock.time_ns())

    def remembered(self, text: str) -> Caller | None:
        """The owner of a key that was verified before and is still valid."""
        key = parse_key(text)
        if key is None:
            return None
        digest = self._digests.get(key.id)
        if digest is None or not hmac.compare_digest(digest, _digest(key)):
            return None
        return self._caller(key.id)

    async def verify(self, text: str) -> Caller | None:
        """The owner of a key; ``None`` for a key that is invalid.

        Raises :class:`BusyError`, and :class:`KeysUnreadError`.
        """
        key = parse_key(text)
        if key is None:
            return None
        if not self.is_valid(key.id):
            await self._look_up()
            if not self.is_valid(key.id):
                if self._unread:
                    raise KeysUnreadError(self._unread)
                return None
        if self._waiting >= _MAX_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with self._turn:
                # Meanwhile another request may have verified the same key.
                remembered = self.remembered(text)
                if remembered is not None:
                    return remembered
                stored = self._keys[key.id][0]
                digest = _digest(key)
                if digest in self._refused:
                    return None
                if not await asyncio.to_thread(matches, key.secret, stored.hash):
                    self._refuse(digest)
                    return None
        finally:
            self._waiting -= 1
        self._digests[key.id] = digest
        return self._caller(key.id)

    def used(self, caller: Caller) -> None:
        """Notes that a key is in use by a session."""
        if caller.key_id is not None:
            self._used[caller.key_id] = self._clock.time_ns()

    async def refresh(self) -> None:
        """Reads all keys. Raises :class:`~storage.database.DatabaseError`."""
        keys = await self._store.all()
        self._unread = ""
        self._keys = {key.id: (key, _caller_of(key)) for key in keys}
        self._digests = {id_: digest for id_, digest in self._digests.items() if self.is_valid(id_)}
        self.on_refresh()

    def _refuse(self, digest: bytes) -> None:
        if len(self._refused) >= _MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = None

    def _caller(self, key_id: str) -> Caller | None:
        found = self._keys.get(key_id)
        now_ns = self._clock.time_ns()
        if found is None or not found[0].is_valid(now_ns):
            return None
        self._used[key_id] = now_ns
        return found[1]

    async def _look_up(self) -> None:
        async with self._looking_up:
            now_ns = self._clock.monotonic_ns()
            if self._looked_up_ns and now_ns - self._looked_up_ns < _LOOK_UP_NS:
                return
            self._looked_up_ns = now_ns
            with contextlib.suppress(DatabaseError):
                await self.refresh()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            now_ns = self._clock.monotonic_ns()
            try:
                await self.refresh()
                await self._store_uses(_USED_NS)
            except DatabaseError as error:
                if self._unread:  # the database has not been opened yet, which its opening reports
                    self._unread = str(error)
                    continue
                self._incident.fail(now_ns, error)
            else:
                self._incident.recover()

    async def _store_uses(self, pause_ns: int) -> None:
        due = {
            key_id: used_ns
            for key_id, used_ns in self._used.items()
            if used_ns > self._stored_use.get(key_id, -pause_ns - 1) + pause_ns
        }
        if due:
            await self._store.mark_used(due)
            self._stored_use |= due


def _caller_of(key: ApiKey) -> Caller:
    scopes = frozenset(Scope(scope) for scope in key.scopes if scope in set(Scope))
    return Caller(name=key.name, key_id=key.id, scopes=scopes)


def _digest(key: KeyText) -> bytes:
    return hashlib.sha256(key.reveal().encode()).digest()
