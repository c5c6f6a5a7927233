"""HTTP for the reader: one keep-alive connection, queries, answers and errors."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Union
from urllib.parse import quote, urlencode

import msgpack  # type: ignore[import-untyped]  # it ships no types

from decahertz_client._errors import NoAnswerError, ProblemError
from decahertz_client._http import VERSION, parse_endpoint, parse_retry_after
from decahertz_client._key import find_key
from decahertz_client._times import datetime_ns
from decahertz_client._tls import tls_failure

Time = Union[int, str, dt.datetime]
"""Nanoseconds since the Unix epoch, a text that the API accepts, or a ``datetime`` with a zone."""
Values = Union[str, Iterable[str]]
"""One name or several."""
Query = Mapping[str, object]

_MSGPACK = "application/vnd.msgpack"
_PROBLEM = "application/problem+json"
_MAX_QUERY_CHARACTERS = 6000
_RETRIED = (429, 503)


def quoted(text: str) -> str:
    """Quotes a value for a path; a slash stays, as the API accepts it in names."""
    return quote(text, safe="/")


def time_value(value: object) -> object:
    """Converts a ``datetime`` to nanoseconds; returns anything else as it is. Raises ``ValueError``."""
    return datetime_ns(value) if isinstance(value, dt.datetime) else value


class Session:
    """Sends requests one after the other; threads may share it."""

    def __init__(
        self,
        url: str,
        key: str | None,
        ca_file: str | os.PathLike[str] | None,
        timeout_seconds: float,
        retry_seconds: float,
    ) -> None:
        for argument, seconds in (("timeout_seconds", timeout_seconds), ("retry_seconds", retry_seconds)):
            if not 0 <= seconds < threading.TIMEOUT_MAX:
                raise ValueError(f"{argument} is {seconds}, must not be negative")
        self.endpoint = parse_endpoint(url, ca_file, "")
        self._http = self.endpoint.connection(timeout_seconds or None)
        self._is_aborted = False
        self._lock = threading.RLock()
        self._retry_seconds = retry_seconds
        self.headers = {"User-Agent": f"decahertz-client/{VERSION}"}
        found = find_key(key)
        if found is not None:
            self.headers["Authorization"] = found.header()

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        with self._lock:
            self._http.close()

    def get(self, path: str, query: Query) -> Any:  # noqa: ANN401 - the routes know
        """Returns the decoded answer. Raises :class:`ReaderError`."""
        return self._answer("GET", _target(path, query), None)

    def ask(self, path: str, query: Query, keys: Mapping[str, Values]) -> Any:  # noqa: ANN401 - as above
        """Asks a route that takes the query as a body, too, which it does when it is too long for a URL."""
        target = _target(path, {**query, **keys})
        if len(target) <= _MAX_QUERY_CHARACTERS:
            return self._answer("GET", target, None)
        body: dict[str, object] = {
            name: time_value(value) for name, value in query.items() if value is not None
        }
        lists = {name: _listed(value) for name, value in body.items() if name in ("fields", "recorder")}
        key = {name: _listed(value) for name, value in keys.items()}
        return self._answer("POST", path, msgpack.packb({**body, **lists, "key": key}))

    def post(self, path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - the routes know
        """Posts a body and returns the decoded answer. Raises :class:`ReaderError`.

        A request whose connection broke may be sent twice: only for calls that may be repeated.
        """
        return self._answer("POST", path, msgpack.packb(body), headers)

    def abort(self) -> None:
        """Interrupts the request in progress, for good; called from another thread."""
        self._is_aborted = True
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stream(self, path: str, query: Query, chunk_bytes: int = 1 << 18) -> Iterator[bytes]:
        """Yields the body of an answer as it arrives. Raises :class:`ReaderError`."""
        with self._lock:
            response = self._sent("GET", _target(path, query), None, {})
            if response.status != http.client.OK:
                raise _problem(response, self._read(response))
            try:
                while True:
                    try:
                        chunk = response.read(chunk_bytes)
                    except (OSError, http.client.HTTPException) as error:
                        raise NoAnswerError(f"the answer broke off: {_text(error)}") from error
                    if not chunk:
                        return
                    yield chunk
            finally:
                if not response.isclosed():
                    self._http.close()

    def _answer(
        self, method: str, target: str, body: bytes | None, more: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401 - as above
        deadline = time.monotonic() + self._retry_seconds
        while True:
            try:
                return self._attempt(method, target, body, more or {})
            except ProblemError as problem:  # noqa: PERF203 - a retry
                wait = problem.retry_after
                if problem.status not in _RETRIED or not wait or time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait)

    def _attempt(self, method: str, target: str, body: bytes | None, more: Mapping[str, str]) -> Any:  # noqa: ANN401 - as above
        headers = {"Accept": _MSGPACK, **more}
        if body is not None:
            headers["Content-Type"] = _MSGPACK
        with self._lock:
            response = self._sent(method, target, body, headers)
            data = self._read(response)
        # A route may answer with its own type and a status that is an error: health does.
        if response.headers.get_content_type() != _MSGPACK:
            raise _problem(response, data)
        try:
            return msgpack.unpackb(data)
        except ValueError as error:
            raise NoAnswerError(f"the answer is not MessagePack: {_text(error)}") from error

    def _sent(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Sends a request; once more if the server had closed the idle connection."""
        while True:
            is_reused = self._http.sock is not None
            try:
                self._http.request(method, self.endpoint.path + target, body, {**self.headers, **headers})
                return self._http.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                self._http.close()
                if not is_reused or self._is_aborted:
                    raise self._no_answer(error) from error
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                raise self._no_answer(error) from error

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise NoAnswerError(f"the answer broke off: {_text(error)}") from error

    def _no_answer(self, error: Exception) -> NoAnswerError:
        return NoAnswerError(f"no answer from {self.endpoint.host}:{self._http.port}: {_text(error)}")


def _target(path: str, query: Query) -> str:
    pairs: list[tuple[str, object]] = []
    for name, given in query.items():
        value = time_value(given)
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, (str, int, float)):
            pairs.append((name, value))
        elif value is not None:
            pairs += ((name, each) for each in value)  # type: ignore[attr-defined]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _listed(values: object) -> list[str]:
    return [values] if isinstance(values, str) else list(values)  # type: ignore[call-overload]


def _problem(response: http.client.HTTPResponse, data: bytes) -> ProblemError:
    document = None
    if response.headers.get_content_type() in (_PROBLEM, "application/json"):
        try:
            document = json.loads(data)
        except ValueError:
            document = None
    retry_after = parse_retry_after(response.getheader("Retry-After", ""))
    given = document if isinstance(document, dict) else {}
    return ProblemError(response.status, given, response.reason, retry_after)


def _text(error: Exception) -> str:
    return tls_failure(error) or str(error) or type(error).__name__
