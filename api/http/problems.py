"""Problem documents (RFC 9457): their kinds, and how errors of HTTP and of msgspec become one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from decahertz.decode_errors import invalid_field

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1
"""Value of ``Retry-After`` on problems that a retry can solve."""


class FieldProblem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One invalid part of a request."""

    reason: str
    field: str | None = None
    """The parameter, or the field of the body or event."""
    rule: str | None = None
    """The rule that a request violates: `halted`, `price-collar`, …"""
    index: int | None = None
    """Position of the event in its batch, from 0."""


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document."""

    type: str
    """``urn:decahertz:problem:…``, stable across versions: clients decide by it."""
    title: str
    """Summary of the type; the same for all problems of a type."""
    status: int
    detail: str
    """Explanation of this occurrence."""
    request_id: str
    """Also in the header ``X-Request-ID`` and in the server's log."""
    errors: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """Status and title of one type of problem."""

    status: int
    title: str

    @property
    def can_retry(self) -> bool:
        """Whether the same request can succeed later."""
        return self.status == web.HTTPServiceUnavailable.status_code


KINDS: Final[Mapping[str, ProblemKind]] = {
    "bad-request": ProblemKind(400, "Bad request"),
    "invalid-parameter": ProblemKind(400, "Invalid parameter"),
    "invalid-cursor": ProblemKind(400, "Invalid cursor"),
    "malformed-body": ProblemKind(400, "Malformed body"),
    "invalid-webhook": ProblemKind(400, "Invalid webhook"),
    "unsupported-subprotocol": ProblemKind(400, "Unsupported subprotocol"),
    "unauthorized": ProblemKind(401, "Unauthorized"),
    "insufficient-scope": ProblemKind(403, "Insufficient scope"),
    "forbidden-origin": ProblemKind(403, "Forbidden origin"),
    "not-found": ProblemKind(404, "Not found"),
    "unknown-name": ProblemKind(404, "Unknown name"),
    "method-not-allowed": ProblemKind(405, "Method not allowed"),
    "not-acceptable": ProblemKind(406, "Not acceptable"),
    "ambiguous-name": ProblemKind(409, "Ambiguous name"),
    "request-conflict": ProblemKind(409, "Request conflict"),
    "name-taken": ProblemKind(409, "Name taken"),
    "too-many": ProblemKind(409, "Too many"),
    "idempotency-key-reused": ProblemKind(409, "Idempotency key reused"),
    "request-timeout": ProblemKind(408, "Request timeout"),
    "precondition-failed": ProblemKind(412, "Precondition failed"),
    "content-too-large": ProblemKind(413, "Content too large"),
    "unsupported-media-type": ProblemKind(415, "Unsupported media type"),
    "misdirected-request": ProblemKind(421, "Misdirected request"),
    "invalid-body": ProblemKind(422, "Invalid body"),
    "invalid-batch": ProblemKind(422, "Invalid batch"),
    "order-refused": ProblemKind(422, "Order refused"),
    "upgrade-required": ProblemKind(426, "Upgrade required"),
    "precondition-required": ProblemKind(428, "Precondition required"),
    "rate-limited": ProblemKind(429, "Rate limited"),
    "budget-exhausted": ProblemKind(429, "Budget exhausted"),
    "internal-error": ProblemKind(500, "Internal error"),
    "not-installed": ProblemKind(501, "Not installed"),
    "not-enabled": ProblemKind(501, "Not enabled"),
    "provider-failed": ProblemKind(502, "Provider failed"),
    "provider-unavailable": ProblemKind(503, "Provider unavailable"),
    "database-unavailable": ProblemKind(503, "Database unavailable"),
    "not-durable": ProblemKind(503, "Not durable"),
    "overloaded": ProblemKind(503, "Overloaded"),
    "query-timeout": ProblemKind(504, "Query timeout"),
    "provider-timeout": ProblemKind(504, "Provider timeout"),
}
"""All kinds, by the last segment of their ``type``."""


class ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``kind`` is a key of :data:`KINDS`."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """HTTP status of the kind."""
        return KINDS[self.kind].status

    def response(self, request_id: str) -> web.Response:
        """Renders the document, as JSON whatever the request accepts: RFC 9457 defines no MessagePack."""
        kind = KINDS[self.kind]
        document = Problem(
            type=f"urn:decahertz:problem:{self.kind}",
            title=kind.title,
            status=kind.status,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
        )
        headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **self.headers}
        if kind.can_retry:
            headers.setdefault("Retry-After", str(RETRY_SECONDS))
        return web.Response(status=kind.status, body=msgspec.json.encode(document), headers=headers)


def http_problem(error: Exception) -> ProblemError | None:
    """Converts an error of the framework or of aiohttp; ``None`` for any other."""
    problem: ProblemError | None = None
    match error:
        case ProblemError():
            problem = error
        case web.RequestPayloadError():
            problem = ProblemError("malformed-body", "the body is not encoded as its headers say")
        case web.HTTPNotFound():
            problem = ProblemError("not-found", "no such path; /api/v1/openapi.json lists all paths")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"allowed methods: {allowed}"
            problem = ProblemError("method-not-allowed", detail, headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            problem = content_too_large(None)
        case web.HTTPClientError():
            problem = ProblemError("bad-request", error.text or error.reason)
    return problem


def content_too_large(limit: int | None) -> ProblemError:
    """Makes the problem of a body that exceeds the limit, in bytes."""
    size = f", {limit} bytes" if limit else ""
    return ProblemError("content-too-large", f"the body is larger than api.max_body_bytes{size}")


_EVENT_PATH = re.compile(r"events\[(?P<index>\d+)\]\.?(?P<rest>.*)", re.DOTALL)


def field_problem(
    error: msgspec.ValidationError,
    type_: Any,  # noqa: ANN401 - a union is not a type
    index: int | None = None,
) -> FieldProblem:
    """Parses a message of msgspec: ``… - at `$.events[3].bid``` is about field ``bid`` of event 3.

    ``type_`` is what was decoded; the reason names the values of an enumeration in it. ``index`` is the
    position of an event that was decoded by itself.
    """
    field, reason = invalid_field(error, type_)
    event = _EVENT_PATH.fullmatch(field)
    if event is not None and index is None:
        index, field = int(event["index"]), event["rest"]
    return FieldProblem(reason=reason, field=field or None, index=index)
