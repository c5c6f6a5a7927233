"""Topics and patterns of topics.

A topic consists of segments separated by colons. Segments may contain dots, dashes, slashes and spaces but no
colon and no asterisk. In a pattern ``*`` matches one segment, and a final ``**`` one or more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MAX_LENGTH = 512


class TopicError(ValueError):
    """Raised for an invalid topic or pattern."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern. Without asterisks it matches exactly one topic.

    Raises :class:`TopicError` for an empty segment, an asterisk within a segment, and a ``**`` before the
    last segment.
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
