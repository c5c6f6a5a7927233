"""Sessions of browsers: a cookie in place of the key, which no script reads and no other page sends."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from api.http.access import Caller
from api.http.guard import is_own_origin
from api.http.problems import ProblemError
from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from api.security.keyring import KeyRing
    from decahertz.clock import Clock

MAX_SESSIONS: Final = 1_000
"""The session that began first ends when there are more."""
_COOKIE: Final = "decahertz"
_SECRET_BYTES: Final = 32
_SAFE_METHODS: Final = ("GET", "HEAD")


class Session(Struct, frozen=True):
    """A browser that has signed in."""

    caller: Caller
    expires_ns: int


class Sessions:
    """Sessions of this process; a restart ends them.

    ::

        key ──► begin: random id, of which the digest is kept ──► cookie (HttpOnly, SameSite=Strict)
        cookie ──► caller, until: end │ the lifetime is over │ the key is revoked or expires
    """

    def __init__(self, keys: KeyRing, clock: Clock, *, hours: float, secure: bool) -> None:
        """``secure``: browsers send the cookie over TLS only."""
        self._keys = keys
        self._clock = clock
        self._lifetime_seconds = round(hours * 3600)
        self._secure = secure
        self._sessions: dict[bytes, Session] = {}
        self._by_number: dict[int | None, Session] = {}
        self._numbers = itertools.count(1)
        self.on_end: Callable[[], None] = lambda: None
        """Called after a session was ended by its browser: its connections end too."""
        self.on_change: Callable[[bytes, Session | None], None] = lambda _digest, _session: None
        """Called with a session that begins or, with ``None``, ends: API processes have copies."""

    def begin(self, caller: Caller, headers: Mapping[str, str]) -> tuple[Session, str]:
        """Begins a session for the owner of a key; returns it and the value of ``Set-Cookie``."""
        now_ns = self._clock.time_ns()
        for digest, one in list(self._sessions.items()):
            if not self._is_valid(one, now_ns) or len(self._sessions) >= MAX_SESSIONS:
                self._remove(digest)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        session = Session(
            msgspec.structs.replace(caller, session=next(self._numbers)),
            now_ns + self._lifetime_seconds * NS_PER_SECOND,
        )
        self.put(_digest(secret), session)
        self.on_change(_digest(secret), session)
        return session, self._cookie(headers, secret, self._lifetime_seconds)

    def all(self) -> list[tuple[bytes, Session]]:
        """All sessions, for :meth:`put`."""
        return list(self._sessions.items())

    def put(self, digest: bytes, session: Session | None) -> None:
        """Takes over what ``on_change`` of another process reported."""
        if session is not None:
            self._sessions[digest] = self._by_number[session.caller.session] = session
        elif self._remove(digest):
            self.on_end()

    def end(self, headers: Mapping[str, str]) -> tuple[bool, str]:
        """Ends the session of a request; whether there was one, and the ``Set-Cookie`` that removes it."""
        secret = _secret(headers)
        ended = secret is not None and self._remove(_digest(secret))
        if ended:
            self.on_end()
        return ended, self._cookie(headers, "", 0)

    def find(self, headers: Mapping[str, str]) -> Session | None:
        """The session of a request; ``None``: it has none, or it has ended."""
        secret = _secret(headers)
        session = None if secret is None else self._sessions.get(_digest(secret))
        return session if session is not None and self._is_valid(session, self._clock.time_ns()) else None

    def caller(self, method: str, headers: Mapping[str, str]) -> Caller | None:
        """The caller of a request by its cookie.

        Raises :class:`~api.http.problems.ProblemError` (``forbidden-origin``) for a request that changes
        something, or opens a WebSocket, and does not come from the server's own page.
        """
        session = self.find(headers)
        if session is None:
            return None
        if (method not in _SAFE_METHODS or "Upgrade" in headers) and not is_own_origin(headers):
            raise ProblemError("forbidden-origin", "a request with a session needs the server's own Origin")
        self._keys.used(session.caller)
        return session.caller

    def is_valid(self, caller: Caller) -> bool:
        """Whether the key of a caller is valid, and its session has not ended."""
        if caller.key_id is None:
            return True
        if caller.session is None:
            return self._keys.is_valid(caller.key_id)
        session = self._by_number.get(caller.session)
        return session is not None and self._is_valid(session, self._clock.time_ns())

    def _remove(self, digest: bytes) -> bool:
        session = self._sessions.pop(digest, None)
        if session is not None:
            del self._by_number[session.caller.session]
            self.on_change(digest, None)
        return session is not None

    def _is_valid(self, session: Session, now_ns: int) -> bool:
        key_id = session.caller.key_id
        return now_ns < session.expires_ns and key_id is not None and self._keys.is_valid(key_id)

    def _cookie(self, headers: Mapping[str, str], value: str, seconds: int) -> str:
        # Behind a proxy that speaks TLS, the origin of the page says so.
        secure = self._secure or headers.get("Origin", "").lower().startswith("https://")
        flags = "; Secure" if secure else ""
        return f"{_name(headers)}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{flags}"


def _name(headers: Mapping[str, str]) -> str:
    """Name of the cookie: browsers do not tell ports apart, and two recorders may share a host."""
    port = headers.get("Host", "").rpartition(":")[2]
    return f"{_COOKIE}-{port}" if port.isdecimal() else _COOKIE


def _secret(headers: Mapping[str, str]) -> str | None:
    cookies = headers.get("Cookie")
    if cookies is None:
        return None
    start = _name(headers) + "="
    found = (part.strip() for part in cookies.split(";"))
    return next((part[len(start) :] for part in found if part.startswith(start)), None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
