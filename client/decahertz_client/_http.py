"""HTTP transport: one keep-alive connection that posts batches and parses the responses."""

from __future__ import annotations

import contextlib
import email.utils
import encodings.idna  # noqa: F401 - connecting imports it lazily, and a fork in mid-import would break it
import http.client
import json
import os
import socket
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from decahertz_client._key import Key
from decahertz_client._tls import tls_context, tls_failure

VERSION = "0.1.0"

_PATH = "/api/v1/events"
_MEDIA_TYPE = "application/vnd.msgpack"
_MAX_RESPONSE_BYTES = 1 << 20
_MAX_RETRY_AFTER_SECONDS = 60.0
_MAX_ERROR_CHARACTERS = 200
_MAX_DETAIL_CHARACTERS = 300


class UnreachableError(Exception):
    """The connection could not be opened: nothing was sent."""


class NoResponseError(Exception):
    """The connection broke or timed out after the request was sent: the batch may have arrived."""

    def __init__(self, text: str, *, was_reused: bool, timed_out: bool) -> None:
        super().__init__(text)
        self.was_reused = was_reused
        """The connection had served an earlier request: the server may merely have closed it while idle."""
        self.timed_out = timed_out


class Endpoint(NamedTuple):
    """Address of the ingest endpoint."""

    host: str
    port: int | None
    path: str
    tls: ssl.SSLContext | None
    """``None``: plain HTTP."""

    def connection(self, timeout_seconds: float | None) -> http.client.HTTPConnection:
        """Makes a connection, which is not open yet."""
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_seconds)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_seconds, context=self.tls)


def parse_endpoint(url: str, ca_file: str | os.PathLike[str] | None, path: str = _PATH) -> Endpoint:
    """Derives an endpoint from the URL of the API; default: that of ingest. Raises ``ValueError``."""
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("url must not contain a user, query or fragment; pass a key as key")
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError(f"url {url!r} must look like http://host:port or https://host:port")
    tls = tls_context(ca_file) if parts.scheme in ("https", "wss") else None
    return Endpoint(parts.hostname, parts.port, parts.path.rstrip("/") + path, tls)


class Response(NamedTuple):
    """Parsed response to one batch."""

    status: int
    summary: str
    """Status, reason and, from a problem document, title and detail; for log lines."""
    retry_after: float
    """Seconds to wait before the next attempt, as requested by the server; 0 without a request."""
    content: dict[str, Any]
    """The JSON object of the body; empty when the body is anything else."""

    @property
    def is_problem(self) -> bool:
        """Whether the body is an RFC 9457 problem document rather than the page of some other server."""
        return self.content.get("status") == self.status

    def rejected_events(self, count: int) -> dict[int, str]:
        """The events of a batch of ``count`` that a problem document names, each with the reason."""
        errors = self.content.get("errors")
        return {
            error["index"]: f"{error.get('field')}: {_without_place(error)}"[:_MAX_ERROR_CHARACTERS]
            for error in (errors if isinstance(errors, list) else ())
            if isinstance(error, dict) and type(error.get("index")) is int and 0 <= error["index"] < count
        }


def _without_place(error: dict[str, Any]) -> str:
    """The reason without the position in the batch, so that the same mistake has the same reason."""
    return str(error.get("reason")).partition(" - at `$")[0]


class Connection:
    """A keep-alive HTTP connection that reopens itself after a failure."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float, key: Key | None) -> None:
        self._http = endpoint.connection(timeout_seconds)
        self._path = endpoint.path
        self._headers = {
            "Accept": "application/json",
            "Content-Type": _MEDIA_TYPE,
            "User-Agent": f"decahertz-client/{VERSION}",
        }
        if key is not None:
            self._headers["Authorization"] = key.header()
        self.address = f"{endpoint.host}:{self._http.port}"

    def post(self, body: bytes) -> Response:
        """Posts one batch. Raises :class:`UnreachableError` and :class:`NoResponseError`."""
        was_reused = self._http.sock is not None
        if not was_reused:
            try:
                self._http.connect()
            except (OSError, ValueError) as error:
                self._http.close()
                raise UnreachableError(tls_failure(error) or str(error)) from error
        try:
            return self._exchange(body)
        except Exception as error:  # whatever the cause, the connection is no longer usable
            self._http.close()
            text = str(error) or type(error).__name__
            timed_out = isinstance(error, (TimeoutError, socket.timeout))  # distinct until Python 3.10
            raise NoResponseError(text, was_reused=was_reused, timed_out=timed_out) from error

    def _exchange(self, body: bytes) -> Response:
        # A server that rejects a body may respond and hang up before it has read all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._http.request("POST", self._path, body, self._headers)
        response = self._http.getresponse()
        data = response.read(_MAX_RESPONSE_BYTES)
        if not response.isclosed():  # oversized: abandon the rest
            self._http.close()
        return _parse(response, data)

    def close(self) -> None:
        self._http.close()

    def abort(self) -> None:
        """Interrupts the exchange in progress; called from another thread."""
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def detach(self) -> None:
        """Closes a forked child's copy of the socket without touching the parent's connection or locks."""
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                os.close(sock.detach())


def _parse(response: http.client.HTTPResponse, data: bytes) -> Response:
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = {}
    texts = (content.get("title"), content.get("detail"))
    detail = ": ".join(text for text in texts if isinstance(text, str))[:_MAX_DETAIL_CHARACTERS]
    summary = f"{response.status} {response.reason}" + (f" ({detail})" if detail else "")
    return Response(
        response.status, summary, parse_retry_after(response.getheader("Retry-After", "")), content
    )


def parse_retry_after(header: str) -> float:
    """Parses both forms of RFC 9110 section 10.2.3 into seconds; returns 0 for anything else."""
    if header.isdecimal():
        return min(float(header), _MAX_RETRY_AFTER_SECONDS)
    try:
        retry_at = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return 0.0
    seconds: float = retry_at.timestamp() - time.time()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)
