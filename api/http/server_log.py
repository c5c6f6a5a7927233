"""Logger for the HTTP server of aiohttp.

aiohttp responds to requests that are not valid HTTP before any route sees them, and logs each with a
traceback. Anyone can send such requests, so they are counted and logged at level debug; errors of the server
itself are logged as errors. Clients that disconnect in the middle of a response are not errors.
"""

from __future__ import annotations

import logging

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter

from api.http.stream import StreamAbortedError


class _Handler(logging.Handler):
    def __init__(self, bad_requests: Counter) -> None:
        super().__init__()
        self._bad_requests = bad_requests
        self._log = structlog.get_logger(part="api")

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._bad_requests.inc()
            self._log.debug("invalid_http_received", error=str(error.message).partition("\n")[0])
        elif isinstance(error, StreamAbortedError):
            self._log.debug("stream_ended_early")
        elif isinstance(error, ConnectionError):
            self._log.debug("request_abandoned")
        elif record.levelno >= logging.WARNING:
            self._log.log(record.levelno, "http_server_failed", message=record.getMessage(), exc_info=error)


def server_logger(registry: CollectorRegistry) -> logging.Logger:
    """Makes the logger of one server, outside the process-wide tree."""
    logger = logging.Logger("http", logging.DEBUG)  # noqa: LOG001 - deliberately not global
    logger.addHandler(
        _Handler(
            Counter(
                "decahertz_api_bad_requests",
                "Requests that were not valid HTTP and never reached a route.",
                registry=registry,
            )
        )
    )
    return logger
