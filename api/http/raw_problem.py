"""Problem documents for connections on which no request was made out."""

from __future__ import annotations

import msgspec

from api.http.problems import KINDS, MEDIA_TYPE, RETRY_SECONDS, Problem


def raw_problem(kind: str, phrase: str, detail: str) -> bytes:
    """A whole response that closes the connection; ``phrase`` is that of the status."""
    found = KINDS[kind]
    document = Problem(
        type=f"urn:decahertz:problem:{kind}",
        title=found.title,
        status=found.status,
        detail=detail,
        request_id="",
    )
    body = msgspec.json.encode(document)
    head = (
        f"HTTP/1.1 {found.status} {phrase}\r\nContent-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: {RETRY_SECONDS}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
