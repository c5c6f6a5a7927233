"""Decides who may send which request: the key in ``Authorization: Bearer``, or a session."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from api.http.access import ANONYMOUS, LOCAL, Caller, Scope
from api.http.problems import ProblemError
from api.security.keyring import BusyError, KeysUnreadError

if TYPE_CHECKING:
    from aiohttp import web

    from api.security.keyring import KeyRing
    from api.security.quotas import Quotas
    from api.security.sessions import Sessions

_SCHEME: Final = "bearer "


class KeyAccess:
    """Admits requests by their key or session.

    Where keys are optional, a request without either is a local user's; one that brings a key or a session is
    its owner's, with no more than its scopes.
    """

    def __init__(self, keys: KeyRing, sessions: Sessions, quotas: Quotas, *, required: bool) -> None:
        self._keys = keys
        self._sessions = sessions
        self.quotas = quotas
        self.required = required

    def has_credentials(self, request: web.Request) -> bool:
        """Whether a request brings a key, valid or not, or a session that has not ended."""
        return bearer(request) is not None or self._sessions.find(request.headers) is not None

    def known(self, request: web.Request, scope: Scope) -> Caller | None:
        """The caller, decided from memory; ``None``: :meth:`verify` has to."""
        text = bearer(request)
        if text is None:
            if scope is Scope.PUBLIC:
                return ANONYMOUS
            caller = self._sessions.caller(request.method, request.headers)
            if caller is not None:
                self.quotas.admit_key(request, caller.key_id)
                caller.check(scope)
            return caller if self.required else caller or LOCAL
        if scope is Scope.PUBLIC:
            return ANONYMOUS
        caller = self._keys.remembered(text)
        if caller is not None:
            self.quotas.admit_key(request, caller.key_id)
            caller.check(scope)
        return caller

    def sender(self, request: web.Request) -> Caller | None:
        """The sender of a request that was checked before; ``None``: the check found no valid key."""
        text = bearer(request)
        if text is not None:
            return self._keys.remembered(text)
        with suppress(ProblemError):  # the check has said so already
            caller = self._sessions.caller(request.method, request.headers)
            return caller if self.required else caller or LOCAL
        return None

    async def verify(self, request: web.Request, scope: Scope) -> Caller:
        """The caller, after a slow check of its key."""
        text = bearer(request)
        if text is None:
            raise unauthorized("a key is required: send it as Authorization: Bearer KEY, or sign in")
        caller = await self.verify_key(text)
        self.quotas.admit_key(request, caller.key_id)
        caller.check(scope)
        return caller

    async def verify_key(self, text: str) -> Caller:
        """The owner of a key. Raises :class:`~api.http.problems.ProblemError`."""
        return await verified(self._keys, text)


async def verified(keys: KeyRing, text: str) -> Caller:
    """The owner of a key. Raises :class:`~api.http.problems.ProblemError`."""
    try:
        caller = keys.remembered(text) or await keys.verify(text)
    except BusyError as error:
        raise ProblemError("overloaded", "too many keys are being verified; try again") from error
    except KeysUnreadError as error:
        detail = f"no key can be checked before the database is open, try again: {error}"
        raise ProblemError("database-unavailable", detail) from error
    if caller is None:
        raise unauthorized("the key is unknown, expired or revoked")
    return caller


def bearer(request: web.Request) -> str | None:
    """The key of a request; ``None`` without one. Other schemes are those of a proxy in front."""
    header = request.headers.get("Authorization")
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return header[len(_SCHEME) :].strip()


def unauthorized(detail: str) -> ProblemError:
    """Makes the problem of a request without a valid key."""
    return ProblemError("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="decahertz"'})
