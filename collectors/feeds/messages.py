"""What the decoders of all venues share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Protocol

from decahertz.event import AnyEvent

RENUMBERED_AFTER = 100
"""So many numbers in a row that are not higher than the last mean that the venue starts anew."""


class MalformedMessageError(ValueError):
    """A message is not what the venue documents; the text says what is wrong."""


class VenueDecoder(Protocol):
    """Turns the messages of one venue into events. It holds the books and the last numbers seen.

    The live adapter and the replay of a recording use the same one.
    """

    venue: str
    counts: Counter[str]
    """What happened so far: ``messages``, ``ignored``, ``duplicates``, ``gaps``, ``missed``."""

    def decode(self, raw: bytes | str, received_ns: int) -> list[AnyEvent]:
        """The events of one message, under the venue's own times.

        ``received_ns`` stands in where the venue gives no time. Raises
        :class:`MalformedMessageError`; the decoder is then as it was before.
        """
        ...

    def reconnected(self) -> None:
        """A new connection begins: the books are void until their next snapshot."""
        ...


class Numbering:
    """The last number seen per stream; tells repeated ones and holes, and counts them."""

    __slots__ = ("_contiguous", "_counts", "_last", "_repeats")

    def __init__(self, counts: Counter[str], *, contiguous: bool = False) -> None:
        """Count ``duplicates`` and ``renumbered``; of contiguous numbers ``gaps`` and ``missed`` too."""
        self._counts = counts
        self._contiguous = contiguous
        self._last: dict[Hashable, int] = {}
        self._repeats: dict[Hashable, int] = {}

    def last(self, stream: Hashable) -> int | None:
        """The last number of a stream; ``None`` if there was none."""
        return self._last.get(stream)

    def take(self, stream: Hashable, number: int) -> int | None:
        """How many numbers were missed before this one; ``None`` if it is not higher than the last.

        Streams that are not contiguous miss none. A venue that starts its numbers anew would be silent for
        ever; after :data:`RENUMBERED_AFTER` such numbers in a row the new ones are believed.
        """
        last = self._last.get(stream)
        if last is not None and number <= last:
            repeats = self._repeats.get(stream, 0) + 1
            if repeats < RENUMBERED_AFTER:
                self._repeats[stream] = repeats
                self._counts["duplicates"] += 1
                return None
            self._counts["renumbered"] += 1
            last = None
        self._repeats.pop(stream, None)
        self._last[stream] = number
        missed = number - last - 1 if self._contiguous and last is not None else 0
        if missed:
            self._counts["gaps"] += 1
            self._counts["missed"] += missed
        return missed
