"""The session of a browser that signs in with a key."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.access import Caller, Scope
from api.http.body import BodyReader
from api.http.query import NoQuery
from api.http.route import AnyRoute, Route, StatusResponse
from api.parts import Request
from api.security.access import verified
from decahertz.event import TimeNs


class SignIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key, in exchange for a session."""

    key: Annotated[str, Meta(min_length=1, max_length=256, description="A key with the scope `read`.")]

    def __repr__(self) -> str:
        """Without the key."""
        return "SignIn(…)"


class SessionInfo(Struct, frozen=True, kw_only=True):
    """Who sends the request."""

    name: str
    """Name of the key; `local` for a request that needs none."""
    scopes: tuple[Scope, ...]
    expires_ns: TimeNs | None
    """When the session ends; null for a request without one."""


class SignedOut(Struct, frozen=True, kw_only=True):
    """The end of a session."""

    ended: bool
    """False if there was none, or it had ended before."""


async def session(request: Request[NoQuery, None]) -> SessionInfo:
    """Returns whose key or session the request has. A browser page asks this to know whether to sign in.

    Where keys are optional, a request without either is `local`, with every scope and no end. One that brings
    a key or a session has the scopes of that key only.
    """
    found = request.parts.sessions.find(request.headers)
    caller = request.caller
    by_session = found is not None and found.caller == caller
    return SessionInfo(
        name=caller.name,
        scopes=_scopes_of(caller),
        expires_ns=found.expires_ns if found is not None and by_session else None,
    )


def _scopes_of(caller: Caller) -> tuple[Scope, ...]:
    """The scopes that keys can have."""
    return tuple(scope for scope in Scope if scope in caller.scopes and scope is not Scope.PUBLIC)


async def sign_in(request: Request[NoQuery, SignIn]) -> StatusResponse[SessionInfo]:
    """Begins a session and sets its cookie, which the browser then sends in place of the key.

    JavaScript cannot read the cookie, and pages of other sites cannot send it. With a session, a request that
    changes something needs the header `Origin` of this server. The session ends after `api.session_hours`,
    when the key expires or is revoked, and when the recorder restarts.
    """
    caller = await verified(request.parts.keys, request.body.key)
    caller.check(Scope.READ)
    begun, cookie = request.parts.sessions.begin(caller, request.headers)
    content = SessionInfo(
        name=caller.name,
        scopes=_scopes_of(caller),
        expires_ns=begun.expires_ns,
    )
    return StatusResponse(content, 200, {"Set-Cookie": cookie})


async def sign_out(request: Request[NoQuery, None]) -> StatusResponse[SignedOut]:
    """Ends the session of the request and removes its cookie; open WebSockets of the session are closed.

    Without a session, also where keys are optional, nothing ends: `ended` is false.
    """
    ended, cookie = request.parts.sessions.end(request.headers)
    return StatusResponse(SignedOut(ended=ended), 200, {"Set-Cookie": cookie})


_PATH: Final = "/api/v1/session"
ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(path=_PATH, summary="Who sends the request", handler=session, response=SessionInfo),
    Route(
        method="POST",
        path=_PATH,
        summary="Sign in",
        handler=sign_in,
        body=BodyReader(SignIn),
        response=SessionInfo,
        scope=Scope.PUBLIC,
        problems=("unauthorized", "insufficient-scope", "overloaded"),
    ),
    Route(
        method="DELETE",
        path=_PATH,
        summary="Sign out",
        handler=sign_out,
        response=SignedOut,
        scope=Scope.PUBLIC,
    ),
)
