"""Questions to the database: histories of samples, fills, trades, instruments.

Times are integer nanoseconds UTC and ranges are ``[start, end)``. Every question can raise
:class:`~storage.database.DatabaseUnavailableError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from msgspec import Struct

from decahertz.event import AnyEvent, Event, Fill, Liquidity, Side
from decahertz.sample import SampleSchema
from decahertz.trade import Trade

if TYPE_CHECKING:
    from storage.database import Database

ItemT = TypeVar("ItemT")
Value: TypeAlias = int | float | bool | str | None
"""The value of a metric: a number, a truth value, a state, or none."""


class CursorError(ValueError):
    """A cursor is not one that :class:`Queries` handed out for this list."""


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
    fields: dict[str, list[Value]]


class History(Struct, frozen=True, kw_only=True):
    """An answer of samples."""

    tier: str
    """What the rows are: ``raw`` for the samples as they were taken."""
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

    async def history(
        self,
        schema: SampleSchema,
        fields: Sequence[str],
        key_filter: Mapping[str, Sequence[str]],
        start_ns: int,
        end_ns: int,
        *,
        max_rows: int = 200_000,
    ) -> History:
        """Samples of the schema with ``start_ns <= time < end_ns``, grouped by key.

        ``fields`` are metric names (none: all of them), ``key_filter`` allowed values by key field.
        Raises :class:`UnknownFieldError`.
        """
        raise NotImplementedError

    async def fills(self, which: FillFilter, *, limit: int, cursor: str | None = None) -> Page[StoredFill]:
        """Fills, newest first. Raises :class:`CursorError`."""
        raise NotImplementedError

    async def trades(self, which: TradeFilter, *, limit: int, cursor: str | None = None) -> Page[Trade]:
        """Finished round trips, the last closed first. Raises :class:`CursorError`."""
        raise NotImplementedError

    async def instruments(self) -> list[InstrumentInfo]:
        """All instruments seen in market events, sorted by venue and instrument."""
        raise NotImplementedError

    def replay(
        self, event_types: Sequence[type[Event]], since_ns: int
    ) -> AsyncIterator[tuple[AnyEvent, int]]:
        """Events received at or after ``since_ns``, each with its time of receipt, in that order."""
        raise NotImplementedError
