"""Recordings of markets, read line by line: WebSocket captures, and CSV quotes and trades.

A capture (as cryptofeed writes it) has one line per message: ``T: message`` for a message received at ``T``
(seconds), ``URL <-> T`` for a connection, ``URL <- T: message`` for a message that the client sent. The URL
determines the venue. For CSV see :mod:`collectors.feeds.recordings.csv`. Files may be compressed with gzip.
Reading takes constant memory. Every line gives a record, is refused with a reason, or is counted by what it
is instead.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from collectors.feeds.binance.messages import decoder_of as binance_decoder
from collectors.feeds.coinbase.decoder import CoinbaseDecoder
from collectors.feeds.kraken.messages import KrakenDecoder
from collectors.feeds.messages import MalformedMessageError, VenueDecoder
from collectors.feeds.recordings.csv import CsvRows, csv_rows
from collectors.feeds.recordings.errors import RecordingError, RowError, UnknownRecordingError
from collectors.feeds.recordings.lines import LineReader
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent

_CONNECTION = re.compile(rb"(wss?://\S+) <-> [0-9.]+\s*")
_SENT = re.compile(rb"wss?://\S+ <- [0-9.]+: ")
_MESSAGE = re.compile(rb"([0-9]{1,10})(?:\.([0-9]{1,12}))?: ")
_DECODERS: dict[str, Callable[[str], VenueDecoder[Any]]] = {
    "coinbase.com": lambda _: CoinbaseDecoder(),
    "kraken.com": lambda _: KrakenDecoder(),
    "binance.com": binance_decoder,
    "binance.us": binance_decoder,
}
"""By domain: makes the decoder for a host of it."""


class Record(Struct, frozen=True, gc=False):
    """The events of one received message or row."""

    received_ns: int
    """Time of receipt by the recording machine's clock; for CSV the venue's time."""
    events: list[AnyEvent]
    """With their original times."""
    offset: int
    """Bytes of the file up to the end of this record."""
    line: int
    """Number of the line, from 1."""
    content: bytes = b""
    """The line."""
    is_repeated: bool = False
    """Whether the venue had sent the same event before."""


class RefusedLine(Struct, frozen=True):
    """A line that is not understood."""

    line: int
    """Number of the line, from 1."""
    reason: str
    content: bytes
    """The line; empty if it was too long to be read."""


class Recording(ABC):
    """A recording that is read once, line by line."""

    venue: str
    """The venue; of CSV whose rows name it, the venue of rows that do not."""
    reading: str
    """Interpretation of the file in one line: kind of events, instrument, venue."""

    def __init__(self, path: Path) -> None:
        self.total_bytes = path.stat().st_size
        self.lines = 0
        """Lines read so far."""
        self.without_events: Counter[str] = Counter()
        """Lines that hold no event and are not refused, by what they are."""
        self.on_refused: Callable[[RefusedLine], None] = _ignore
        """Called for every line that is not understood."""
        self._path = path

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Occurrences so far, by name."""

    def records(self) -> Iterator[Record]:
        """Iterates over the messages or rows, with or without events. Call it once.

        Raises :class:`~collectors.feeds.recordings.errors.RecordingError` where compressed data is damaged.
        """
        with LineReader(self._path) as reader:
            for line in reader:
                self.lines += 1
                try:
                    record = self._record(line, reader.offset)
                except (RowError, MalformedMessageError) as error:
                    self.on_refused(RefusedLine(self.lines, str(error), line or b""))
                    continue
                if record is not None:
                    yield record

    @abstractmethod
    def _record(self, line: bytes | None, offset: int) -> Record | None:
        """Returns what a line holds, and counts a line without a record; ``None`` for a line too long."""


class Capture(Recording):
    """A WebSocket capture, decoded by the decoder of its venue."""

    def __init__(self, path: Path, decoder: VenueDecoder[Any]) -> None:
        super().__init__(path)
        self.venue = decoder.venue
        self.reading = f"capture of {decoder.venue}"
        self._decoder = decoder
        self._malformed = 0

    @property
    def counts(self) -> dict[str, int]:
        """Occurrences so far: the counts of the decoder, and malformed lines."""
        return {**self._decoder.counts, "malformed": self._malformed}

    def _record(self, line: bytes | None, offset: int) -> Record | None:
        try:
            return self._decoded(line, offset)
        except MalformedMessageError:
            self._malformed += 1
            raise

    def _decoded(self, line: bytes | None, offset: int) -> Record | None:
        if line is None:
            raise MalformedMessageError("the line is too long")
        if not line.strip():
            self.without_events["empty"] += 1
            return None
        if _SENT.match(line):
            self.without_events["sent"] += 1
            return None
        if _CONNECTION.fullmatch(line):
            self.without_events["connections"] += 1
            self._decoder.reconnected()
            return None
        found = _MESSAGE.match(line)
        if found is None:
            raise MalformedMessageError("neither a message with its time nor a connection")
        fraction = (found[2] or b"")[:9].ljust(9, b"0")
        received_ns = int(found[1]) * NS_PER_SECOND + int(fraction)
        repeats = self._decoder.counts["duplicates"]
        events = self._decoder.decode(line[found.end() :], received_ns)
        is_repeated = not events and self._decoder.counts["duplicates"] > repeats
        return Record(received_ns, events, offset, self.lines, line, is_repeated)


class CsvRecording(Recording):
    """Quotes or trades in a CSV file."""

    def __init__(self, path: Path, rows: CsvRows) -> None:
        super().__init__(path)
        self.venue = rows.venue
        self.reading = rows.reading
        self._rows = rows

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the row decoder."""
        return dict(self._rows.counts)

    def _record(self, line: bytes | None, offset: int) -> Record | None:
        if line is not None and not line.strip():
            self.without_events["empty"] += 1
            return None
        if self._rows.columns.has_header and not self.without_events["header"]:
            self.without_events["header"] += 1
            return None
        event = self._rows.event(line)
        return Record(event.time_ns, [event], offset, self.lines, line or b"")


def open_recording(
    path: Path, venue: str | None = None, instrument: str | None = None, zone: tzinfo | None = None
) -> Recording:
    """Opens a recording of any format.

    ``venue``, ``instrument`` and ``zone`` are for CSV: by default they are derived from the columns and the
    file name. ``zone`` is that of times without one.
    Raises :class:`~collectors.feeds.recordings.errors.RecordingError` or ``OSError``.
    """
    with LineReader(path) as reader:
        first = next((line for line in reader if line is None or line.strip()), b"") or b""
    connection = _CONNECTION.fullmatch(first)
    if connection is None:
        return CsvRecording(path, csv_rows(path, first, venue, instrument, zone))
    options = {"venue": venue, "instrument": instrument, "timezone": zone}
    given = ", ".join(name for name, value in options.items() if value)
    if given:
        raise RecordingError(path, f"a capture names its venue, instruments and times itself; omit {given}")
    host = urlsplit(connection[1].decode("ascii", "replace")).hostname or ""
    for domain, decoder in _DECODERS.items():
        if host == domain or host.endswith("." + domain):
            return Capture(path, decoder(host))
    known = ", ".join(_DECODERS)
    raise UnknownRecordingError(path, f"a capture of {host}, a venue without a decoder (there are {known})")


def recorded_events(
    path: Path,
    venue: str | None = None,
    instrument: str | None = None,
) -> Iterator[tuple[int, list[AnyEvent]]]:
    """Iterates over the events of a recording with their original times, and the time of receipt (ns UTC).

    Raises :class:`~collectors.feeds.recordings.errors.RecordingError` or ``OSError``.
    """
    for record in open_recording(path, venue, instrument).records():
        if record.events:
            yield record.received_ns, record.events


def _ignore(_: RefusedLine) -> None:
    pass
