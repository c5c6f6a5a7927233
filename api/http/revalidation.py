"""Entity tags: a client that has a response already asks whether it has changed (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
from typing import Final

_DIGITS: Final = 20


def entity_tag(data: bytes) -> str:
    """The weak ``ETag`` of a body: the same data have the same tag, compressed or not, in every process."""
    return f'W/"{hashlib.sha256(data).hexdigest()[:_DIGITS]}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether a client has the response with this tag, by its header ``If-None-Match``."""
    if if_none_match is None:
        return False
    opaque = tag.removeprefix("W/")
    return any(
        given == "*" or given.removeprefix("W/") == opaque
        for given in map(str.strip, if_none_match.split(","))
    )
