"""CSV recordings of quotes and trades. The header, or without one the first row, determines the columns.

* ``YYYYMMDD HHMMSSmmm,bid,ask,volume`` without a header (HistData): quotes
* ``timestamp,bid,ask`` with a header, also ``bid_size`` and ``ask_size``: quotes
* ``timestamp,price,quantity`` with a header, also ``trade_id`` and ``buyer_maker``: trades

Times without a zone are UTC. CSV has no times of receipt; each row counts as received at its own time.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.messages import Numbering
from collectors.feeds.recordings.errors import BarsError, RecordingError, UnknownRecordingError
from decahertz.clock import TimeFormatError, parse_time
from decahertz.event import Name, Number, Quote, Side, Size, Tick

_HISTDATA = re.compile(r"(\d{4})(\d{2})(\d{2}) (\d{2})(\d{2})(\d{2})(\d{3})")
_ZONE = re.compile(r"(?:[Zz]|[+-]\d{2}:?\d{2})$")
_HISTDATA_COLUMNS = ("timestamp", "bid", "ask", "volume")
_BARS = frozenset({"open", "high", "low", "close"})
_LONGEST_ROW = 4096
# fmt: off
_CURRENCIES = frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNH", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "INR", "JPY",
    "KRW", "MXN", "NOK", "NZD", "PLN", "RUB", "SEK", "SGD", "THB", "TRY", "TWD", "USD", "XAG", "XAU", "ZAR",
})
# fmt: on

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]


class _QuoteRow(Struct, frozen=True):
    timestamp: str
    bid: Number
    ask: Number
    bid_size: Size | None = None
    ask_size: Size | None = None


class _TradeRow(Struct, frozen=True):
    timestamp: str
    price: Number
    quantity: Size
    trade_id: _Id | None = None
    buyer_maker: bool | None = None


class CsvRows:
    """Decodes the rows of one file into events."""

    def __init__(self, columns: tuple[str, ...], venue: str, instrument: str, *, has_header: bool) -> None:
        self.venue = venue
        self.instrument = instrument
        self.counts: Counter[str] = Counter()
        self._columns = columns
        self._row_type: type[_QuoteRow | _TradeRow] = _TradeRow if "price" in columns else _QuoteRow
        self._has_header = has_header
        self._trades = Numbering(self.counts, contiguous=True)

    def event(self, line: bytes | None, *, is_first: bool) -> Quote | Tick | None:
        """Returns the event of one line; ``None`` for the header, an empty line or a malformed one."""
        if (is_first and self._has_header) or (line is not None and not line.strip()):
            return None
        try:
            event = self._event(_cells(line))
        except (TimeFormatError, UnicodeError, ValueError, csv.Error):
            self.counts["malformed"] += 1
            return None
        self.counts["messages"] += 1
        return event

    def _event(self, cells: list[str]) -> Quote | Tick | None:
        given = {name: cell for name, cell in zip(self._columns, cells, strict=True) if cell}
        row = msgspec.convert(given, self._row_type, strict=False)
        time_ns = _time_ns(row.timestamp)
        return self._quote(row, time_ns) if isinstance(row, _QuoteRow) else self._tick(row, time_ns)

    def _quote(self, row: _QuoteRow, time_ns: int) -> Quote:
        return Quote(
            time_ns=time_ns,
            venue=self.venue,
            instrument=self.instrument,
            bid=row.bid,
            ask=row.ask,
            bid_size=row.bid_size,
            ask_size=row.ask_size,
        )

    def _tick(self, row: _TradeRow, time_ns: int) -> Tick | None:
        missed = 0 if row.trade_id is None else self._trades.take(self.instrument, row.trade_id)
        if missed is None:
            return None
        return Tick(
            time_ns=time_ns,
            venue=self.venue,
            instrument=self.instrument,
            sequence=row.trade_id,
            missed=missed,
            price=row.price,
            size=row.quantity,
            side=None if row.buyer_maker is None else Side.SELL if row.buyer_maker else Side.BUY,
            trade_id=None if row.trade_id is None else str(row.trade_id),
        )


def csv_rows(path: Path, first_line: bytes, venue: str | None, instrument: str | None) -> CsvRows:
    """Returns the decoder of a file that begins with ``first_line``.

    Raises :class:`BarsError`, :class:`UnknownRecordingError`, or :class:`RecordingError` when no instrument
    is given and none can be derived from the file name.
    """
    columns: tuple[str, ...]
    try:
        cells = tuple(cell.strip().lower() for cell in _cells(first_line))
    except (UnicodeError, ValueError, csv.Error):
        cells = ()
    if len(cells) == len(_HISTDATA_COLUMNS) and _HISTDATA.fullmatch(cells[0]):
        columns, has_header = _HISTDATA_COLUMNS, False
    elif set(cells) >= _BARS:
        raise BarsError(path, "it holds bars; only quotes and trades can be replayed or imported")
    elif {"timestamp", "bid", "ask"} <= set(cells) or {"timestamp", "price", "quantity"} <= set(cells):
        columns, has_header = cells, True
    else:
        raise UnknownRecordingError(path, "neither a WebSocket capture nor CSV quotes or trades")
    guess = instrument or instrument_of(path)
    if guess is None:
        raise RecordingError(path, "no instrument can be derived from the file name; set one")
    default_venue = "binance" if "buyer_maker" in columns else "fx" if "/" in guess else "csv"
    return CsvRows(columns, venue or default_venue, _name(path, guess), has_header=has_header)


def instrument_of(path: Path) -> str | None:
    """Returns the instrument that a file name begins with: ``eurusd-quotes.csv`` → ``EUR/USD``.

    Six letters that form two currencies get a slash; other names are only converted to upper case.
    """
    word = re.split(r"[-_. ]", path.name, maxsplit=1)[0].upper()
    if word[:3] in _CURRENCIES and word[3:] in _CURRENCIES:
        return f"{word[:3]}/{word[3:]}"
    return word or None


def _name(path: Path, instrument: str) -> str:
    try:
        return msgspec.convert(instrument, Name)
    except msgspec.ValidationError as error:
        raise RecordingError(path, f"{instrument!r} is not a valid instrument name: {error}") from error


def _cells(line: bytes | None) -> list[str]:
    if line is None or len(line) > _LONGEST_ROW:
        raise ValueError("the row is too long")
    return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")], strict=True), [])


def _time_ns(text: str) -> int:
    found = _HISTDATA.fullmatch(text)
    if found:
        year, month, day, hour, minute, second, milli = found.groups()
        text = f"{year}-{month}-{day}T{hour}:{minute}:{second}.{milli}Z"
    elif not _ZONE.search(text) and not text.isdecimal():
        text += "Z"
    time_ns = parse_time(text)
    if time_ns <= 0:
        raise ValueError(f"time {text!r} is before 1970")
    return time_ns
