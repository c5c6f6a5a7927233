"""Errors of the reader."""

from __future__ import annotations

from typing import Any

_TYPE = "urn:decahertz:problem:"


class ReaderError(Exception):
    """Base of all errors that :class:`~decahertz_client.Reader` raises for a request."""


class NoAnswerError(ReaderError):
    """The server could not be reached, or its answer did not arrive whole and in time."""


class ProblemError(ReaderError):
    """The server answered with an error, as a rule with a problem document (RFC 9457)."""

    def __init__(self, status: int, document: dict[str, Any], reason: str, retry_after: float) -> None:
        self.status = status
        """The HTTP status."""
        self.type = str(document.get("type", "about:blank"))
        """``urn:decahertz:problem:…``, stable across versions: decide by it."""
        self.title = str(document.get("title", reason))
        self.detail = str(document.get("detail", ""))
        self.request_id: str | None = document.get("request_id")
        """Finds the request in the server's log."""
        errors = document.get("errors")
        self.errors: list[dict[str, Any]] = errors if isinstance(errors, list) else []
        """The parameters or fields that are wrong, each with ``field`` and ``reason``."""
        self.retry_after = retry_after
        """Seconds after which the server asks to retry; 0: it does not."""
        detail = f": {self.detail}" if self.detail else ""
        known_by = f" (request {self.request_id})" if self.request_id else ""
        super().__init__(f"{status} {self.title}{detail}{known_by}")

    @property
    def kind(self) -> str:
        """Last part of ``type``: ``invalid-parameter``; empty if the answer is of another server."""
        return self.type[len(_TYPE) :] if self.type.startswith(_TYPE) else ""
