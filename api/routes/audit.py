"""The audit log."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.http.access import Scope
from api.http.query import Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.records import Cursor, Limit, Text
from decahertz.audit import AuditEntry
from storage.query.audit import AuditFilter
from storage.query.queries import Page


class AuditQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the audit log over `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    actor: Text | None = None
    key_id: Text | None = None
    action: Text | None = None
    target: Text | None = None
    result: Text | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


async def audit(request: Request[AuditQuery, None]) -> Page[AuditEntry]:
    """Returns who changed what through the API or with `decahertz keys`, newest first.

    An entry is stored in the same transaction as its change. A refused call changes nothing; its entry has
    the type of the problem in `result`.
    """
    query = request.query
    which = AuditFilter(
        recorder=query.recorder,
        actor=query.actor,
        key_id=query.key_id,
        action=query.action,
        target=query.target,
        result=query.result,
        start_ns=query.start,
        end_ns=query.end,
    )
    return await request.parts.queries.audit(which, limit=query.limit, cursor=query.cursor)


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/audit",
        summary="Audit log",
        handler=audit,
        query=AuditQuery,
        response=Page[AuditEntry],
        scope=Scope.ADMIN,
        problems=("invalid-cursor", "database-unavailable"),
    ),
)
