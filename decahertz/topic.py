"""Topics and patterns of topics.

A topic consists of segments separated by colons. A name becomes a segment by :func:`segment`, which writes
a colon as ``%3A``, an asterisk as ``%2A`` and a percent sign as ``%25``. In a pattern ``*`` matches one
segment, and a final ``**`` one or more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

_MAX_LENGTH = 512
_ESCAPES = str.maketrans({":": "%3A", "*": "%2A", "%": "%25"})
_WRONG_ESCAPE = re.compile("%(?!25|2A|3A)")


def segment(name: str) -> str:
    """The segment of a topic that stands for a name: ``BTC/USDT%3AUSDT`` for ``BTC/USDT:USDT``."""
    if ":" in name or "*" in name or "%" in name:
        return name.translate(_ESCAPES)
    return name


def segment_name(text: str) -> str:
    """The name that a segment stands for: the inverse of :func:`segment`."""
    return unquote(text) if "%" in text else text


class TopicError(ValueError):
    """Raised for an invalid topic or pattern."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern. Without asterisks it matches exactly one topic.

    Raises :class:`TopicError` for an empty segment, an asterisk within a segment, a ``**`` before the
    last segment, and an escape that :func:`segment` does not write.
    """

    text: str
    segments: tuple[str, ...] = field(init=False, repr=False, compare=False)
    is_exact: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        segments = tuple(self.text.split(":"))
        if not self.text or len(self.text) > _MAX_LENGTH:
            raise TopicError(f"a topic has 1 to {_MAX_LENGTH} characters")
        for position, segment in enumerate(segments):
            if not segment:
                raise TopicError(f"{self.text!r} has an empty segment")
            if segment == "**" and position != len(segments) - 1:
                raise TopicError(f"{self.text!r}: ** is only allowed at the end")
            if "*" in segment and segment not in ("*", "**"):
                raise TopicError(f"{self.text!r}: an asterisk must be a whole segment")
            if "%" in segment and _WRONG_ESCAPE.search(segment):
                raise TopicError(f"{self.text!r}: in a name, write %25 for %, %2A for * and %3A for :")
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "is_exact", "*" not in self.text)

    def matches(self, topic: str) -> bool:
        """Whether the pattern matches the topic."""
        if self.is_exact:
            return topic == self.text
        parts = topic.split(":")
        pattern = self.segments
        if pattern[-1] == "**":
            pattern = pattern[:-1]
            if len(parts) <= len(pattern):
                return False
            parts = parts[: len(pattern)]
        return len(parts) == len(pattern) and all(
            segment in ("*", part) for segment, part in zip(pattern, parts, strict=True)
        )
