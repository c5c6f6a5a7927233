"""What goes wrong, as the outside sees it: problem documents (RFC 9457), mapped here and only here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

import msgspec
from aiohttp import web
from msgspec import Struct

from decahertz.event import Name, Text
from decahertz.ingest import BatchRefusedError, NotDurableError
from storage.database import DatabaseUnavailableError
from storage.query.export import TooManyExportsError, UnknownColumnError
from storage.query.parquet import ParquetMissingError
from storage.query.queries import CursorError, UnknownFieldError
from storage.query.resolution import DURATION_PATTERN

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1
"""What ``Retry-After`` says where trying again is worth it."""


class FieldProblem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong with a request."""

    reason: str
    field: str | None = None
    """The parameter, or the field of the body or event."""
    index: int | None = None
    """Which event of a batch, from 0."""


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document."""

    type: str
    """``urn:decahertz:problem:…``: the same for the same kind of problem, for ever."""
    title: str
    """The kind in words; the same for all problems of a type."""
    status: int
    detail: str
    """What it is this time."""
    request_id: str
    """As in the header ``X-Request-ID`` and in the server's log."""
    errors: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem."""

    status: int
    title: str

    @property
    def retry(self) -> bool:
        """Whether the same request can succeed later."""
        return self.status == web.HTTPServiceUnavailable.status_code


KINDS: Final[Mapping[str, ProblemKind]] = {
    "query": ProblemKind(400, "The query is wrong"),
    "cursor": ProblemKind(400, "The cursor is wrong"),
    "malformed": ProblemKind(400, "The body cannot be decoded"),
    "subprotocol": ProblemKind(400, "The subprotocol is unknown"),
    "request": ProblemKind(400, "The request is not understood"),
    "origin": ProblemKind(403, "The origin is not allowed"),
    "not-found": ProblemKind(404, "There is nothing at this address"),
    "method": ProblemKind(405, "The method is not allowed"),
    "not-acceptable": ProblemKind(406, "No acceptable media type"),
    "timeout": ProblemKind(408, "The request took too long"),
    "too-large": ProblemKind(413, "The body is too large"),
    "media-type": ProblemKind(415, "The media type is not supported"),
    "host": ProblemKind(421, "The host is not served here"),
    "validation": ProblemKind(422, "The content is refused"),
    "batch-refused": ProblemKind(422, "The batch is refused"),
    "upgrade-required": ProblemKind(426, "A WebSocket is expected"),
    "internal": ProblemKind(500, "The server failed"),
    "not-installed": ProblemKind(501, "A part is not installed"),
    "database": ProblemKind(503, "The database is not available"),
    "not-durable": ProblemKind(503, "The batch is not durable yet"),
    "overloaded": ProblemKind(503, "Too much at once"),
}
"""All kinds, by the last part of their ``type``."""


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
        """The HTTP status."""
        return KINDS[self.kind].status

    def response(self, request_id: str) -> web.Response:
        """The answer. Problems are JSON whatever the request accepts: RFC 9457 knows no MessagePack."""
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
        if kind.retry:
            headers["Retry-After"] = str(RETRY_SECONDS)
        return web.Response(status=kind.status, body=msgspec.json.encode(document), headers=headers)


def problem_of(error: Exception) -> ProblemError | None:
    """The problem that an exception means, or ``None`` for one that nobody expected."""
    problem: ProblemError | None = None
    match error:
        case ProblemError():
            problem = error
        case BatchRefusedError():
            errors = [FieldProblem(index=r.index, field=r.field, reason=r.reason) for r in error.refusals]
            problem = ProblemError("batch-refused", f"nothing of the batch was stored: {error}", errors)
        case NotDurableError():
            detail = f"the batch could not be stored in time ({error}); send it again"
            problem = ProblemError("not-durable", detail)
        case web.HTTPException():
            problem = _of_http(error)
        case web.RequestPayloadError():
            problem = ProblemError("malformed", "the body is not encoded as its headers say")
        case _:
            problem = _of_question(error)
    return problem


def _of_question(error: Exception) -> ProblemError | None:
    """The problem of a question that the storage did not answer."""
    problem: ProblemError | None = None
    match error:
        case DatabaseUnavailableError():
            problem = ProblemError("database", "the database does not answer; try again")
        case CursorError():
            problem = ProblemError("cursor", str(error), [FieldProblem(field="cursor", reason=str(error))])
        case UnknownFieldError():
            problem = ProblemError("query", str(error))
        case UnknownColumnError():
            problem = ProblemError("query", str(error), [FieldProblem(field=error.name, reason=str(error))])
        case TooManyExportsError():
            problem = ProblemError("overloaded", f"{error}; try again")
        case ParquetMissingError():
            problem = ProblemError("not-installed", str(error))
    return problem


def _of_http(error: web.HTTPException) -> ProblemError | None:
    match error:
        case web.HTTPNotFound():
            return ProblemError("not-found", "the API's addresses are listed in /api/v1/openapi.json")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return ProblemError("method", f"allowed here: {allowed}", headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return too_large(None)
    status = error.status
    if web.HTTPBadRequest.status_code <= status < web.HTTPInternalServerError.status_code:
        return ProblemError("request", error.text or error.reason)
    return None


def too_large(limit: int | None) -> ProblemError:
    """The problem of a body beyond the limit, in bytes."""
    return ProblemError(
        "too-large",
        "the body is larger than api.max_body_bytes" + (f", {limit} bytes" if limit else ""),
    )


_PLACE = re.compile(r"(?P<reason>.*) - at `(?P<inner>key` in `)?(?P<path>\$[^`]*)`", re.DOTALL)
_NAMED = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>[^`]*)`")
_NOT_MATCHING = "Expected `str` matching regex {pattern!r}"
_IN_WORDS: Final[Mapping[str, str]] = {
    _NOT_MATCHING.format(pattern=get_args(hint)[1].pattern): words
    for hint, words in (
        (
            Name,
            "a name is 1 to 128 characters without colon, asterisk, control characters or blanks at the ends",
        ),
        (Text, "a text has no NUL characters"),
    )
} | {
    _NOT_MATCHING.format(
        pattern=DURATION_PATTERN
    ): "a duration is a whole number with ms, s, m, h or d, or of nanoseconds: 250ms, 5s, 1h"
}
"""What msgspec says of a pattern, and what that means."""
_EVENT = re.compile(r"\$\.events\[(?P<index>\d+)\]\.?(?P<rest>.*)", re.DOTALL)


def field_problem(error: msgspec.ValidationError, index: int | None = None) -> FieldProblem:
    """Read msgspec's message: ``Expected `float` … - at `$.events[3].bid``` is about event 3, field ``bid``.

    ``index`` is given where a single event was decoded on its own.
    """
    text = str(error)
    place = _PLACE.fullmatch(text)
    reason, path = (place["reason"], place["path"]) if place else (text, "$")
    event = _EVENT.fullmatch(path)
    if event is not None and index is None:
        index, path = int(event["index"]), f"$.{event['rest']}"
    field = path.removeprefix("$").removeprefix(".").rstrip(".")
    named = _NAMED.match(reason)
    if named is not None:
        field = f"{field}.{named['name']}" if field else named["name"]
    return FieldProblem(reason=_IN_WORDS.get(reason, reason), field=field or None, index=index)
