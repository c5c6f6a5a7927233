"""Orders in their current state, and one order with its changes and fills."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from api.http.cache import Caching
from api.http.problems import ProblemError
from api.http.query import Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.records import Cursor, Limit, Source, Text
from api.routes.stored import filters, newest, page_of
from decahertz.event import OrderState, Side
from storage.query.pagination import RowPage
from storage.query.queries import StoredFill
from storage.query.stored_events import ORDERS, StoredOrder, StoredOrderChange


class _OrderKeyQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recorder: Text | None = None
    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None


class OrdersQuery(_OrderKeyQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of orders by time of their first change, `[start, end)`; absent parameters do not filter."""

    source: Source | None = None
    order_id: Text | None = None
    signal_id: Text | None = None
    state: OrderState | None = None
    is_final: (
        Annotated[
            bool, Meta(description="`false`: open orders; `true`: filled, cancelled, rejected or expired.")
        ]
        | None
    ) = None
    side: Side | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class OrderQuery(_OrderKeyQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one order; the key is needed where several orders have the id."""

    order_id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the order.")]


class ActiveOrdersQuery(_OrderKeyQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of open orders."""


class OrderCount(Struct, frozen=True, kw_only=True):
    """Number of open orders."""

    count: int


class OrderDetail(Struct, frozen=True, kw_only=True):
    """An order with everything that is stored of it."""

    order: StoredOrder  # type: ignore[valid-type]
    changes: list[StoredOrderChange]
    """Its changes, oldest first."""
    fills: list[StoredFill]
    """Its fills, oldest first, as often as they were reported."""


async def orders(request: Request[OrdersQuery, None]) -> RowPage:
    """Returns orders in their current state, the last created first.

    `created_ns` is the time of the first change that was stored. It never changes, so an order keeps its
    place in the list while its state changes.
    """
    return await newest(request, ORDERS)


async def active_orders_count(request: Request[ActiveOrdersQuery, None]) -> OrderCount:
    """Returns the number of open orders: submitted, accepted or partially filled."""
    which = filters(request.query)
    count = await request.parts.queries.open_orders(which)
    if not count:
        await check_known(request.parts, which)
    return OrderCount(count=count)


async def order(request: Request[OrderQuery, None]) -> dict[str, Any]:
    """Returns one order with its changes and fills.

    An id is unique only within recorder, strategy, venue and instrument: where several orders have it, the
    response is a problem (`ambiguous-name`) until parameters name one of them.
    """
    order_id = request.query.order_id
    found = await request.parts.queries.orders_by_id(filters(request.query))
    if not found:
        raise ProblemError("not-found", f"there is no order {order_id!r} with this key")
    if len(found) > 1:
        keys = "; ".join(
            ", ".join(str(one[name]) for name in _OrderKeyQuery.__struct_fields__) for one in found[:5]
        )
        raise ProblemError(
            "ambiguous-name",
            f"several orders have the id {order_id!r} (recorder, strategy, venue, instrument): {keys}",
        )
    return await request.parts.queries.order_detail(found[0])


_PROBLEMS: Final = ("invalid-cursor", "database-unavailable", "unknown-name")
ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/orders",
        summary="Orders",
        handler=orders,
        anywhere=True,
        caching=Caching(reads=("order_events",)),
        query=OrdersQuery,
        response=page_of(StoredOrder),
        problems=_PROBLEMS,
    ),
    Route(
        path="/api/v1/orders/active/count",
        summary="Number of open orders",
        handler=active_orders_count,
        anywhere=True,
        caching=Caching(reads=("order_events",)),
        query=ActiveOrdersQuery,
        response=OrderCount,
        problems=("database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/orders/{order_id}",
        summary="One order",
        handler=order,
        anywhere=True,
        caching=Caching(reads=("order_events", "fills")),
        query=OrderQuery,
        response=OrderDetail,
        problems=("database-unavailable", "not-found", "ambiguous-name"),
    ),
)
