"""Structs of stored rows, derived from the event types, for the lists of the API.

A stored row has the recorder, the fields of its event by the names of the columns, and the identity and time
of receipt of the event.
"""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import msgspec

from decahertz.event import (
    Cash,
    Event,
    Gap,
    Log,
    News,
    Order,
    OrderState,
    Quote,
    Regime,
    Risk,
    Side,
    Signal,
    Tick,
)
from decahertz.order_requests import ListedState, RequestKind, RequestState
from storage.query.pagination import KeysetPage
from storage.schema.events import event_columns

_PLACE = ("time_ns", "source", "epoch", "sequence")


def stored_type(event_type: type[Event], name: str = "") -> Any:  # noqa: ANN401 - a struct made at run time
    """Makes the struct of a row in the table of this event type."""
    hints = get_type_hints(event_type)  # without the limits of values: PostgreSQL has checked them
    own = [(column.name, hints[column.field]) for column in event_columns(event_type)]
    first = (inspect.getdoc(event_type) or "").partition("\n")[0]
    return msgspec.defstruct(
        name or f"Stored{event_type.__name__}",
        [
            ("recorder", str),
            ("time_ns", int),
            *own,
            ("source", str),
            ("epoch", int),
            ("sequence", int),
            ("received_ns", int),
        ],
        namespace={"__doc__": f"{first} With its recorder and identity."},
        module=__name__,
        frozen=True,
        kw_only=True,
    )


StoredSignal = stored_type(Signal)
StoredCash = stored_type(Cash)
StoredRisk = stored_type(Risk)
StoredRegime = stored_type(Regime)
StoredNews = stored_type(News)
StoredLog = stored_type(Log)
StoredTick = stored_type(Tick)
StoredQuote = stored_type(Quote)
StoredGap = stored_type(Gap)
StoredOrderChange = stored_type(Order, "StoredOrderChange")
StoredOrder = msgspec.defstruct(
    "StoredOrder",
    [
        *(
            (field.name, {"state": ListedState, "side": Side | None}.get(field.name, field.type))
            for field in msgspec.structs.fields(StoredOrderChange)
        ),
        ("request_kind", RequestKind | None),
        ("request_state", RequestState | None),
        ("is_final", bool),
        ("created_ns", int),
        ("reported_state", OrderState | None),
        ("reported_states", list[OrderState]),
        ("contradictions", int),
        ("submitted_ns", int | None),
        ("accepted_ns", int | None),
        ("fills", int),
        ("executed_quantity", float),
        ("average_price", float | None),
        ("first_fill_ns", int | None),
        ("last_fill_ns", int | None),
        ("first_fill_price", float | None),
        ("last_fill_price", float | None),
    ],
    namespace={"__doc__": "An order, or a request for one, in its current state."},
    module=__name__,
    frozen=True,
    kw_only=True,
)


def _list_of(table: str, item: Any, *, between: bool = False) -> KeysetPage:  # noqa: ANN401 - a struct made at run time
    return KeysetPage(table, "time_ns", _PLACE, item=item, by_time=True, between=between)


SIGNALS = _list_of(Signal.table, StoredSignal)
CASH = _list_of(Cash.table, StoredCash)
RISKS = _list_of(Risk.table, StoredRisk)
REGIMES = _list_of(Regime.table, StoredRegime)
NEWS = KeysetPage(
    News.table,
    "time_ns",
    _PLACE,
    item=StoredNews,
    by_time=True,
    array_columns={"instrument": "instruments"},
)
LOGS = _list_of(Log.table, StoredLog)
TICKS = _list_of(Tick.table, StoredTick, between=True)
QUOTES = _list_of(Quote.table, StoredQuote, between=True)
GAPS = _list_of(Gap.table, StoredGap)
ORDER_CHANGES = KeysetPage(Order.table, "time_ns", _PLACE, item=StoredOrderChange)
ORDERS = KeysetPage(
    "order_list",
    "created_ns",
    ("created_ns", "created_source", "created_epoch", "created_sequence"),
    item=StoredOrder,
)
