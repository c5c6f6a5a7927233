"""What aiohttp itself has to say about connections.

Requests that are no HTTP never reach a route: aiohttp answers them, in plain text, and logs each with a
traceback. Anybody can send those, so they are counted here and logged for debugging only; what is our own
fault is logged as the error it is. Clients that leave in the middle of an answer are no error either.
"""

from __future__ import annotations

import logging

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter

from api.http.stream import StreamCutError


class _Handler(logging.Handler):
    def __init__(self, bad_requests: Counter) -> None:
        super().__init__()
        self._bad_requests = bad_requests
        self._log = structlog.get_logger(part="api")

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._bad_requests.inc()
            self._log.debug("bad_http", error=str(error.message).partition("\n")[0])
        elif isinstance(error, StreamCutError):
            self._log.debug("stream_ended_early")
        elif record.levelno >= logging.WARNING:
            self._log.log(record.levelno, "http_server", message=record.getMessage(), exc_info=error)


def http_logger(registry: CollectorRegistry) -> logging.Logger:
    """A logger of its own, outside the process-wide tree, for one server."""
    logger = logging.Logger("http", logging.DEBUG)  # noqa: LOG001 - not global, on purpose
    logger.addHandler(
        _Handler(
            Counter(
                "decahertz_api_bad_requests",
                "Requests that were no proper HTTP, and were answered before any route.",
                registry=registry,
            )
        )
    )
    return logger
