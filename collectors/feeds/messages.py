"""Decoding of venue messages: the base class of the decoders and the bookkeeping of sequence numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from typing import ClassVar, Generic, TypeVar

from collectors.feeds.order_book import OrderBook, TopOfBook
from decahertz.event import AnyEvent

RENUMBERED_AFTER = 100
"""This many consecutive numbers below the last one mean that the venue has restarted its numbering."""

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
    """Tracks the last sequence number per stream; detects and counts duplicates and gaps."""

    def __init__(self, counts: Counter[str], *, contiguous: bool = False) -> None:
        """``contiguous``: the venue skips no number, so that ``gaps`` and ``missed`` can be counted."""
        self._counts = counts
        self._contiguous = contiguous
        self._last: dict[Hashable, int] = {}
        self._repeats: dict[Hashable, int] = {}

    def last(self, stream: Hashable) -> int | None:
        """Returns the last number of a stream; ``None`` before its first message."""
        return self._last.get(stream)

    def take(self, stream: Hashable, number: int) -> int | None:
        """Returns how many numbers are missing before this one; ``None`` if it is a duplicate.

        A number that is not above the last one is a duplicate. After :data:`RENUMBERED_AFTER` of these in a
        row the stream continues from the new numbers; otherwise a venue that restarts its numbering would
        stay silent. Streams that are not contiguous have no missing numbers.
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
