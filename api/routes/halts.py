"""Halts: stop trading of the desk, a strategy or an instrument, and resume it."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.access import Scope
from api.http.body import BodyReader
from api.http.problems import FieldProblem, ProblemError
from api.http.query import NoQuery, QueryT
from api.http.route import AnyRoute, BodyT, Route, StatusResponse
from api.parts import Request
from api.routes.order_requests import actor_of, check_control
from control.halts import Halts
from decahertz.event import Name
from decahertz.halts import Halt, HaltOrigin, HaltScope, Reason
from storage.database import DatabaseUnavailableError


class HaltQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one halt."""

    halt_id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the halt.")]


class NewHalt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A halt to be made."""

    scope: HaltScope
    strategy: Name | None = None
    """The strategy; needed for the scope `strategy`."""
    venue: Name | None = None
    """The venue of the instrument; null: every venue."""
    instrument: Name | None = None
    """The instrument; needed for the scope `instrument`."""
    reason: Reason


class NewResume(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why trading may go on."""

    reason: Reason


class HaltList(Struct, frozen=True, kw_only=True):
    """The halts that last."""

    is_enabled: bool
    """Whether a key with the scope `trade` exists: where none does, orders and halts are off."""
    items: list[Halt]
    """Oldest first."""


async def halts(request: Request[NoQuery, None]) -> HaltList:
    """Returns the halts that last. `audit` has those that have ended."""
    is_enabled = request.parts.keys.permits(Scope.TRADE)
    return HaltList(is_enabled=is_enabled, items=_halts_of(request).active)


async def halt_trading(request: Request[NoQuery, NewHalt]) -> StatusResponse[Halt]:
    """Halts the desk, a strategy or an instrument, at once and until a person resumes.

    Nothing of it is queued, taken or begun any more; what a process works on stays with it. The same halt
    again gets 200 and the halt that lasts. With 503 the halt counts, and is stored when the database is back.
    """
    check_control(request)
    body, made_by = request.body, actor_of(request)
    _check(body)
    parts = _halts_of(request)
    made = parts.new(
        body.scope,
        HaltOrigin.PERSON,
        made_by.name,
        body.reason,
        strategy=body.strategy,
        venue=body.venue,
        instrument=body.instrument,
    )
    try:
        halt, is_new = await parts.halt(made, made_by)
    except DatabaseUnavailableError as error:
        detail = f"the halt counts from now on; it is stored when {error.database} responds"
        raise ProblemError("database-unavailable", detail) from error
    return StatusResponse(halt, 201 if is_new else 200)


async def resume_trading(request: Request[HaltQuery, NewResume]) -> Halt:
    """Ends a halt. Other halts may still speak against trading."""
    check_control(request)
    return await _halts_of(request).resume(request.query.halt_id, request.body.reason, actor_of(request))


def _check(body: NewHalt) -> None:
    needed = {HaltScope.STRATEGY: "strategy", HaltScope.INSTRUMENT: "instrument"}.get(body.scope)
    allowed = {HaltScope.STRATEGY: {"strategy"}, HaltScope.INSTRUMENT: {"venue", "instrument"}}
    for name in ("strategy", "venue", "instrument"):
        given = getattr(body, name) is not None
        if given and name not in allowed.get(body.scope, set()):
            raise _invalid(name, f"a halt of the scope {body.scope.value!r} has none")
        if name == needed and not given:
            raise _invalid(name, f"a halt of the scope {body.scope.value!r} needs it")


def _invalid(field: str, reason: str) -> ProblemError:
    return ProblemError("invalid-body", f"{field}: {reason}", [FieldProblem(field=field, reason=reason)])


def _halts_of(request: Request[QueryT, BodyT]) -> Halts:
    parts = request.parts
    if parts.halts is None:
        raise ProblemError("not-enabled", "this process has no halts")
    return parts.halts


_PATH: Final = "/api/v1/risk/halts"
ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(path=_PATH, summary="Halts that last", handler=halts, response=HaltList, problems=("not-enabled",)),
    Route(
        method="POST",
        path=_PATH,
        summary="Halt trading",
        handler=halt_trading,
        body=BodyReader(NewHalt),
        response=Halt,
        statuses={201: "Halted.", 200: "Was halted already."},
        scope=Scope.TRADE,
        audit="trading.halt",
        problems=("database-unavailable", "not-enabled"),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/{{halt_id}}/resume",
        summary="Resume trading",
        handler=resume_trading,
        query=HaltQuery,
        body=BodyReader(NewResume),
        response=Halt,
        scope=Scope.TRADE,
        audit="trading.resume",
        problems=("database-unavailable", "not-enabled", "not-found"),
    ),
)
