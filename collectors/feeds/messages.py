"""Decoding of venue messages: the base class of the decoders and the bookkeeping of sequence numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from typing import ClassVar, Generic, TypeVar

from collectors.feeds.order_book import OrderBook, TopOfBook
from decahertz.event import AnyEvent
from decahertz.sequences import SequenceSet

RENUMBERED_AFTER = 100
"""This many consecutive numbers below the last one mean that the venue has restarted its numbering."""

_MOST_RANGES = 1_000
"""Gaps of a stream that are remembered; with more of them its memory starts over."""

MessageT = TypeVar("MessageT")


class MalformedMessageError(ValueError):
    """A message does not match the venue's documentation; the text says where."""


class VenueDecoder(ABC, Generic[MessageT]):
    """Decodes the messages of one venue into events; holds its order books and last sequence numbers.

    The live feed and the replay of a capture use the same decoder.
    """

    venue: ClassVar[str]

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Occurrences so far: ``messages``, ``ignored``, ``duplicates``, ``gaps``, ``missed``."""
        self._books: dict[str, OrderBook] = {}
        self._tops: dict[str, TopOfBook] = {}

    @abstractmethod
    def parse(self, raw: bytes | str) -> MessageT:
        """Parses one message. Raises :class:`MalformedMessageError`."""

    @abstractmethod
    def events(self, message: MessageT, received_ns: int) -> list[AnyEvent]:
        """Returns the events of one message, stamped with the venue's times.

        ``received_ns`` is used where the venue sends no time. Raises :class:`MalformedMessageError` and
        leaves the state of the decoder unchanged.
        """

    def decode(self, raw: bytes | str, received_ns: int) -> list[AnyEvent]:
        """Parses one message and returns its events. Raises :class:`MalformedMessageError`."""
        return self.events(self.parse(raw), received_ns)

    def reconnected(self) -> None:
        """Prepares for a new connection: discards the order books, which are void until the next snapshot."""
        self._books.clear()
        self._tops.clear()

    def _changed_top(self, instrument: str, book: OrderBook) -> list[AnyEvent]:
        """Returns a quote if the top of the book has changed."""
        top = book.top
        if self._tops.get(instrument) == top:
            return []
        self._tops[instrument] = top
        return [book.quote(self.venue, instrument)]


class Numbering:
    """Tracks the sequence numbers per stream; detects and counts duplicates and gaps."""

    def __init__(self, counts: Counter[str], *, contiguous: bool = False) -> None:
        """``contiguous``: the venue skips no number, so that ``gaps`` and ``missed`` can be counted.

        A lower number that was missing is then late, and no duplicate.
        """
        self._counts = counts
        self._contiguous = contiguous
        self._last: dict[Hashable, int] = {}
        self._seen: dict[Hashable, SequenceSet] = {}
        """The numbers of contiguous streams."""
        self._repeats: dict[Hashable, int] = {}

    def last(self, stream: Hashable) -> int | None:
        """Returns the last number of a stream; ``None`` before its first message."""
        return self._last.get(stream)

    def take(self, stream: Hashable, number: int) -> int | None:
        """Returns how many numbers are missing before this one; ``None`` if it is a duplicate.

        A number that is not above the highest one is a duplicate, except in a contiguous stream if it was
        not taken yet. After :data:`RENUMBERED_AFTER` duplicates in a row the stream continues from the new
        numbers; otherwise a venue that restarts its numbering would stay silent. Streams that are not
        contiguous have no missing numbers.
        """
        last = self._last.get(stream)
        if last is not None and number <= last:
            if self._is_late(stream, number):
                self._counts["late"] += 1
                return 0
            repeats = self._repeats.get(stream, 0) + 1
            if repeats < RENUMBERED_AFTER:
                self._repeats[stream] = repeats
                self._counts["duplicates"] += 1
                return None
            self._counts["renumbered"] += 1
            self._seen.pop(stream, None)
            last = None
        self._repeats.pop(stream, None)
        self._last[stream] = number
        if not self._contiguous:
            return 0
        self._add(stream, number)
        missed = number - last - 1 if last is not None else 0
        if missed:
            self._counts["gaps"] += 1
            self._counts["missed"] += missed
        return missed

    def _is_late(self, stream: Hashable, number: int) -> bool:
        """Whether a number below the highest one is new; it is noted then."""
        if not self._contiguous or not self._seen[stream].missing(number, number):
            return False
        self._add(stream, number)
        return True

    def _add(self, stream: Hashable, number: int) -> None:
        seen = self._seen.get(stream)
        if seen is None or seen.range_count >= _MOST_RANGES:
            seen = self._seen[stream] = SequenceSet()  # storage recognises older duplicates
        seen.add(number, number)
