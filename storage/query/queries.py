"""Queries of the database: histories of samples, fills, trades, bars, instruments.

Times are integer nanoseconds UTC and ranges are ``[start, end)``. Every query can raise
:class:`~storage.database.DatabaseUnavailableError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from decahertz.alert import Alert
from decahertz.audit import AuditEntry
from decahertz.event import Liquidity, Side
from decahertz.round_trip import RoundTrip
from storage.query.alerts import AlertFilter, find_alert, newest_alerts
from storage.query.audit import AuditFilter, newest_entries
from storage.query.bars import Bar, BarFilter, newest_bars
from storage.query.bulk_list import newest_of_bulk
from storage.query.execution_quality import ExecutionSelection, ExecutionTotals, execution_totals
from storage.query.export import Exports
from storage.query.history.history import Histories
from storage.query.instruments import InstrumentInfo, known_instruments
from storage.query.known_names import KnownNames, known_names
from storage.query.pagination import Filter, KeysetPage, Row, RowPage
from storage.query.round_trip_totals import RoundTripSelection, RoundTripTotals, round_trip_totals
from storage.query.stored_events import LOGS, ORDER_CHANGES, ORDERS
from storage.schema.samples import storable

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from storage.database import Database
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
    """Money paid; negative: a rebate."""
    liquidity: Liquidity | None = None
    risk: float | None = None
    """Money at risk of the trade that this fill opens, if known."""
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


class FillFilter(Struct, frozen=True, kw_only=True):
    """Selects fills, by their time; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
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


def _regime(whose: str) -> str:
    """The newest regime at the opening of a round trip; ``whose`` is the condition of its strategy."""
    return (  # names and conditions of this module
        f"(SELECT regime FROM regimes WHERE regimes.strategy {whose} AND regimes.time_ns <= trades.opened_ns"  # noqa: S608
        " ORDER BY regimes.time_ns DESC LIMIT 1)"
    )


_FILLS = KeysetPage("fills", "time_ns", ("time_ns", "source", "epoch", "sequence"), item=StoredFill)
_TRADES = KeysetPage(
    "trades",
    "closed_ns",
    ("closed_ns", "closed_source", "closed_epoch", "closed_sequence"),
    item=StoredRoundTrip,
    derived={
        "source": "closed_source",
        "regime": f"coalesce({_regime('= trades.strategy')}, {_regime('IS NULL')})",
    },
)

_SEEN = "SELECT venue, last_ns FROM instruments WHERE instrument = $1 AND last_ns IS NOT NULL"
_OPEN_ORDERS = """
SELECT count(*) FROM orders
WHERE NOT is_final AND ($1::text IS NULL OR recorder = $1) AND ($2::text IS NULL OR strategy = $2)
  AND ($3::text IS NULL OR venue = $3) AND ($4::text IS NULL OR instrument = $4)
"""
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
        self._database = database
        self._recorder = recorder
        self.history = Histories(database, clock, retention).history
        self.exports = Exports(database, most_at_once=max_exports)

    async def fills(self, which: FillFilter, *, limit: int, cursor: str | None = None) -> RowPage:
        """Fills (:class:`StoredFill`), newest first. Raises :class:`CursorError`."""
        return await _FILLS.rows(self._database, which, limit, cursor)

    async def trades(self, which: RoundTripFilter, *, limit: int, cursor: str | None = None) -> RowPage:
        """Finished round trips (:class:`StoredRoundTrip`), the last closed first.

        Raises :class:`CursorError`.
        """
        return await _TRADES.rows(self._database, which, limit, cursor)

    async def round_trip_totals(
        self, which: RoundTripSelection, *, newest: int | None = None, by_strategy: bool = False
    ) -> list[RoundTripTotals]:
        """Counts and sums of round trips; see :func:`~storage.query.round_trip_totals.round_trip_totals`."""
        return await round_trip_totals(self._database, which, newest=newest, by_strategy=by_strategy)

    async def execution_totals(self, which: ExecutionSelection) -> list[ExecutionTotals]:
        """Outcomes, latencies and slippage of orders by strategy and venue."""
        return await execution_totals(self._database, which)

    async def trade(self, trade_id: str, recorder: str | None = None) -> Row | None:
        """The finished round trip with this id (:class:`StoredRoundTrip`); ``None``: there is none.

        Recorders of the same fills derive the same round trip.
        """
        which = {"trade_id": trade_id, "recorder": recorder}
        found = await _TRADES.rows(self._database, which, 1, None)
        return found.items[0] if found.items else None

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

    async def open_orders(self, which: Mapping[str, Any]) -> int:
        """The number of open orders with this recorder, strategy, venue and instrument."""
        names = ("recorder", "strategy", "venue", "instrument")
        values = [which.get(name) for name in names]
        if not all(value is None or storable(value) for value in values):
            return 0
        (row,) = await self._database.fetch(_OPEN_ORDERS, values)
        return int(row["count"])

    async def orders_by_id(self, which: Mapping[str, Any]) -> list[Row]:
        """Orders (:class:`StoredOrder`) with an id, at most 100."""
        return (await ORDERS.rows(self._database, which, 100, None)).items

    async def order_detail(self, order: Row) -> dict[str, Any]:
        """An order with its changes and fills, oldest first."""
        key = {name: order[name] for name in ("order_id", "recorder", "strategy", "venue", "instrument")}
        changes = await ORDER_CHANGES.rows(self._database, key, _MAX_OF_ORDER, None)
        fills = await _FILLS.rows(self._database, key, _MAX_OF_ORDER, None)
        return {"order": order, "changes": changes.items[::-1], "fills": fills.items[::-1]}

    async def known_names(self) -> KnownNames:
        """Names of instruments and strategies of which anything is stored."""
        return await known_names(self._database)

    async def bars(self, which: BarFilter, *, limit: int, cursor: str | None = None) -> Page[Bar]:
        """Bars made from ticks, the newest first. Raises :class:`CursorError`."""
        if which.recorder is None:
            which = replace(which, recorder=self._recorder)
        async with self._database.query() as connection:
            items, next_cursor = await newest_bars(connection, which, limit, cursor)
        return Page(items=items, next_cursor=next_cursor)

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
