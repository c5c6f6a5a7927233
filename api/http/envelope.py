"""What every request gets, whatever its route: an id, the guard, a problem document when it fails, timing."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from api.http.errors import ProblemError, problem_of
from api.http.guard import Guard
from api.http.stream import FINISH
from api.metrics import HttpMetrics
from decahertz.clock import NS_PER_SECOND, Clock

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_NS_PER_MS = 1_000_000


class RequestIds:
    """Ids of requests: the client's own where it is sane, else one that is unique."""

    def __init__(self) -> None:
        """Choose what tells this process from others."""
        self._prefix = uuid.uuid4().hex[:12]
        self._numbers = itertools.count(1)

    def of(self, request: web.Request) -> str:
        """The id of this request."""
        given = request.headers.get("X-Request-ID")
        if given is not None and _SANE_ID.fullmatch(given):
            return given
        return f"{self._prefix}-{next(self._numbers)}"


def envelope(guard: Guard, clock: Clock, metrics: HttpMetrics) -> Middleware:
    """The one middleware. One, because each costs every request a coroutine."""
    ids = RequestIds()
    log = structlog.get_logger(part="api")

    def failed(error: Exception, request_id: str) -> web.Response:
        problem = problem_of(error)
        if problem is None:
            log.error("request_failed", exc_info=error)
            problem = ProblemError("internal", "an error that nobody expected; the server's log has it")
        return problem.response(request_id)

    @web.middleware
    async def wrap(request: web.Request, handler: Handler) -> web.StreamResponse:
        start_ns = clock.monotonic_ns()
        request_id = ids.of(request)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response: web.StreamResponse

        def finish(response: web.StreamResponse) -> None:
            elapsed_ns = clock.monotonic_ns() - start_ns
            headers = response.headers
            headers["Server"] = "decahertz"
            headers["X-Request-ID"] = request_id
            headers["Server-Timing"] = f"total;dur={elapsed_ns / _NS_PER_MS:.3f}"
            metrics.observe(_route_of(request), elapsed_ns / NS_PER_SECOND)

        request[FINISH] = finish
        try:
            guard.check(request)
            response = await handler(request)
        except ConnectionError:
            raise  # the client is gone: nobody to answer, and aiohttp takes no offence
        except Exception as error:  # noqa: BLE001 - every failure becomes an answer
            response = failed(error, request_id)
        if not response.prepared:
            if request.can_read_body:
                response.force_close()  # the rest of a body that nobody reads is not waited for
            finish(response)
        metrics.count(_route_of(request), _method_of(request), response.status)
        return response

    return wrap


def _route_of(request: web.Request) -> str:
    """The route's path: a closed set, unlike the paths that are asked for."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical


def _method_of(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "other"
