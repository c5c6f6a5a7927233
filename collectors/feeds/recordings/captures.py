"""Recordings of markets, read line by line: WebSocket captures, and CSV quotes and trades.

A capture (as cryptofeed writes it) has one line per message: ``T: message`` for a message received at ``T``
(seconds), ``URL <-> T`` for a connection, ``URL <- T: message`` for a message that the client sent. The URL
determines the venue. For CSV see :mod:`collectors.feeds.recordings.csv`. Reading takes constant memory;
malformed lines are counted and skipped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from collectors.feeds.binance.messages import BinanceDecoder
from collectors.feeds.coinbase.decoder import CoinbaseDecoder
from collectors.feeds.kraken.messages import KrakenDecoder
from collectors.feeds.messages import MalformedMessageError, VenueDecoder
from collectors.feeds.recordings.csv import CsvRows, csv_rows
from collectors.feeds.recordings.errors import UnknownRecordingError
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent

MOST_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is malformed. Snapshots of whole order books take some megabytes."""

_CONNECTION = re.compile(rb"(wss?://\S+) <-> [0-9.]+\s*")
_SENT = re.compile(rb"wss?://\S+ <- [0-9.]+: ")
_MESSAGE = re.compile(rb"([0-9]{1,10})(?:\.([0-9]{1,12}))?: ")
_DECODERS: dict[str, Callable[[], VenueDecoder[Any]]] = {
    "coinbase.com": CoinbaseDecoder,
    "kraken.com": KrakenDecoder,
    "binance.com": BinanceDecoder,
    "binance.us": BinanceDecoder,
}


class Record(Struct, frozen=True, gc=False):
    """The events of one received message or row."""

    received_ns: int
    """Time of receipt by the recording machine's clock; for CSV the venue's time."""
    events: list[AnyEvent]
    """With their original times."""
    offset: int
    """Bytes of the file up to the end of this record."""


class Capture:
    """A WebSocket capture, decoded by the decoder of its venue."""

    def __init__(self, path: Path, decoder: VenueDecoder[Any]) -> None:
        self.venue = decoder.venue
        self.total_bytes = path.stat().st_size
        self._path = path
        self._decoder = decoder
        self._malformed = 0

    @property
    def counts(self) -> dict[str, int]:
        """Occurrences so far: the counts of the decoder, and malformed lines."""
        return {**self._decoder.counts, "malformed": self._malformed}

    def records(self) -> Iterator[Record]:
        """Iterates over the messages, with or without events. Call it once."""
        offset = 0
        with self._path.open("rb") as stream:
            for line, read in _lines(stream):
                offset += read
                record = self._record(line, offset)
                if record is not None:
                    yield record

    def _record(self, line: bytes | None, offset: int) -> Record | None:
        if line is None:
            self._malformed += 1
            return None
        if not line.strip() or _SENT.match(line):
            return None
        if _CONNECTION.fullmatch(line):
            self._decoder.reconnected()
            return None
        found = _MESSAGE.match(line)
        if found is None:
            self._malformed += 1
            return None
        fraction = (found[2] or b"")[:9].ljust(9, b"0")
        received_ns = int(found[1]) * NS_PER_SECOND + int(fraction)
        try:
            events = self._decoder.decode(line[found.end() :], received_ns)
        except MalformedMessageError:
            self._malformed += 1
            return None
        return Record(received_ns, events, offset)


class CsvRecording:
    """Quotes or trades in a CSV file."""

    def __init__(self, path: Path, rows: CsvRows) -> None:
        self.venue = rows.venue
        self.total_bytes = path.stat().st_size
        self._path = path
        self._rows = rows

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the row decoder."""
        return dict(self._rows.counts)

    def records(self) -> Iterator[Record]:
        """Iterates over the rows, one record each. Call it once."""
        offset = 0
        with self._path.open("rb") as stream:
            for number, (line, read) in enumerate(_lines(stream)):
                offset += read
                event = self._rows.event(line, is_first=number == 0)
                if event is not None:
                    yield Record(event.time_ns, [event], offset)


Recording: TypeAlias = Capture | CsvRecording


def open_recording(path: Path, venue: str | None = None, instrument: str | None = None) -> Recording:
    """Opens a recording of any format.

    ``venue`` and ``instrument`` are for CSV, which names neither; by default they are derived from the
    columns and the file name.
    Raises :class:`~collectors.feeds.recordings.errors.RecordingError` or ``OSError``.
    """
    with path.open("rb") as stream:
        first = next((line for line, _ in _lines(stream) if line is None or line.strip()), b"") or b""
    connection = _CONNECTION.fullmatch(first)
    if connection is None:
        return CsvRecording(path, csv_rows(path, first, venue, instrument))
    host = urlsplit(connection[1].decode("ascii", "replace")).hostname or ""
    for domain, decoder in _DECODERS.items():
        if host == domain or host.endswith("." + domain):
            return Capture(path, decoder())
    raise UnknownRecordingError(path, f"a capture of {host}, a venue without a decoder")


def recorded_events(
    path: Path,
    venue: str | None = None,
    instrument: str | None = None,
) -> Iterator[tuple[int, list[AnyEvent]]]:
    """Iterates over the events of a recording with their original times, and the time of receipt (ns UTC).

    Used by the import. Raises :class:`~collectors.feeds.recordings.errors.RecordingError` or ``OSError``.
    """
    for record in open_recording(path, venue, instrument).records():
        if record.events:
            yield record.received_ns, record.events


def import_source(path: Path, venue: str | None = None, instrument: str | None = None) -> tuple[str, int]:
    """Returns the source and the epoch under which a recording is imported.

    Both are derived from the content (and from venue and instrument, if given): importing a file twice,
    even under another name, stores it once. The epoch is the time of receipt of the first event. Raises the
    errors of :func:`recorded_events`, and
    :class:`~collectors.feeds.recordings.errors.UnknownRecordingError` for a recording without any event.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    if venue or instrument:
        digest.update(f"\0{venue or ''}\0{instrument or ''}".encode())
    first = next(recorded_events(path, venue, instrument), None)
    if first is None:
        raise UnknownRecordingError(path, "it contains no event")
    return f"import-{digest.hexdigest()[:24]}", first[0]


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes | None, int]]:
    """Iterates over the lines and their lengths; ``None`` for a line that is too long."""
    while line := stream.readline(MOST_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < MOST_LINE_BYTES:
            yield line, len(line)
            continue
        read = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(MOST_LINE_BYTES)):
            read += len(line)
        yield None, read
