"""The columns of CSV files: their names in the files of venues and vendors, and what they make of a file."""

from __future__ import annotations

import csv
from pathlib import Path

from msgspec import Struct

from collectors.feeds.recordings.errors import BarsError, UnknownRecordingError
from collectors.feeds.recordings.times import HISTDATA

_LONGEST_ROW = 4096
_HISTDATA_COLUMNS = ("timestamp", "bid", "ask", "volume")
_BARS = frozenset({"open", "high", "low", "close"})
_DELIMITERS = (",", ";", "\t")
# The first name of a column that a file has is used.
_COMMON = {
    "timestamp": ("timestamp", "time_ns", "time", "transact_time", "datetime", "ts"),
    "venue": ("venue", "exchange"),
    "instrument": ("instrument", "symbol", "product_id", "pair"),
}
_TRADE = _COMMON | {
    "price": ("price",),
    "quantity": ("quantity", "qty", "size", "amount"),
    "trade_id": ("trade_id", "id", "agg_trade_id"),
    "side": ("side", "taker_side", "aggressor_side"),
    "buyer_maker": ("buyer_maker", "is_buyer_maker", "isbuyermaker"),
}
_QUOTE = _COMMON | {
    "bid": ("bid", "bid_price"),
    "ask": ("ask", "ask_price"),
    "bid_size": ("bid_size", "bid_amount", "bid_qty"),
    "ask_size": ("ask_size", "ask_amount", "ask_qty"),
}
_WANTED = (
    "wanted are a header with timestamp,price,quantity (trades) or timestamp,bid,ask (quotes),"
    " or HistData's rows YYYYMMDD HHMMSSmmm,bid,ask,volume"
)


class Columns(Struct, frozen=True):
    """The columns of one file."""

    delimiter: str
    cells: int
    """Number of cells of a row."""
    places: dict[str, int]
    """Index of the cell of each column that is used, by our name for it."""
    names: dict[str, str]
    """The file's name of each column that is used."""
    unused: tuple[str, ...]
    has_header: bool

    @property
    def has_trades(self) -> bool:
        """Whether the rows are trades; otherwise they are quotes."""
        return "price" in self.places


def columns_of(path: Path, first_line: bytes) -> Columns:
    """Returns the columns of a file that begins with ``first_line``.

    Raises :class:`~collectors.feeds.recordings.errors.UnknownRecordingError` or
    :class:`~collectors.feeds.recordings.errors.BarsError`.
    """
    delimiter = max(_DELIMITERS, key=lambda sign: first_line.count(sign.encode()))
    try:
        header = [cell.lower() for cell in cells_of(first_line, delimiter)]
    except (UnicodeError, ValueError, csv.Error):
        header = []
    if len(header) == len(_HISTDATA_COLUMNS) and HISTDATA.fullmatch(header[0]):
        return _columns(list(_HISTDATA_COLUMNS), delimiter, has_header=False)
    if set(header) >= _BARS:
        raise BarsError(path, "it holds bars; only quotes and trades can be replayed or imported")
    columns = _columns(header, delimiter, has_header=True)
    has_times = "timestamp" in columns.places
    if has_times and ({"price", "quantity"} <= set(columns.places) or {"bid", "ask"} <= set(columns.places)):
        return columns
    found = f"; it begins with {','.join(header)[:80]}" if header else ""
    raise UnknownRecordingError(
        path, f"neither a WebSocket capture nor CSV quotes or trades: {_WANTED}{found}"
    )


def cells_of(line: bytes | None, delimiter: str) -> list[str]:
    """Returns the cells of a line, without the spaces around them. Raises ``ValueError`` or ``csv.Error``."""
    if line is None or len(line) > _LONGEST_ROW:
        raise ValueError("the row is too long")
    text = line.decode("utf-8-sig").rstrip("\r\n")
    cells = next(csv.reader([text], strict=True, delimiter=delimiter), [])
    return [cell.strip() for cell in cells]


def _columns(header: list[str], delimiter: str, *, has_header: bool) -> Columns:
    places: dict[str, int] = {}
    names: dict[str, str] = {}
    for column, aliases in (_TRADE if "price" in header else _QUOTE).items():
        name = next((alias for alias in aliases if alias in header), None)
        if name is not None:
            places[column] = header.index(name)
            names[column] = name
    unused = tuple(name for index, name in enumerate(header) if index not in places.values())
    return Columns(delimiter, len(header), places, names, unused, has_header)
