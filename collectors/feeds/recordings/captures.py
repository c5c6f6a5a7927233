"""Recordings of markets, read line by line: captured WebSocket streams, and CSV quotes and trades.

A capture (as cryptofeed writes it) has one line per message: ``T: message`` for one received at ``T``
(seconds), ``URL <-> T`` for a connection, ``URL <- T: message`` for what the client sent. The venue is told
by the URL. For CSV see :mod:`collectors.feeds.recordings.csv`. Reading takes constant memory; lines that
are no message are counted and skipped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from collectors.feeds.binance.messages import BinanceDecoder
from collectors.feeds.coinbase.messages import CoinbaseDecoder
from collectors.feeds.kraken.messages import KrakenDecoder
from collectors.feeds.messages import MalformedMessageError, VenueDecoder
from collectors.feeds.recordings.csv import CsvRows, csv_rows
from collectors.feeds.recordings.errors import UnknownRecordingError
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent

MOST_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is malformed. Snapshots of whole books have some megabytes."""

_CONNECTION = re.compile(rb"(wss?://\S+) <-> [0-9.]+\s*")
_SENT = re.compile(rb"wss?://\S+ <- [0-9.]+: ")
_MESSAGE = re.compile(rb"([0-9]{1,10})(?:\.([0-9]{1,12}))?: ")
_DECODERS: dict[str, Callable[[], VenueDecoder]] = {
    "coinbase.com": CoinbaseDecoder,
    "kraken.com": KrakenDecoder,
    "binance.com": BinanceDecoder,
    "binance.us": BinanceDecoder,
}


class Record(Struct, frozen=True, gc=False):
    """What was received at one moment."""

    received_ns: int
    """When the recording machine received it, by its clock; for CSV the venue's time."""
    events: list[AnyEvent]
    """Under their own times."""
    offset: int
    """Bytes of the file read up to and with this record."""


class Recording(Protocol):
    """An opened recording."""

    venue: str
    total_bytes: int

    @property
    def counts(self) -> dict[str, int]:
        """What happened so far: ``messages``, ``malformed`` and what the venue's decoder counts."""
        ...

    def records(self) -> Iterator[Record]:
        """What was received, in the order of the file, from its beginning. Call it once."""
        ...


class Capture:
    """A captured WebSocket stream."""

    def __init__(self, path: Path, decoder: VenueDecoder) -> None:
        """``decoder`` is that of the venue which was captured."""
        self.venue = decoder.venue
        self.total_bytes = path.stat().st_size
        self._path = path
        self._decoder = decoder
        self._malformed = 0

    @property
    def counts(self) -> dict[str, int]:
        """The decoder's counts and the malformed lines."""
        return {**self._decoder.counts, "malformed": self._malformed}

    def records(self) -> Iterator[Record]:
        """What was received, message by message; messages without an event have empty ones."""
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
        """``rows`` knows the columns."""
        self.venue = rows.venue
        self.total_bytes = path.stat().st_size
        self._path = path
        self._rows = rows

    @property
    def counts(self) -> dict[str, int]:
        """The rows' counts."""
        return dict(self._rows.counts)

    def records(self) -> Iterator[Record]:
        """One record per row; it was received when it happened."""
        offset = 0
        with self._path.open("rb") as stream:
            for number, (line, read) in enumerate(_lines(stream)):
                offset += read
                event = self._rows.event(line, is_first=number == 0)
                if event is not None:
                    yield Record(event.time_ns, [event], offset)


def open_recording(path: Path, venue: str | None = None, instrument: str | None = None) -> Recording:
    """The recording in a file, whatever its format.

    ``venue`` and ``instrument`` are for CSV, which names neither; without them the file's name is asked.
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
    raise UnknownRecordingError(path, f"a capture of {host}, which has no decoder")


def recorded_events(
    path: Path,
    venue: str | None = None,
    instrument: str | None = None,
) -> Iterator[tuple[int, list[AnyEvent]]]:
    """The events of a recording under its own times, each with when it was received (ns UTC).

    For importing history. Raises :class:`~collectors.feeds.recordings.errors.RecordingError` or ``OSError``.
    """
    for record in open_recording(path, venue, instrument).records():
        if record.events:
            yield record.received_ns, record.events


def import_source(path: Path, venue: str | None = None, instrument: str | None = None) -> tuple[str, int]:
    """Source and epoch under which a recording is imported.

    Both follow from the content (and from what it is taken for), so the same file under another name
    gets the same identity, and importing it twice stores nothing twice. The epoch is when its first event
    was received. Raises what :func:`recorded_events` raises, and
    :class:`~collectors.feeds.recordings.errors.UnknownRecordingError` for a recording without any event.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    if venue or instrument:
        digest.update(f"\0{venue or ''}\0{instrument or ''}".encode())
    first = next(recorded_events(path, venue, instrument), None)
    if first is None:
        raise UnknownRecordingError(path, "no line of it is an event")
    return f"import-{digest.hexdigest()[:24]}", first[0]


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes | None, int]]:
    """Lines and their lengths; ``None`` for one that is too long to be read."""
    while line := stream.readline(MOST_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < MOST_LINE_BYTES:
            yield line, len(line)
            continue
        read = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(MOST_LINE_BYTES)):
            read += len(line)
        yield None, read
