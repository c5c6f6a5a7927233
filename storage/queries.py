"""Questions to the database: histories of samples, fills, trades, instruments.

Times are integer nanoseconds UTC and ranges are ``[start, end)``. Every question can raise
:class:`~storage.database.DatabaseUnavailableError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import asyncpg
from msgspec import Struct

from decahertz.event import AnyEvent, Event, Fill, Liquidity, Side
from decahertz.sample import MetricField, SampleSchema
from decahertz.trade import Trade
from storage.bars import Bar, BarFilter, newest_bars
from storage.buckets import BucketQuestion, Summary
from storage.export import Exports
from storage.history import HistoryQuestion, Value
from storage.newest import CursorError, NewestFirst
from storage.present import PresentTiers
from storage.replay import replay_events
from storage.resolution import Wish, resolve
from storage.tiers.names import Tier
from storage.trades import fill_of

if TYPE_CHECKING:
    from storage.database import Database

ItemT = TypeVar("ItemT")

__all__ = [
    "AS_TAKEN",
    "Bar",
    "BarFilter",
    "CursorError",
    "FillFilter",
    "History",
    "InstrumentInfo",
    "Page",
    "Queries",
    "Series",
    "StoredFill",
    "Trade",
    "TradeFilter",
    "UnknownFieldError",
    "Value",
]
AS_TAKEN = Wish(tier=Tier.RAW)
"""The samples as they were taken."""
_FILLS = NewestFirst("fills", "time_ns", ("time_ns", "source", "epoch", "sequence"))
_TRADES = NewestFirst(
    "trades", "closed_ns", ("closed_ns", "closed_source", "closed_epoch", "closed_sequence")
)


class UnknownFieldError(ValueError):
    """A history was asked for a field or a key that the sample does not have."""


class StoredFill(Struct, frozen=True, kw_only=True):
    """A fill as it is stored: what the fill event said, and where that came from."""

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
    """Money paid (negative: a rebate)."""
    liquidity: Liquidity | None = None
    risk: float | None = None
    """Money at risk of the trade that this fill opens, when known."""
    source: str
    epoch: int
    sequence: int
    received_ns: int
    """When it reached Decahertz, by that machine's clock."""

    def fill(self) -> Fill:
        """The fill itself."""
        return Fill(**{name: getattr(self, name) for name in Fill.__struct_fields__})


class FillFilter(Struct, frozen=True, kw_only=True):
    """Which fills; what is ``None`` does not restrict. By time of the fill."""

    strategy: str | None = None
    venue: str | None = None
    instrument: str | None = None
    order_id: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


class TradeFilter(Struct, frozen=True, kw_only=True):
    """Which trades; what is ``None`` does not restrict. By time of closing."""

    strategy: str | None = None
    venue: str | None = None
    instrument: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


class InstrumentInfo(Struct, frozen=True, kw_only=True):
    """An instrument that was seen in market events, and when."""

    venue: str
    instrument: str
    first_ns: int
    last_ns: int


class Series(Struct, frozen=True, kw_only=True):
    """The samples of one key, in columns sorted by time. All lists have the same length."""

    key: dict[str, str]
    time_ns: list[int]
    """The instants of the samples, or where the buckets begin."""
    fields: dict[str, list[Value] | Summary]
    """By metric: its values where samples are answered, their summary where buckets are."""


class History(Struct, frozen=True, kw_only=True):
    """An answer of samples."""

    tier: Tier
    """What it was made from: `raw` are the samples as they were taken."""
    step_ns: int | None = None
    """The width of the buckets; null: the samples as they were taken."""
    series: list[Series]
    """Sorted by key; a key without a sample in the range is left out."""
    next_start_ns: int | None = None
    """Set when the row cap cut the answer: ask again from here for the rest."""


class Page(Struct, Generic[ItemT], frozen=True, kw_only=True):
    """A part of a list."""

    items: list[ItemT]
    next_cursor: str | None = None
    """Opaque; where the rest starts. ``None``: this is the end."""


class Queries:
    """Answers questions from the database."""

    def __init__(self, database: Database) -> None:
        """Ask this database."""
        self._database = database
        self._tiers = PresentTiers()
        self.exports = Exports(database)

    async def history(
        self,
        schema: SampleSchema,
        fields: Sequence[str],
        key_filter: Mapping[str, Sequence[str]],
        start_ns: int,
        end_ns: int,
        *,
        wish: Wish = AS_TAKEN,
        max_rows: int = 200_000,
    ) -> History:
        """Samples of the schema with ``start_ns <= time < end_ns``, grouped by key.

        ``fields`` are metric names (none: all of them), ``key_filter`` allowed values by key field,
        ``wish`` says how finely (see :mod:`storage.resolution`; without it: the samples as they were taken).
        Buckets are answered whole where they touch the range. At most ``max_rows`` rows, but never a part of
        an instant or bucket: where a single one has more, it is answered whole. Raises
        :class:`UnknownFieldError`.
        """
        by_name = {field.name: field for field in schema.metrics}
        columns = tuple(fields) or tuple(by_name)
        _check_names(schema, columns, key_filter)
        chosen = [by_name[name] for name in columns]
        try:
            return await self._history(schema, chosen, key_filter, (start_ns, end_ns), wish, max_rows)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            self._tiers.forget(schema)  # a tier is gone or has changed since it was looked at
            return await self._history(schema, chosen, key_filter, (start_ns, end_ns), wish, max_rows)

    async def _history(
        self,
        schema: SampleSchema,
        fields: Sequence[MetricField],
        key_filter: Mapping[str, Sequence[str]],
        span: tuple[int, int],
        wish: Wish,
        max_rows: int,
    ) -> History:
        async with self._database.query() as connection:
            kept = await self._tiers.of(connection, schema) if wish != AS_TAKEN else ()
            resolution = resolve(*span, wish, kept)
            columns: dict[tuple[str, ...], dict[str, list[Value] | Summary]]
            if resolution.step_ns is None:
                names = [field.name for field in fields]
                found, next_start_ns = await HistoryQuestion(schema, names, key_filter).ask(
                    connection, *span, max_rows
                )
                columns = {key: dict(zip(names, lists[1:], strict=True)) for key, lists in found.items()}
            else:
                question = BucketQuestion(schema, fields, key_filter, resolution)
                found, next_start_ns = await question.ask(connection, *span, max_rows)
                columns = {key: {**question.named(lists[1:])} for key, lists in found.items()}
        series = [
            Series(
                key=dict(zip(schema.key, key, strict=True)),
                time_ns=found[key][0],
                fields=columns[key],
            )
            for key in sorted(found)
        ]
        return History(
            tier=resolution.tier, step_ns=resolution.step_ns, series=series, next_start_ns=next_start_ns
        )

    async def fills(self, which: FillFilter, *, limit: int, cursor: str | None = None) -> Page[StoredFill]:
        """Fills, newest first. Raises :class:`CursorError`."""
        rows, next_cursor = await self._newest(_FILLS, which, limit, cursor)
        return Page(items=[_stored_fill(row) for row in rows], next_cursor=next_cursor)

    async def trades(self, which: TradeFilter, *, limit: int, cursor: str | None = None) -> Page[Trade]:
        """Finished round trips, the last closed first. Raises :class:`CursorError`."""
        rows, next_cursor = await self._newest(_TRADES, which, limit, cursor)
        return Page(items=[_trade(row) for row in rows], next_cursor=next_cursor)

    async def bars(self, which: BarFilter, *, limit: int, cursor: str | None = None) -> Page[Bar]:
        """Bars from prints, the newest first. Raises :class:`CursorError`."""
        async with self._database.query() as connection:
            items, next_cursor = await newest_bars(connection, which, limit, cursor)
        return Page(items=items, next_cursor=next_cursor)

    async def instruments(self) -> list[InstrumentInfo]:
        """All instruments seen in market events, sorted by venue and instrument.

        ``last_ns`` of an active instrument is up to a few seconds behind.
        """
        async with self._database.query() as connection:
            rows = await connection.fetch(
                "SELECT venue, instrument, first_ns, last_ns FROM instruments ORDER BY venue, instrument"
            )
        return [InstrumentInfo(**row) for row in rows]

    def replay(
        self, event_types: Sequence[type[Event]], since_ns: int
    ) -> AsyncGenerator[tuple[AnyEvent, int], None]:
        """Events received at or after ``since_ns``, each with its time of receipt, in that order.

        They are read in chunks, from a state of the database that does not change meanwhile.
        """
        return replay_events(self._database, event_types, since_ns)

    async def _newest(
        self, of: NewestFirst, which: Struct, limit: int, cursor: str | None
    ) -> tuple[list[asyncpg.Record], str | None]:
        statement, values = of.statement(which, limit, cursor)
        async with self._database.query() as connection:
            rows = await connection.fetch(statement, *values)
        if len(rows) <= limit:
            return rows, None
        rows = rows[:limit]
        return rows, of.cursor_after(rows[-1])


def _check_names(schema: SampleSchema, fields: Sequence[str], key_filter: Mapping[str, object]) -> None:
    metrics = {field.name for field in schema.metrics}
    for name in fields:
        if name not in metrics:
            raise UnknownFieldError(f"{schema.collector} has no metric {name!r}")
    for name in key_filter:
        if name not in schema.key:
            raise UnknownFieldError(f"{name!r} is not part of the key of {schema.collector}")


def _stored_fill(row: asyncpg.Record) -> StoredFill:
    fill = fill_of(row)
    return StoredFill(
        **{name: getattr(fill, name) for name in Fill.__struct_fields__},
        source=row["source"],
        epoch=row["epoch"],
        sequence=row["sequence"],
        received_ns=row["received_ns"],
    )


def _trade(row: asyncpg.Record) -> Trade:
    values = {name: row[name] for name in Trade.__struct_fields__}
    return Trade(**values | {"side": Side(row["side"])})
