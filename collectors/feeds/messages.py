"""Decoding of venue messages: the base class of the decoders and the bookkeeping of sequence numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from copy import copy
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct

from collectors.feeds.order_book import OrderBook, TopOfBook
from decahertz.event import AnyEvent, Gap
from decahertz.sequences import SequenceSet

RENUMBERED_AFTER = 100
"""This many consecutive numbers below the last one mean that the venue has restarted its numbering."""

_MOST_RANGES = 1_000
"""Gaps of a stream that are remembered; with more of them its memory starts over."""

_MOST_GAPS = 100
"""Gaps of a stream that can be closed; with more of them the oldest one stays open."""

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
        self._damaged: dict[str, None] = {}

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

    def take_damaged(self) -> list[str]:
        """Returns the instruments that need a new subscription, each once: their state is not complete."""
        if not self._damaged:
            return []
        damaged = list(self._damaged)
        self._damaged.clear()
        return damaged

    def _gaps(self, numbering: Numbering, instrument: str, name: str, time_ns: int) -> list[AnyEvent]:
        """Returns the gaps that the last numbers of an instrument have opened or closed."""
        return [
            Gap(
                time_ns=time_ns,
                venue=self.venue,
                instrument=instrument,
                numbering=name,
                from_sequence=gap.first,
                to_sequence=gap.last,
                from_ns=gap.from_ns or None,
                to_ns=gap.to_ns,
                missing=gap.missing,
                recovered=not gap.missing,
                announced=gap.is_announced,
            )
            for gap in numbering.take_changes()
        ]

    def _changed_top(self, instrument: str, book: OrderBook) -> list[AnyEvent]:
        """Returns a quote if the top of the book has changed. A crossed book has lost a change."""
        top = book.top
        if self._tops.get(instrument) == top:
            return []
        if top.bid is not None and top.ask is not None and top.bid > top.ask:
            self.counts["crossed_books"] += 1
            self._damaged[instrument] = None
        self._tops[instrument] = top
        return [book.quote(self.venue, instrument)]


class OpenGap(Struct):
    """Numbers of a stream that are missing, from ``first`` to ``last``; ``missing`` of them still are."""

    first: int
    last: int
    missing: int
    from_ns: int
    """Time of the newest message before it."""
    to_ns: int
    """Time of the message that revealed it."""
    is_announced: bool


class Numbering:
    """Tracks the sequence numbers per stream; detects and counts duplicates and gaps."""

    def __init__(self, counts: Counter[str], *, contiguous: bool = False) -> None:
        """``contiguous``: the venue skips no number, so that ``gaps`` and ``missed`` can be counted.

        A lower number that was missing is then late, and no duplicate.
        """
        self._counts = counts
        self._contiguous = contiguous
        self._last: dict[Hashable, int] = {}
        self._last_ns: dict[Hashable, int] = {}
        self._seen: dict[Hashable, SequenceSet] = {}
        """The numbers of contiguous streams."""
        self._repeats: dict[Hashable, int] = {}
        self._announced: dict[Hashable, int] = {}
        """Numbers that the venue has named and not sent yet."""
        self._open: dict[Hashable, list[OpenGap]] = {}
        self._changes: list[OpenGap] = []

    def last(self, stream: Hashable) -> int | None:
        """Returns the last number of a stream; ``None`` before its first message."""
        return self._last.get(stream)

    def is_missing(self, stream: Hashable, number: int) -> bool:
        """Whether a number of a contiguous stream is in a gap."""
        return any(gap.first <= number <= gap.last for gap in self._open.get(stream, ())) and bool(
            self._seen[stream].missing(number, number)
        )

    def take_changes(self) -> list[OpenGap]:
        """Returns the gaps that were opened or closed since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def take(self, stream: Hashable, number: int, time_ns: int = 0) -> int | None:
        """Returns how many numbers are missing before this one; ``None`` if it is a duplicate.

        A number that is not above the highest one is a duplicate, except in a contiguous stream if it was
        not taken yet. After :data:`RENUMBERED_AFTER` duplicates in a row the stream continues from the new
        numbers; otherwise a venue that restarts its numbering would stay silent. Streams that are not
        contiguous have no missing numbers. ``time_ns`` is the time of the message.
        """
        last = self._last.get(stream)
        if last is not None and number <= last:
            if self._is_late(stream, number):
                self._counts["late"] += 1
                self._close(stream, number)
                return 0
            repeats = self._repeats.get(stream, 0) + 1
            if repeats < RENUMBERED_AFTER:
                self._repeats[stream] = repeats
                self._counts["duplicates"] += 1
                return None
            self._counts["renumbered"] += 1
            self._seen.pop(stream, None)
            self._open.pop(stream, None)
            last = None
        self._repeats.pop(stream, None)
        self._last[stream] = number
        if not self._contiguous:
            return 0
        self._add(stream, number)
        missed = number - last - 1 if last is not None else 0
        if missed:
            self._miss(stream, number - missed, number - 1, time_ns, is_announced=False)
        self._last_ns[stream] = time_ns
        return missed

    def announce(self, stream: Hashable, number: int, time_ns: int) -> int:
        """Returns how many numbers are missing because a heartbeat named a newer one than was received.

        A message may overtake the heartbeat that names it, so a number is missing only if it has not arrived
        by the next heartbeat. A stream of which no number is known yet misses none.
        """
        last = self._last.get(stream)
        if last is None:
            return 0
        due = self._announced.get(stream, last)
        self._announced[stream] = number
        if not last < due <= number:
            return 0
        self._last[stream] = due
        self._miss(stream, last + 1, due, time_ns, is_announced=True)
        return due - last

    def _miss(self, stream: Hashable, first: int, last: int, time_ns: int, *, is_announced: bool) -> None:
        missing = last - first + 1
        self._counts["gaps"] += 1
        self._counts["missed"] += missing
        gap = OpenGap(first, last, missing, self._last_ns.get(stream, 0), time_ns, is_announced)
        self._changes.append(copy(gap))
        open_gaps = self._open.setdefault(stream, [])
        open_gaps.append(gap)
        if len(open_gaps) > _MOST_GAPS:
            del open_gaps[0]

    def _close(self, stream: Hashable, number: int) -> None:
        open_gaps = self._open.get(stream, [])
        for gap in open_gaps:
            if gap.first <= number <= gap.last:
                gap.missing -= 1
                if not gap.missing:
                    open_gaps.remove(gap)
                    self._changes.append(gap)
                return

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
