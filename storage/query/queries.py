"""Queries of the database: histories of samples, fills, trades, bars, instruments.

Times are integer nanoseconds UTC and ranges are ``[start, end)``. Every query can raise
:class:`~storage.database.DatabaseUnavailableError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import asdict
from msgspec.structs import replace as replace_fields

from decahertz.alert import Alert
from decahertz.audit import AuditEntry
from decahertz.bar import Bar
from decahertz.event import FillKind, Liquidity, Side
from decahertz.order_requests import BODY_DECODER, StoredRequest, shown_request
from decahertz.round_trip import RoundTrip
from storage.query.alerts import AlertFilter, find_alert, newest_alerts
from storage.query.analytics.daily import Day, newest_days
from storage.query.analytics.opening_range import OpeningRange, Sessions, opening_ranges
from storage.query.analytics.tick_selection import TickFilter
from storage.query.analytics.volume_profile import VALUE_AREA, VolumeProfile, volume_profile
from storage.query.audit import AuditFilter, newest_entries
from storage.query.bars import BarFilter, newest_bars
from storage.query.bulk_list import newest_of_bulk
from storage.query.cash_totals import CashSelection, CashTotal, cash_totals
from storage.query.daily_results import DayScope, StrategyDays, daily_results
from storage.query.execution_quality import (
    ExecutionSelection,
    ExecutionTotals,
    execution_totals,
    order_quality,
)
from storage.query.export import Exports
from storage.query.history.history import Histories
from storage.query.instruments import InstrumentInfo, known_instruments
from storage.query.known_names import KnownNames, is_named, known_names
from storage.query.pagination import Filter, KeysetPage, Row, RowPage
from storage.query.round_trip_quality import round_trip_quality
from storage.query.round_trip_totals import REGIME, RoundTripSelection, RoundTripTotals, round_trip_totals
from storage.query.sentiment import ScorerCount, SentimentPoint, SentimentRange, sentiment_series
from storage.query.stored_events import LOGS, ORDER_CHANGES, ORDERS
from storage.schema.excursions import NOT_YET, excursion_of
from storage.schema.executions import ORDER_KEY
from storage.schema.order_requests import record_of
from storage.schema.samples import storable

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from storage.database import Database, Reads
    from storage.settings import RetentionSettings

ItemT = TypeVar("ItemT")


class StoredFill(Struct, frozen=True, kw_only=True):
    """A fill with its recorder and the identity of its event."""

    recorder: str

    time_ns: int
    strategy: str
    venue: str
    instrument: str
    order_id: str
    fill_id: str
    side: Side
    price: float
    quantity: float
    fee: float = 0.0
    """Amount paid; a rebate is negative."""
    fee_currency: str | None = None
    """Currency of the fee; null: the settlement currency."""
    liquidity: Liquidity | None = None
    risk: float | None = None
    """Money at risk of the trade that this fill opens, if known."""
    kind: FillKind = FillKind.TRADE
    account: str = ""
    multiplier: float | None = None
    """Units of the underlying per unit of quantity; null: the instrument had no definition."""
    inverse: bool | None = None
    """Whether the instrument settles in its base currency."""
    lot_size: float | None = None
    base_currency: str | None = None
    currency: str | None = None
    """Settlement currency: that of the result."""
    rate: float | None = None
    """Units of the account currency per unit of the settlement currency, at the time of the fill."""
    fee_rate: float | None = None
    """Units of the account currency per unit of the fee's currency, at the time of the fill."""
    stated_time_ns: int | None = None
    """The time that the emitter stated, if it was impossible; null otherwise."""
    source: str
    epoch: int
    sequence: int
    received_ns: int
    """When it reached the recorder, by its clock."""


class StoredRoundTrip(RoundTrip, frozen=True, kw_only=True):
    """A finished round trip with its recorder."""

    recorder: str
    source: str
    """Source of the closing fill."""
    regime: str | None
    """The newest at the opening that the strategy had reported; that of the desk if it had reported none."""
    held_seconds: float
    """Time from the opening to the closing fill."""
    mae: float | None
    """Worst P&L while it was open, in the account currency, at the mids of the cycles; realised part and fees
    included."""
    mfe: float | None
    """Best P&L while it was open."""
    mids: int
    """Mids that these were computed from."""
    excursion_reason: str | None
    """Why they are not known."""


class FillFilter(Struct, frozen=True, kw_only=True):
    """Selects fills, by their time; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    account: str | None = None
    venue: str | None = None
    instrument: str | None = None
    order_id: str | None = None
    source: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


class RoundTripFilter(Struct, frozen=True, kw_only=True):
    """Selects round trips by the time of their closing; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    account: str | None = None
    venue: str | None = None
    instrument: str | None = None
    source: str | None = None
    """Source of the closing fill."""
    regime: str | None = None
    """The newest at the opening that the strategy had reported; that of the desk if it had reported none."""
    start_ns: int | None = None
    end_ns: int | None = None


class Page(Struct, Generic[ItemT], frozen=True, kw_only=True):
    """One page of a list."""

    items: list[ItemT]
    next_cursor: str | None = None
    """Opaque; leads to the next page. ``None``: this is the last page."""


_FILLS = KeysetPage("fills", "time_ns", ("time_ns", "source", "epoch", "sequence"), item=StoredFill)
_TRADES = KeysetPage(
    "trades",
    "closed_ns",
    ("closed_ns", "closed_source", "closed_epoch", "closed_sequence"),
    item=StoredRoundTrip,
    derived={
        "source": "closed_source",
        "regime": REGIME,
        "held_seconds": "((closed_ns - opened_ns) / 1e9::double precision)",
        "excursion_reason": f"CASE WHEN excursion_due_ns IS NULL THEN excursion_reason ELSE '{NOT_YET}' END",
    },
)

_SEEN = "SELECT venue, last_ns FROM instruments WHERE instrument = $1 AND last_ns IS NOT NULL"
_OPEN_ORDERS = """
SELECT count(*) FROM orders
WHERE NOT is_final AND ($1::text IS NULL OR recorder = $1) AND ($2::text IS NULL OR strategy = $2)
  AND ($3::text IS NULL OR venue = $3) AND ($4::text IS NULL OR instrument = $4)
  AND ($5::text IS NULL OR account = $5)
"""
_REQUESTS = KeysetPage(
    "order_requests",
    "created_ns",
    ("created_ns", "request_id"),
    item=StoredRequest,
    derived={"is_final": "(state IN ('done', 'rejected', 'cancelled', 'expired', 'dead'))"},
)
_REQUEST = "SELECT * FROM order_requests WHERE recorder = $1 AND request_id = $2"
_MAX_OF_ORDER = 10_000
"""Changes, or fills, of one order that are returned: the newest ones."""


class Queries:
    """Answers queries from the database."""

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        retention: RetentionSettings | None = None,
        recorder: str | None = None,
        *,
        max_exports: int = 4,
    ) -> None:
        """``clock`` and ``retention`` tell how far each tier reaches back.

        ``recorder`` is the recorder whose ticks make bars, unless a filter names another; ``None``: all.
        """
        self._opened = database
        self._database: Reads = database
        """The database, or one moment of it."""
        self._recorder = recorder
        self.history = Histories(database, clock, retention).history
        self.exports = Exports(database, most_at_once=max_exports)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Queries]:
        """The queries of one moment, for an answer whose numbers have to agree. One at a time."""
        async with self._opened.snapshot() as reads:
            of_a_moment = copy(self)
            of_a_moment._database = reads  # noqa: SLF001 - of this class
            yield of_a_moment

    async def fills(self, which: FillFilter, *, limit: int, cursor: str | None = None) -> RowPage:
        """Fills (:class:`StoredFill`), newest first. Raises :class:`CursorError`."""
        return await _FILLS.rows(self._database, which, limit, cursor)

    async def trades(self, which: RoundTripFilter, *, limit: int, cursor: str | None = None) -> RowPage:
        """Finished round trips (:class:`StoredRoundTrip`), the last closed first.

        Raises :class:`CursorError`.
        """
        return await _TRADES.rows(self._database, which, limit, cursor)

    async def round_trip_totals(
        self,
        which: RoundTripSelection,
        *,
        newest: int | None = None,
        by_strategy: bool = False,
        minor_unit: float = 0.01,
    ) -> list[RoundTripTotals]:
        """Counts and sums of round trips; see :func:`~storage.query.round_trip_totals.round_trip_totals`."""
        return await round_trip_totals(
            self._database, which, newest=newest, by_strategy=by_strategy, minor_unit=minor_unit
        )

    async def cash_totals(self, which: CashSelection) -> list[CashTotal]:
        """Fees and cash flows by currency; see :func:`~storage.query.cash_totals.cash_totals`."""
        return await cash_totals(self._database, which)

    async def daily_results(self, which: RoundTripSelection, scope: DayScope) -> dict[str, StrategyDays]:
        """Daily changes by strategy; see :func:`~storage.query.daily_results.daily_results`."""
        return await daily_results(self._database, which, scope)

    async def execution_totals(self, which: ExecutionSelection) -> list[ExecutionTotals]:
        """Outcomes, latencies, costs and markouts of orders by strategy and venue."""
        return await execution_totals(self._database, which)

    async def order_quality(self, order: Row) -> Mapping[str, Any] | None:
        """The figures of an order; see :func:`~storage.query.execution_quality.order_quality`."""
        return await order_quality(self._database, {name: order[name] for name in ORDER_KEY})

    async def trade(self, trade_id: str, recorder: str | None = None) -> StoredRoundTrip | None:
        """The finished round trip with this id; ``None``: there is none.

        Recorders of the same fills derive the same round trip.
        """
        which = {"trade_id": trade_id, "recorder": recorder}
        found = await _TRADES.rows(self._database, which, 1, None)
        if not found.items:
            return None
        row = asdict(found.items[0])
        if row["excursion_reason"] == NOT_YET:
            now = await excursion_of(self._database, row)
            row |= {"mae": now.mae, "mfe": now.mfe, "mids": now.mids, "excursion_reason": now.reason}
        return StoredRoundTrip(**{**row, "side": Side(row["side"])})

    async def round_trip_quality(self, trade: StoredRoundTrip) -> Mapping[str, Any] | None:
        """The figures of its orders; see :mod:`~storage.query.round_trip_quality`."""
        return await round_trip_quality(self._database, trade.trade_id, trade.recorder)

    async def newest(
        self, page: KeysetPage, which: Filter, *, limit: int, cursor: str | None = None
    ) -> RowPage:
        """One page of a list of :mod:`~storage.query.stored_events`. Raises :class:`CursorError`."""
        return await page.rows(self._database, which, limit, cursor)

    async def logs(
        self, which: Mapping[str, Any], *, limit: int, cursor: str | None = None, now_ns: int
    ) -> RowPage:
        """Log lines, newest first. Raises :class:`CursorError`."""
        return await newest_of_bulk(self._database, LOGS, which, limit, cursor, newest_ns=now_ns)

    async def market(
        self,
        page: KeysetPage,
        which: Mapping[str, Any],
        *,
        limit: int,
        cursor: str | None = None,
        now_ns: int,
    ) -> RowPage:
        """Ticks or quotes of one instrument, newest first. Raises :class:`CursorError`."""
        instrument = which["instrument"]
        if not storable(instrument):
            return RowPage(items=[])
        seen = await self._database.fetch(_SEEN, (instrument,))
        newest_ns = max((row["last_ns"] for row in seen), default=now_ns)
        if seen and which["venue"] is None:  # the index begins with the venue
            which = {**which, "venue": [row["venue"] for row in seen]}
        return await newest_of_bulk(self._database, page, which, limit, cursor, newest_ns=newest_ns)

    async def order_requests(
        self, which: Mapping[str, Any], *, limit: int, cursor: str | None = None
    ) -> Page[StoredRequest]:
        """Order requests, newest first. Raises :class:`CursorError`."""
        found = await _REQUESTS.rows(self._database, which, limit, cursor)
        items = [replace_fields(row, body=BODY_DECODER.decode(row.body)) for row in found.items]
        return Page(items=items, next_cursor=found.next_cursor)

    async def open_orders(self, which: Mapping[str, Any]) -> int:
        """The number of open orders with this recorder, strategy, venue, instrument and account."""
        names = ("recorder", "strategy", "venue", "instrument", "account")
        values = [which.get(name) for name in names]
        if not all(value is None or storable(value) for value in values):
            return 0
        (row,) = await self._database.fetch(_OPEN_ORDERS, values)
        return int(row["count"])

    async def orders_by_id(self, which: Mapping[str, Any]) -> list[Row]:
        """Orders (:class:`StoredOrder`) with an id, at most 100."""
        return (await ORDERS.rows(self._database, which, 100, None)).items

    async def order_detail(self, order: Row) -> dict[str, Any]:
        """An order with its changes and fills, oldest first, and the request that led to it."""
        key = {name: order[name] for name in ORDER_KEY}
        request = None
        if order["request_id"] is not None:
            rows = await self._database.fetch(_REQUEST, [order["recorder"], order["request_id"]])
            request = shown_request(record_of(rows[0])) if rows else None
        changes = await ORDER_CHANGES.rows(self._database, key, _MAX_OF_ORDER, None)
        fills = await _FILLS.rows(self._database, key, _MAX_OF_ORDER, None)
        return {
            "order": order,
            "request": request,
            "changes": changes.items[::-1],
            "fills": fills.items[::-1],
        }

    async def known_names(self) -> KnownNames:
        """Names of instruments and strategies of which anything is stored."""
        return await known_names(self._database)

    async def is_named(self, name: str, values: Sequence[str]) -> bool:
        """Whether a headline, gap, cash flow or order request has one of these names."""
        return await is_named(self._database, name, values)

    async def bars(self, which: BarFilter, *, limit: int, cursor: str | None = None) -> Page[Bar]:
        """Bars made from ticks, the newest first. Raises :class:`CursorError`."""
        if which.recorder is None:
            which = replace(which, recorder=self._recorder)
        async with self._database.query() as connection:
            items, next_cursor = await newest_bars(connection, which, limit, cursor)
        return Page(items=items, next_cursor=next_cursor)

    async def days(
        self, which: BarFilter, *, limit: int, cursor: str | None = None
    ) -> tuple[list[Day], str | None]:
        """Statistics of trading days, the newest first, and the cursor of the rest.

        Raises :class:`CursorError`.
        """
        if which.recorder is None:
            which = replace(which, recorder=self._recorder)
        async with self._database.query() as connection:
            return await newest_days(connection, which, limit, cursor)

    async def opening_ranges(
        self, which: TickFilter, sessions: Sessions, start_ns: int, end_ns: int, *, limit: int
    ) -> list[OpeningRange]:
        """The newest sessions that start in the range and have an opening range."""
        async with self._database.query() as connection:
            return await opening_ranges(connection, self._own(which), sessions, start_ns, end_ns, limit)

    async def volume_profile(
        self,
        which: TickFilter,
        start_ns: int,
        end_ns: int,
        *,
        bins: int,
        width: float | None = None,
        share: float = VALUE_AREA,
    ) -> VolumeProfile:
        """Volume by price of the ticks in the range.

        Raises :class:`~storage.query.analytics.volume_profile.TooManyBinsError`.
        """
        async with self._database.query() as connection:
            return await volume_profile(
                connection, self._own(which), start_ns, end_ns, bins=bins, width=width, share=share
            )

    async def sentiment(self, which: SentimentRange) -> tuple[list[SentimentPoint], list[ScorerCount], int]:
        """Sentiment of headlines; see :func:`~storage.query.sentiment.sentiment_series`."""
        if which.recorder is None:
            which = replace(which, recorder=self._recorder)
        async with self._database.query() as connection:
            return await sentiment_series(connection, which)

    def _own(self, which: TickFilter) -> TickFilter:
        return replace(which, recorder=self._recorder) if which.recorder is None else which

    async def alerts(self, which: AlertFilter, *, limit: int, cursor: str | None = None) -> Page[Alert]:
        """Alerts, the last started first. Raises :class:`CursorError`."""
        items, next_cursor = await newest_alerts(self._database, which, limit, cursor)
        return Page(items=items, next_cursor=next_cursor)

    async def alert(self, alert_id: str) -> Alert | None:
        """The alert with this id; ``None``: there is none."""
        return await find_alert(self._database, alert_id)

    async def instruments(
        self, venue: str | None = None, instrument: str | None = None
    ) -> list[InstrumentInfo]:
        """The instruments that were seen or defined, sorted by venue and instrument."""
        return await known_instruments(self._database, venue, instrument)

    async def audit(self, which: AuditFilter, *, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
        """Entries of the audit log, newest first. Raises :class:`CursorError`."""
        items, next_cursor = await newest_entries(self._database, which, limit, cursor)
        return Page(items=items, next_cursor=next_cursor)
