"""The one middleware: request id, guard, problem documents and timing for every request."""

from __future__ import annotations

import functools
import itertools
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from api.http.guard import Guard
from api.http.problems import ProblemError, http_problem
from api.http.query import check_path
from api.http.rate_limit import ALLOWANCE
from api.http.repeats import remember
from api.http.request_times import NS_PER_MS
from api.http.self_metrics import HttpMetrics
from api.http.stream import FINISH_RESPONSE
from decahertz.clock import NS_PER_SECOND, Clock

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorMapping: TypeAlias = Callable[[Exception], ProblemError | None]
"""Converts an error of the application; ``None`` for an unexpected one."""
Admission: TypeAlias = Callable[[web.Request], None]
"""Counts a request against the limits of its sender. Raises :class:`ProblemError` (``rate-limited``)."""

_VALID_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_ID_PREFIX, _ID_NUMBERS = uuid.uuid4().hex[:12], itertools.count(1)


def request_middleware(
    guard: Guard, admit: Admission, clock: Clock, metrics: HttpMetrics, domain_problem: ErrorMapping
) -> Middleware:
    """Makes the middleware. A single one, because each costs every request a coroutine."""
    log = structlog.get_logger(part="api")
    cors = guard.cors

    def problem_response(error: Exception, request_id: str) -> web.Response:
        problem = http_problem(error) or domain_problem(error)
        if problem is None:
            log.error("request_failed", exc_info=error)
            problem = ProblemError("internal-error", "an unexpected error; see the server's log")
        return problem.response(request_id)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        start_ns = clock.monotonic_ns()
        request_id = _request_id(request)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response: web.StreamResponse

        def finish(response: web.StreamResponse) -> None:
            elapsed_ns = clock.monotonic_ns() - start_ns
            headers = response.headers
            headers["Server"] = "decahertz"
            headers["X-Request-ID"] = request_id
            parts = headers.get("Server-Timing")
            total = f"total;dur={elapsed_ns / NS_PER_MS:.3f}"
            headers["Server-Timing"] = total if parts is None else f"{total}, {parts}"
            allowance = request.get(ALLOWANCE)
            if allowance is not None:
                headers.update(allowance.headers())
            cors.mark(request, headers)
            metrics.observe(_route_label(request), elapsed_ns / NS_PER_SECOND)

        request[FINISH_RESPONSE] = finish
        try:
            admit(request)
            guard.check(request)
            check_path(request.raw_path)
            response = cors.preflight(request) or await handler(request)
        except ConnectionError:
            raise  # the client has disconnected: no response; see the server's log
        except Exception as error:  # noqa: BLE001 - every failure becomes a response
            response = problem_response(error, request_id)
        if not response.prepared:
            if request.can_read_body:
                response.force_close()  # do not wait for the rest of an unread body
            finish(response)
            remember(request, functools.partial(middleware, request, handler))
        metrics.count(_route_label(request), _method_label(request), response.status)
        return response

    return middleware


def _request_id(request: web.Request) -> str:
    """The client's own request id if it is valid, else a unique one."""
    given = request.headers.get("X-Request-ID")
    if given is not None and _VALID_ID.fullmatch(given):
        return given
    return f"{_ID_PREFIX}-{next(_ID_NUMBERS)}"


def _route_label(request: web.Request) -> str:
    """The path template of the route: a closed set, unlike requested paths."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical


def _method_label(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "other"
