"""Who may send which request: scopes, callers, and the interface of what decides."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from api.http.problems import ProblemError

if TYPE_CHECKING:
    from aiohttp import web


CLIENT_ADDRESS: Final = "X-Decahertz-Client"
"""Header with the address of the client; the recorder believes it on the Unix socket only."""


def client_address(request: web.Request) -> str:
    """Where a request comes from; empty if that is unknown."""
    return request.remote or str(request.headers.get(CLIENT_ADDRESS, ""))


class Scope(StrEnum):
    """Permission that a route requires and that a key grants."""

    PUBLIC = "public"
    """No key is needed. Keys do not name it."""
    READ = "read"
    INGEST = "ingest"
    """Send events and alerts."""
    TRADE = "trade"
    """Act for the desk, such as acknowledging an alert."""
    ADMIN = "admin"
    """Everything, and the audit log."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who sends a request."""

    name: str
    """For the audit log and for people: the name of a key, or ``local``."""
    key_id: str | None = None
    """``None``: without a key."""
    scopes: frozenset[Scope]
    session: int | None = None
    """Number of the browser session; ``None``: the request brings the key itself, or none."""

    def check(self, scope: Scope) -> None:
        """Raises :class:`~api.http.problems.ProblemError` (``insufficient-scope``)."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes and scope is not Scope.PUBLIC:
            raise ProblemError("insufficient-scope", f"the key has no scope {scope.value!r}")


ANONYMOUS: Final = Caller(name="anonymous", scopes=frozenset())
"""Sends a request to a public route."""
LOCAL: Final = Caller(name="local", scopes=frozenset(Scope))
"""Sends a request without a key where none is required: on this machine."""


class Access(Protocol):
    """Decides who may send which request."""

    def known(self, request: web.Request, scope: Scope) -> Caller | None:
        """The caller, decided from memory; ``None``: :meth:`verify` has to.

        Raises :class:`~api.http.problems.ProblemError` (``insufficient-scope``).
        """
        ...

    async def verify(self, request: web.Request, scope: Scope) -> Caller:
        """The caller, after a slow check of its key.

        Raises :class:`~api.http.problems.ProblemError` (``unauthorized``, ``insufficient-scope``).
        """
        ...
