"""Orders in their current state, and one order with its changes and fills."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from api.http.cache import Caching
from api.http.problems import ProblemError
from api.http.query import Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.costs import OrderQuality, order_quality
from api.routes.known import check_known
from api.routes.records import Cursor, Limit, Source, Text
from api.routes.stored import filters, newest, page_of
from decahertz.event import Side
from decahertz.order_requests import ListedState, StoredRequest
from storage.query.pagination import RowPage
from storage.query.queries import StoredFill
from storage.query.stored_events import ORDERS, StoredOrder, StoredOrderChange


class _OrderKeyQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recorder: Text | None = None
    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    account: Text | None = None


class OrdersQuery(_OrderKeyQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of orders by time of their first change, `[start, end)`; absent parameters do not filter."""

    source: Source | None = None
    order_id: Text | None = None
    signal_id: Text | None = None
    request_id: Text | None = None
    state: ListedState | None = None
    is_final: (
        Annotated[
            bool,
            Meta(
                description="`false`: open orders and requests; `true`: those that are filled, cancelled,"
                " rejected, expired, done or dead."
            ),
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
    request: StoredRequest | None
    """The request that led to it, if one did."""
    changes: list[StoredOrderChange]
    """Its changes, oldest first."""
    fills: list[StoredFill]
    """Its fills, oldest first, as often as they were reported."""
    quality: OrderQuality | None
    """Null of a request that has not become an order."""


async def orders(request: Request[OrdersQuery, None]) -> RowPage:
    """Returns orders, and requests that have not become orders, in their current state, the newest first.

    The state follows from changes and fills, in whatever order they arrived: an order whose fills add up to
    its quantity is filled, even if it was reported as cancelled. `created_ns` is the time of the first change
    that was stored. It never changes, so an order keeps its place in the list while its state changes. A
    request is listed under its own id until an order names it; then the order is, with `request_id`.
    """
    return await newest(request, ORDERS)


async def active_orders_count(request: Request[ActiveOrdersQuery, None]) -> OrderCount:
    """Returns the number of open orders: submitted, accepted, partially filled or unresolved."""
    which = filters(request.query)
    count = await request.parts.queries.open_orders(which)
    if not count:
        await check_known(request.parts, which)
    return OrderCount(count=count)


async def order(request: Request[OrderQuery, None]) -> dict[str, Any]:
    """Returns one order with its changes, fills and request, and what it cost. The id of a request finds it.

    An id is unique only within recorder, strategy, venue, instrument and account: where several orders have
    it, the response is a problem (`ambiguous-name`) until parameters name one of them.
    """
    order_id = request.query.order_id
    which = filters(request.query)
    async with request.parts.queries.snapshot() as queries:
        found = await queries.orders_by_id(which)
        if not found:
            by_request = {**which, "order_id": None, "request_id": order_id}
            found = await queries.orders_by_id(by_request)
        if len(found) == 1:
            detail = await queries.order_detail(found[0])
            costs = await queries.order_quality(found[0])
            return {**detail, "quality": None if costs is None else order_quality(costs)}
    if not found:
        raise ProblemError("not-found", f"there is no order {order_id!r} with this key")
    keys = "; ".join(
        ", ".join(str(one[name]) for name in _OrderKeyQuery.__struct_fields__) for one in found[:5]
    )
    raise ProblemError(
        "ambiguous-name",
        f"several orders have the id {order_id!r} (recorder, strategy, venue, instrument, account): {keys}",
    )


_PROBLEMS: Final = ("invalid-cursor", "database-unavailable", "unknown-name")
ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/orders",
        summary="Orders",
        handler=orders,
        anywhere=True,
        caching=Caching(reads=("order_events", "order_requests")),
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
        caching=Caching(reads=("order_events", "order_requests", "fills", "signals", "orders")),
        query=OrderQuery,
        response=OrderDetail,
        problems=("database-unavailable", "not-found", "ambiguous-name"),
    ),
)
