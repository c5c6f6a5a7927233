"""CSV recordings of quotes and trades. The header, or without one the first row, determines the columns.

* ``YYYYMMDD HHMMSSmmm,bid,ask,volume`` without a header (HistData): quotes
* ``timestamp,bid,ask`` with a header, also ``bid_size`` and ``ask_size``: quotes
* ``timestamp,price,quantity`` with a header, also ``trade_id`` and ``side`` or ``buyer_maker``: trades

Columns ``symbol`` and ``venue`` name the instrument and the venue of each row; without them the name of the
file does. CSV has no times of receipt; each row counts as received at its own time.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import tzinfo
from pathlib import Path

import msgspec

from collectors.feeds.recordings.csv_columns import Columns, cells_of, columns_of
from collectors.feeds.recordings.errors import RecordingError, RowError
from collectors.feeds.recordings.times import time_of
from decahertz.event import Name, Quote, Side, Tick

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_COINM_FILE = re.compile(r"([A-Z0-9]+USD_(?:PERP|[0-9]{6}))-(?:aggTrades|trades|bookTicker)")
_LARGEST = 1e300
_LONGEST_ID = 256
_LARGEST_SEQUENCE = 2**62
_SIDES = {
    **dict.fromkeys(("buy", "b", "bid"), Side.BUY),
    **dict.fromkeys(("sell", "s", "ask"), Side.SELL),
    **dict.fromkeys(("", "unknown"), None),
}
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
# fmt: off
_CURRENCIES = frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNH", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "INR", "JPY",
    "KRW", "MXN", "NOK", "NZD", "PLN", "RUB", "SEK", "SGD", "THB", "TRY", "TWD", "USD", "XAG", "XAU", "ZAR",
})
# fmt: on


class CsvRows:
    """Decodes the rows of one file into events."""

    def __init__(self, columns: Columns, venue: _Named, instrument: _Named, zone: tzinfo | None) -> None:
        self.columns = columns
        self.counts: Counter[str] = Counter()
        self._venue = venue
        self._instrument = instrument
        self._zone = zone
        self._highest: dict[str, int | None] = {}
        """The highest trade id of each instrument; ``None`` once the ids were not ascending."""

    @property
    def venue(self) -> str:
        """The venue of rows that name none."""
        return self._venue.default

    @property
    def reading(self) -> str:
        """Interpretation of the file in one line."""
        kind = "trades" if self.columns.has_trades else "quotes"
        text = f"{kind}, instrument {self._instrument.origin}, venue {self._venue.origin}"
        unused = ",".join(self.columns.unused)
        return f"{text}; columns not used: {unused}" if unused else text

    def event(self, line: bytes | None) -> Quote | Tick:
        """Returns the event of a row.

        Raises :class:`~collectors.feeds.recordings.errors.RowError`.
        """
        try:
            event = self._event(cells_of(line, self.columns.delimiter))
        except (UnicodeError, ValueError, csv.Error) as error:
            self.counts["malformed"] += 1
            raise error if isinstance(error, RowError) else RowError(str(error)) from error
        self.counts["messages"] += 1
        return event

    def _event(self, cells: list[str]) -> Quote | Tick:
        if len(cells) != self.columns.cells:
            raise RowError(f"{len(cells)} cells instead of {self.columns.cells}")
        row = {name: cells[place] for name, place in self.columns.places.items()}
        time_ns = time_of(row["timestamp"], self._zone)
        venue, instrument = self._venue.of(row), self._instrument.of(row)
        if self.columns.has_trades:
            return self._tick(row, time_ns, venue, instrument)
        bid, ask = _optional(row, "bid"), _optional(row, "ask")
        if bid is None and ask is None:
            raise RowError("bid and ask are empty")
        return Quote(
            time_ns=time_ns,
            venue=venue,
            instrument=instrument,
            bid=bid,
            ask=ask,
            bid_size=_size(row, "bid_size"),
            ask_size=_size(row, "ask_size"),
        )

    def _tick(self, row: dict[str, str], time_ns: int, venue: str, instrument: str) -> Tick:
        price, size = _optional(row, "price"), _size(row, "quantity")
        if price is None or size is None:
            raise RowError("price is empty" if price is None else "quantity is empty")
        trade_id = row.get("trade_id") or None
        if trade_id and (len(trade_id) > _LONGEST_ID or "\0" in trade_id):
            raise RowError(f"trade_id {trade_id[:64]!r} is too long or holds a zero byte")
        number = int(trade_id) if trade_id and trade_id.isdecimal() and len(trade_id) < 20 else None  # noqa: PLR2004
        if number is not None and number > _LARGEST_SEQUENCE:
            number = None
        return Tick(
            time_ns=time_ns,
            venue=venue,
            instrument=instrument,
            sequence=number,
            missed=0 if number is None else self._missed(instrument, number),
            price=price,
            size=size,
            side=_side(row),
            trade_id=trade_id,
        )

    def _missed(self, instrument: str, number: int) -> int:
        """Returns how many ids are missing before this one, as long as the ids ascend."""
        highest = self._highest.get(instrument, number)
        if highest is None or number < highest:
            self._highest[instrument] = None
            return 0
        self._highest[instrument] = number
        return max(number - highest - 1, 0)


class _Named:
    """The venue or the instrument of the rows: an option, a column, or a default for all of them."""

    def __init__(self, path: Path, what: str, option: str | None, column: str | None, default: str) -> None:
        self.default = _name(path, what, option or default)
        self._what = what
        self._option = option
        self._column = column
        self._first: str | None = None
        """With an option: the one value that the column may have."""
        self._known: dict[str, str] = {}

    @property
    def origin(self) -> str:
        """Where the name comes from, for people."""
        if self._option:
            return f"{self.default} (as asked for)"
        return f"from the column {self._column}" if self._column else self.default

    def of(self, row: dict[str, str]) -> str:
        """Returns the name for a row. Raises :class:`RowError`."""
        if self._column is None:
            return self.default
        text = row[self._what]
        if self._option:
            if self._first is None:
                self._first = text
            if text != self._first:
                raise RowError(
                    f"{self._column} is {text[:64]!r}, and {self._first[:64]!r} before:"
                    f" --{self._what} names only one"
                )
            return self.default
        known = self._known.get(text)
        if known is None:
            try:
                known = self._known[text] = msgspec.convert(text, Name)
            except msgspec.ValidationError as error:
                raise RowError(f"{self._column} {text[:64]!r} is not a valid name: {error}") from error
        return known


def csv_rows(
    path: Path, first_line: bytes, venue: str | None, instrument: str | None, zone: tzinfo | None = None
) -> CsvRows:
    """Returns the decoder of a file that begins with ``first_line``.

    Raises :class:`~collectors.feeds.recordings.errors.RecordingError`, also when no instrument is given and
    neither a column nor the file name tells one.
    """
    columns = columns_of(path, first_line)
    guess = instrument or instrument_of(path)
    if guess is None and "instrument" not in columns.places:
        raise RecordingError(path, "no instrument can be derived from the file name; set one")
    default_venue = "fx" if "/" in (guess or "") else "csv"
    if "buyer_maker" in columns.places:
        default_venue = _binance_market(path, columns)
    return CsvRows(
        columns,
        _Named(path, "venue", venue, columns.names.get("venue"), default_venue),
        _Named(path, "instrument", instrument, columns.names.get("instrument"), guess or "-"),
        zone,
    )


def _binance_market(path: Path, columns: Columns) -> str:
    """The market of Binance that a file is of: those of data.binance.vision differ in their columns."""
    if _COINM_FILE.match(path.name) or "base_qty" in columns.unused:
        return "binance-coinm"
    is_future = "quote_qty" in columns.unused or columns.names["timestamp"] == "transact_time"
    return "binance-usdm" if is_future else "binance"


def instrument_of(path: Path) -> str | None:
    """Returns the instrument that a file name tells: ``eurusd-quotes.csv`` → ``EUR/USD``.

    A word of six letters that form two currencies gets a slash; otherwise it is the first word, in upper
    case. Files of Binance's COIN-M futures begin with the whole symbol: ``BTCUSD_PERP-aggTrades-…``.
    """
    if found := _COINM_FILE.match(path.name):
        return found[1]
    words = [word for word in re.split(r"[-_. ]", path.name.upper()) if word]
    for word in words:
        if word[:3] in _CURRENCIES and word[3:] in _CURRENCIES:
            return f"{word[:3]}/{word[3:]}"
    return words[0] if words and not path.name.startswith(("-", "_", ".", " ")) else None


def _name(path: Path, what: str, text: str) -> str:
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError as error:
        raise RecordingError(path, f"{text!r} is not a valid {what} name: {error}") from error


def _optional(row: dict[str, str], name: str) -> float | None:
    """Returns a number; ``None`` for an empty cell or without the column. Raises :class:`RowError`."""
    text = row.get(name)
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise RowError(f"{name} {text[:64]!r} is not a number")
    number = float(text)
    if not -_LARGEST < number < _LARGEST:
        raise RowError(f"{name} {text[:64]!r} is too large")
    return number


def _size(row: dict[str, str], name: str) -> float | None:
    size = _optional(row, name)
    if size is not None and size < 0:
        raise RowError(f"{name} {row[name]} is negative")
    return size


def _side(row: dict[str, str]) -> Side | None:
    side = row.get("side", "").lower()
    if side not in _SIDES:
        raise RowError(f"side {side[:64]!r} is neither buy nor sell")
    if _SIDES[side] is not None or "buyer_maker" not in row:
        return _SIDES[side]
    flag = row["buyer_maker"].lower()
    if not flag:
        return None
    if flag not in _FLAGS:
        raise RowError(f"buyer_maker {flag[:64]!r} is neither true nor false")
    return Side.SELL if _FLAGS[flag] else Side.BUY
