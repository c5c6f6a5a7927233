"""Templates of order requests: write, submit, try out, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from api.http.access import Scope
from api.http.body import BodyReader
from api.http.problems import FieldProblem, ProblemError
from api.http.query import NoQuery, QueryT
from api.http.route import AnyRoute, BodyT, Route, StatusResponse
from api.parts import Request
from api.routes.order_requests import OrderReceipt, actor_of, check_control, idempotency_key, receipt_of
from control.queue import DryRun
from control.templates import Templates
from decahertz.order_templates import Template, TemplateContent, TemplateVersion

_CREATED: Final = 201
_LARGEST_VERSION: Final = 2**31 - 1


class TemplateQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one template."""

    template_id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the template.")]


class TemplateList(Struct, frozen=True, kw_only=True):
    """All templates."""

    items: list[Template]
    """By name."""


class TemplateVersions(Struct, frozen=True, kw_only=True):
    """The versions of a template."""

    items: list[TemplateVersion]
    """Newest first."""


class Submission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values that differ from those of the template."""

    overrides: dict[str, Any] = {}
    """Fields of the request that have other values, by the names of `POST /orders`; `kind` cannot change."""


async def templates(request: Request[NoQuery, None]) -> TemplateList:
    """Returns all templates with their schedules and what became of the newest scheduled time."""
    return TemplateList(items=await _templates_of(request).all())


async def template(request: Request[TemplateQuery, None]) -> StatusResponse[Template]:
    """Returns a template. Its `ETag` is the number of its version."""
    return _tagged(await _templates_of(request).find(request.query.template_id))


async def template_versions(request: Request[TemplateQuery, None]) -> TemplateVersions:
    """Returns the versions of a template, also of one that was deleted."""
    return TemplateVersions(items=await _templates_of(request).versions(request.query.template_id))


async def create_template(request: Request[NoQuery, TemplateContent]) -> StatusResponse[Template]:
    """Stores a template. A schedule begins with the next of its times."""
    made = await _controlled(request).create(request.body, actor_of(request))
    return _tagged(made, _CREATED, {"Location": f"/api/v1/templates/{made.template_id}"})


async def update_template(request: Request[TemplateQuery, TemplateContent]) -> StatusResponse[Template]:
    """Stores the next version of a template; the earlier ones are kept.

    The header `If-Match` has to have the `ETag` of the version that is changed, or `*`, so that nobody
    overwrites what somebody else has written meanwhile.
    """
    parts = _controlled(request)
    if "If-Match" not in request.headers:
        raise ProblemError("precondition-required", "If-Match: the ETag of the version that is changed")
    version = _version(request.headers)
    return _tagged(await parts.update(request.query.template_id, version, request.body, actor_of(request)))


async def delete_template(request: Request[TemplateQuery, None]) -> Template:
    """Deletes a template and ends its schedule. Its versions are kept. `If-Match` may name the version."""
    parts = _controlled(request)
    return await parts.delete(request.query.template_id, _version(request.headers), actor_of(request))


async def submit_template(request: Request[TemplateQuery, Submission]) -> StatusResponse[OrderReceipt]:
    """Queues an order request with the values of a template, and other values for some of its fields.

    `If-Match` may name the version. `Idempotency-Key` works as in `POST /orders`.
    """
    parts = _controlled(request)
    record, is_new = await parts.submit(
        request.query.template_id,
        _version(request.headers),
        request.body.overrides,
        actor_of(request),
        idempotency_key(request),
    )
    return receipt_of(record, is_new=is_new)


async def dry_run_template(request: Request[TemplateQuery, Submission]) -> DryRun:
    """Returns the request that a submission would queue now, and what each check says. Queues nothing."""
    parts = _controlled(request)
    version = _version(request.headers)
    return await parts.dry_run(request.query.template_id, version, request.body.overrides)


def _templates_of(request: Request[QueryT, BodyT]) -> Templates:
    if request.parts.templates is None:
        raise ProblemError("not-enabled", "this process has no templates")
    return request.parts.templates


def _controlled(request: Request[QueryT, BodyT]) -> Templates:
    """The templates. Raises :class:`~api.http.problems.ProblemError` where no key permits to trade."""
    check_control(request)
    return _templates_of(request)


def _tagged(
    content: Template, status: int = 200, headers: Mapping[str, str] | None = None
) -> StatusResponse[Template]:
    return StatusResponse(content, status, {"ETag": f'"{content.version}"', **(headers or {})})


def _version(headers: Mapping[str, str]) -> int | None:
    """The version that a client names; ``None``: any."""
    given = headers.get("If-Match", "*").strip()
    if given == "*":
        return None
    number = given.removeprefix('"').removesuffix('"')
    if number.isascii() and number.isdigit() and len(given) - len(number) == len('""'):
        return min(int(number[:11]), _LARGEST_VERSION)
    reason = 'is the ETag of a template: "3"'
    raise ProblemError(
        "invalid-parameter", f"If-Match: {reason}", [FieldProblem(field="If-Match", reason=reason)]
    )


_PATH: Final = "/api/v1/templates"
_ONE: Final = f"{_PATH}/{{template_id}}"
_READS: Final = ("database-unavailable", "not-enabled")
_OF_ONE: Final = (*_READS, "not-found")
_CHANGES: Final = (*_OF_ONE, "precondition-failed", "invalid-parameter")
ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(path=_PATH, summary="Templates", handler=templates, response=TemplateList, problems=_READS),
    Route(
        method="POST",
        path=_PATH,
        summary="Create a template",
        handler=create_template,
        body=BodyReader(TemplateContent),
        response=Template,
        statuses={201: "Created."},
        scope=Scope.TRADE,
        audit="template.create",
        problems=(*_READS, "name-taken", "too-many"),
    ),
    Route(
        path=f"{_ONE}/versions",
        summary="Versions of a template",
        handler=template_versions,
        query=TemplateQuery,
        response=TemplateVersions,
        problems=_OF_ONE,
    ),
    Route(
        path=_ONE,
        summary="One template",
        handler=template,
        query=TemplateQuery,
        response=Template,
        problems=_OF_ONE,
    ),
    Route(
        method="PUT",
        path=_ONE,
        summary="Update a template",
        handler=update_template,
        query=TemplateQuery,
        body=BodyReader(TemplateContent),
        response=Template,
        scope=Scope.TRADE,
        audit="template.update",
        problems=(*_CHANGES, "precondition-required", "name-taken"),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        summary="Delete a template",
        handler=delete_template,
        query=TemplateQuery,
        response=Template,
        scope=Scope.TRADE,
        audit="template.delete",
        problems=_CHANGES,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/submit",
        summary="Submit a template",
        handler=submit_template,
        query=TemplateQuery,
        body=BodyReader(Submission),
        response=OrderReceipt,
        statuses={201: "Queued.", 200: "Was queued by an earlier submission under the same key."},
        scope=Scope.TRADE,
        audit="template.submit",
        problems=(*_CHANGES, "idempotency-key-reused", "order-refused"),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/dry-run",
        summary="Try out a template",
        handler=dry_run_template,
        query=TemplateQuery,
        body=BodyReader(Submission),
        response=DryRun,
        scope=Scope.TRADE,
        problems=_CHANGES,
    ),
)
