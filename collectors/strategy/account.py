"""Everything about one strategy, folded from its events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.common.mark_prices import Mark, Marks
from collectors.common.values import UnusableEventError, finite, is_usable
from collectors.common.windows import RecentSet
from collectors.strategy.book import Book
from collectors.strategy.equity import DayLedger, EquityCurve
from collectors.strategy.statistics import TradeStatistics
from decahertz.event import Equity, Fill, Position, Regime

_FILLS_REMEMBERED = 10_000


@dataclass(slots=True)
class Valuation:
    """The open positions at their marks. Money; times in nanoseconds."""

    unrealised: float | None = 0.0
    gross: float | None = 0.0
    net: float | None = 0.0
    oldest_mark_ns: int | None = None
    """When the oldest mark in use was received; ``None`` without a position or a mark."""
    current_r: float | None = None


class Account:
    """One strategy.

    Its equity curve is what the strategy reports with ``equity`` events; before the first of them it is
    realised plus unrealised P&L, from zero.
    """

    __slots__ = (
        "_equity_ns",
        "_fills_seen",
        "_regime",
        "_regime_ns",
        "books",
        "curve",
        "duplicate_fills",
        "equity",
        "fills",
        "ledger",
        "open_positions",
        "realised",
        "received_ns",
        "regime_changes",
        "signals",
        "statistics",
        "strategy",
    )

    def __init__(self, strategy: str, now_ns: int) -> None:
        """Nothing seen yet."""
        self.strategy = strategy
        self.received_ns = now_ns
        self.books: dict[tuple[str, str], Book] = {}
        self.realised = 0.0
        self.ledger = DayLedger()
        self.statistics = TradeStatistics()
        self.curve = EquityCurve(now_ns, 0.0)
        self.equity: float | None = None
        self._equity_ns = 0
        self.signals = self.fills = self.duplicate_fills = self.regime_changes = 0
        self.open_positions = 0
        """Instruments with an open position."""
        self._fills_seen = RecentSet(_FILLS_REMEMBERED)
        self._regime: str | None = None
        self._regime_ns = 0

    def add_fill(self, fill: Fill, received_ns: int) -> None:
        """Fold a fill in, once. Raises :class:`UnusableEventError`."""
        if not self._fills_seen.add((fill.venue, fill.instrument, fill.order_id, fill.fill_id)):
            self.duplicate_fills += 1
            return
        book = self._book(fill.venue, fill.instrument)
        was_open = book.is_open
        trade, realised = book.add_fill(fill, received_ns)
        self.open_positions += book.is_open - was_open
        self.fills += 1
        self.realised += realised
        self.ledger.add(fill.time_ns, realised)
        if trade is not None:
            self.statistics.add(trade)
        if self.equity is None and not self.open_positions:
            # Needs no mark. So the curve is right between two samples too, and while history is restored.
            self.curve.observe(received_ns, self.realised)

    def report_position(self, position: Position, received_ns: int) -> None:
        """Take a reported position."""
        self._book(position.venue, position.instrument).report(position, received_ns)

    def report_equity(self, event: Equity, received_ns: int) -> None:
        """Take a reported equity, unless a newer one is known. Raises :class:`UnusableEventError`."""
        if not is_usable(event.equity):
            raise UnusableEventError(f"equity of {event.strategy!r} is too large to calculate with")
        if event.time_ns < self._equity_ns:
            return
        self._equity_ns = event.time_ns
        if self.equity is None:
            self.curve = EquityCurve(received_ns, event.equity)
        self.equity = event.equity
        self.curve.observe(received_ns, event.equity)

    def take_regime(self, event: Regime) -> None:
        """Count the regime if it is another one; the first is no change."""
        if event.time_ns < self._regime_ns:
            return
        self._regime_ns = event.time_ns
        if self._regime is not None and event.regime != self._regime:
            self.regime_changes += 1
        self._regime = event.regime

    def open_books(self) -> Iterator[Book]:
        """The instruments with an open position."""
        return (book for book in self.books.values() if book.trip.position)

    def value(self, marks: Marks) -> Valuation:
        """The open positions at the mid of the newest quotes, or else at the mark of the newest report.

        Where one mark is missing there is no sum. ``current_r`` covers the positions with a known risk.
        """
        total = Valuation()
        unrealised = gross = net = gain = risk = 0.0
        is_complete = is_risk_complete = True
        for book in self.open_books():
            price, received_ns = _mark(book, marks.get(book.venue, book.instrument))
            trip = book.trip
            if price is None:
                is_complete = False
                is_risk_complete = is_risk_complete and not trip.risk
                continue
            value = price * trip.position
            open_pnl = trip.unrealised(price)
            unrealised += open_pnl
            gross += abs(value)
            net += value
            if trip.risk:
                gain += open_pnl + trip.realised()
                risk += trip.risk
            if total.oldest_mark_ns is None or received_ns < total.oldest_mark_ns:
                total.oldest_mark_ns = received_ns
        if not is_complete:
            total.unrealised = total.gross = total.net = None
        else:
            total.unrealised, total.gross, total.net = finite(unrealised), finite(gross), finite(net)
        if risk and is_risk_complete:
            total.current_r = finite(gain / risk)
        return total

    def forget_flat_books(self, before_ns: int) -> None:
        """Drop flat instruments without a fill or report since ``before_ns``."""
        for key, book in list(self.books.items()):
            if not book.is_open and book.received_ns < before_ns:
                del self.books[key]

    def _book(self, venue: str, instrument: str) -> Book:
        book = self.books.get((venue, instrument))
        if book is None:
            book = self.books[venue, instrument] = Book(venue, instrument)
        return book


def _mark(book: Book, mark: Mark | None) -> tuple[float | None, int]:
    if mark is not None and mark.price is not None:
        return mark.price, mark.received_ns
    return book.reported_mark, book.reported_mark_received_ns
