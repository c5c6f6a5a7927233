"""Entity tags, with which a client asks whether a response has changed since it got it (RFC 9110, 13)."""

from __future__ import annotations

import hashlib
from typing import Final

_DIGITS: Final = 20


def entity_tag(data: bytes) -> str:
    """The weak ``ETag`` of a body: equal data have equal tags, compressed or not, in every process."""
    return f'W/"{hashlib.sha256(data).hexdigest()[:_DIGITS]}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether the ``If-None-Match`` header says that the client already has the response with this tag."""
    if if_none_match is None:
        return False
    opaque = tag.removeprefix("W/")
    return any(
        given == "*" or given.removeprefix("W/") == opaque
        for given in map(str.strip, if_none_match.split(","))
    )
