"""Topics and the patterns that choose among them.

A topic is a row of segments joined by colons; segments may hold dots, dashes, slashes and blanks but
no colon and no asterisk. In a pattern ``*`` stands for one segment and a last ``**`` for all that
follow (at least one).
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LONGEST = 512


class TopicError(ValueError):
    """A text is no topic or no pattern; the message says why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern. A pattern without asterisks matches exactly one topic.

    Raises :class:`TopicError` for an empty segment, an asterisk inside a segment, or a ``**`` that
    is not the last segment.
    """

    text: str
    segments: tuple[str, ...] = field(init=False, repr=False, compare=False)
    is_exact: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse and check the text."""
        segments = tuple(self.text.split(":"))
        if not self.text or len(self.text) > _LONGEST:
            raise TopicError(f"a topic has 1 to {_LONGEST} characters")
        for position, segment in enumerate(segments):
            if not segment:
                raise TopicError(f"{self.text!r} has an empty segment")
            if segment == "**" and position != len(segments) - 1:
                raise TopicError(f"{self.text!r}: ** stands only at the end")
            if "*" in segment and segment not in ("*", "**"):
                raise TopicError(f"{self.text!r}: an asterisk stands for a whole segment")
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "is_exact", "*" not in self.text)

    def matches(self, topic: str) -> bool:
        """Whether the topic is one of those that the pattern chooses."""
        if self.is_exact:
            return topic == self.text
        parts = topic.split(":")
        wanted = self.segments
        if wanted[-1] == "**":
            wanted = wanted[:-1]
            if len(parts) <= len(wanted):
                return False
            parts = parts[: len(wanted)]
        return len(parts) == len(wanted) and all(
            want in ("*", part) for want, part in zip(wanted, parts, strict=True)
        )
