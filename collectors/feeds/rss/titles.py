"""Recognises headlines that say the same."""

from __future__ import annotations

import re
from collections import deque
from typing import Final, NamedTuple

from msgspec import Struct

_WORD: Final = re.compile(r"\w+(?:[.,]\d+)*")
_PUBLISHER: Final = re.compile(r"^(.{20,})\s+[-–—|]\s+[^-–—|]{1,40}$")  # noqa: RUF001 - dashes of headlines


class Title(Struct, frozen=True, array_like=True):
    """A headline for comparison."""

    time_ns: int
    words: frozenset[str]
    """Words and numbers in lower case, without the name of the publisher at the end."""


class _Likeness(NamedTuple):
    shared: int
    all: int


def title_of(text: str, time_ns: int) -> Title:
    """The headline for comparison."""
    match = _PUBLISHER.match(text)
    return Title(time_ns, frozenset(_WORD.findall((match[1] if match else text).casefold())))


class RecentTitles:
    """The headlines of the last hours.

    Two are near-equal if they have the same numbers, and the words that both have are a large share of the
    words that either has (the Jaccard index). So "rises 5 %" and "rises 6 %" are two headlines.
    """

    def __init__(self, similarity: float, keep_ns: int, limit: int) -> None:
        self._similarity = similarity
        self._keep_ns = keep_ns
        self._titles: deque[Title] = deque(maxlen=limit)

    def load(self, titles: list[Title]) -> None:
        """Know the headlines of before."""
        self._titles.extend(titles)

    def list(self) -> list[Title]:
        """The headlines, oldest first."""
        return list(self._titles)

    def is_new(self, title: Title) -> bool:
        """Whether no recent headline is near-equal; from then on it is one of them."""
        while self._titles and self._titles[0].time_ns < title.time_ns - self._keep_ns:
            self._titles.popleft()
        if any(self._are_alike(title.words, known.words) for known in self._titles):
            return False
        self._titles.append(title)
        return True

    def _are_alike(self, one: frozenset[str], other: frozenset[str]) -> bool:
        likeness = _Likeness(len(one & other), len(one | other))
        if not likeness.all or likeness.shared < self._similarity * likeness.all:
            return False
        return not any(word[0].isdigit() for word in one ^ other)
