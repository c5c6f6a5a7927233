"""Recognises fills that were reported before, however many there were."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_BITS = 24
_BUCKET_SHIFT = 56


class Seen(Enum):
    """Whether a fill was reported before."""

    NEW = 0
    REPEAT = 1
    """With the same content."""
    CONFLICT = 2
    """With another content."""


class FillIds:
    """Digests of all fills of a strategy: 40 bits of the ids, 24 of the content.

    Eight bytes a fill: among a million of them, one new fill in 10^13 is mistaken for one of them, and one in
    10^6 is counted as a conflict without being one.
    """

    def __init__(self, buckets: Mapping[int, bytes] | None = None) -> None:
        """``buckets`` are those of an earlier set."""
        self._buckets: dict[int, array[int]] = {}
        for number, content in (buckets or {}).items():
            self._buckets[number] = array("Q")
            self._buckets[number].frombytes(content)

    def encoded(self) -> dict[int, bytes]:
        """Returns all digests, by their first byte."""
        return {number: bucket.tobytes() for number, bucket in self._buckets.items()}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def add(self, ids: int, content: tuple[object, ...]) -> Seen:
        """Adds a fill, by the digest of its ids; returns whether it was reported before."""
        first = ids << _CONTENT_BITS
        digest = first | _digest(tuple(map(str, content)), 3)
        bucket = self._buckets.get(first >> _BUCKET_SHIFT)
        if bucket is None:
            bucket = self._buckets[first >> _BUCKET_SHIFT] = array("Q")
        at = bisect_left(bucket, digest)
        if at < len(bucket) and bucket[at] == digest:
            return Seen.REPEAT
        before = bucket[at - 1] if at else -1
        after = bucket[at] if at < len(bucket) else -1
        bucket.insert(at, digest)
        same = first >> _CONTENT_BITS
        is_known = before >> _CONTENT_BITS == same or after >> _CONTENT_BITS == same
        return Seen.CONFLICT if is_known else Seen.NEW


def digest_of(ids: tuple[str, ...]) -> int:
    """The digest of ids."""
    return _digest(ids, 5)


def _digest(item: tuple[str, ...], size: int) -> int:
    text = "\x1f".join(item).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=size).digest(), "little")
