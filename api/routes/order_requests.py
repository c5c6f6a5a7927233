"""The queue of order requests: submit and cancel, and the calls of the trading process that takes them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import asdict

from api.http.access import Scope
from api.http.body import BodyReader
from api.http.cache import Caching
from api.http.problems import FieldProblem, ProblemError
from api.http.query import NoQuery, QueryT, Time
from api.http.route import AnyRoute, BodyT, Route, StatusResponse
from api.parts import Request
from api.routes.known import check_known
from api.routes.records import Cursor, Limit, Text
from api.routes.stored import filters
from control.actor import Actor
from control.queue import KnownRequest, RequestQueue, UnknownRequestError
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Identifier, Name, TimeNs
from decahertz.order_requests import (
    AnyOrderRequest,
    NackOutcome,
    Reason,
    RequestRecord,
    RequestState,
    Resolution,
    StoredRequest,
    shown_request,
)
from storage.query.queries import Page
from storage.write.order_requests import Poll

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_MAX_KEY_LENGTH: Final = 256
_CREATED, _ACCEPTED = 201, 202
_CANCELLED: Final = "cancelled through the API"


class RequestQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one request."""

    order_id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the request.")]


class CancelQuery(RequestQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names the request to cancel."""

    reason: Annotated[str, Meta(min_length=1, max_length=1024, description="Why.")] = _CANCELLED


class OrderReceipt(Struct, frozen=True, kw_only=True):
    """Answer to a submission: the request is durable."""

    request_id: str
    state: RequestState
    """Always `queued`: the state at the submission. `GET /orders/{order_id}` has the present one."""
    created_ns: TimeNs
    message: str


class RuleViolation(Struct, frozen=True, kw_only=True):
    """A rule that a request violates."""

    rule: str
    """One of the rules of `docs/control.md`, such as `halted` or `price-collar`."""
    reason: str


class OrderCheck(Struct, frozen=True, kw_only=True):
    """Outcome of the checks of a request that was not queued."""

    passes: bool
    violations: list[RuleViolation]


class OrderRequestsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of requests by time of their submission, `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    account: Text | None = None
    state: RequestState | None = None
    is_final: (
        Annotated[
            bool,
            Meta(
                description="`true`: requests that are done, rejected, cancelled, expired or dead;"
                " `false`: the others."
            ),
        ]
        | None
    ) = None
    submitted_by: Annotated[Text, Meta(description="Name of the key.")] | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class TakeOrders(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process asks for work, and renews the leases of all that it holds."""

    holder: Name
    """Name of the process, for people."""
    session: Identifier
    """Identifies this run of the process: leases belong to it."""
    capacity: Annotated[int, Meta(ge=0, le=1000)]
    """Most requests that it wants to hold, with those that it holds already."""
    lease_seconds: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    """Time after which it loses what it holds unless it asks again."""
    wait_seconds: Annotated[float, Meta(ge=0, le=5)] = 0.0
    """How long the answer may wait for news: up to a third of `lease_seconds`."""
    strategies: Annotated[list[Name], Meta(max_length=256)] | None = None
    """Only requests of these strategies; null: of all."""
    held: Annotated[list[KnownRequest], Meta(max_length=1000)] = []
    """The requests that it knows that it holds."""


class LeasedRequest(StoredRequest, frozen=True, kw_only=True):
    """A request in the hands of a process."""

    token: int
    """Fencing token: every call about the request names it."""


class HeldRequest(Struct, frozen=True, kw_only=True):
    """A request that a process holds."""

    request_id: str
    token: int
    lease_until_ns: TimeNs | None
    cancel_requested_ns: TimeNs | None
    cancel_reason: str | None


class OrderNews(Struct, frozen=True, kw_only=True):
    """Answer to a process that has asked for work."""

    taken: list[LeasedRequest]
    """Requests that it has to deal with: those that it has got, and held ones that it did not name."""
    held: list[HeldRequest]
    """All requests that it holds."""
    lost: list[str]
    """Requests that it named and holds no longer, or not under that token."""


class BeginOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The holder is about to send the order."""

    token: int


class AckOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The holder has dealt with the request."""

    token: int
    order_id: Identifier | None = None
    """The order that it became, as in `order` events."""


class NackOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The holder gives the request back."""

    token: int
    outcome: NackOutcome
    reason: Reason


class ResolveOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person says what became of a request."""

    outcome: Resolution
    reason: Reason


async def submit_order(
    request: Request[NoQuery, AnyOrderRequest],
) -> StatusResponse[OrderReceipt]:
    """Queues an order request for the trading process. The answer follows when it is durable.

    With the header `Idempotency-Key` (up to 256 characters) a repeated submission gets the same answer, with
    200, and is queued once; another body under the same key gets 409. Keys belong to the name of the API key.
    """
    queue = queue_of(request)
    key = idempotency_key(request)
    record, is_new = await queue.submit(request.body, actor_of(request), key)
    return receipt_of(record, is_new=is_new)


def idempotency_key(request: Request[QueryT, BodyT]) -> str | None:
    """The key of a submission. Raises :class:`~api.http.problems.ProblemError`."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not (0 < len(key) <= _MAX_KEY_LENGTH and key.isprintable()):
        reason = f"has 1 to {_MAX_KEY_LENGTH} printable characters"
        raise ProblemError(
            "invalid-parameter",
            f"{IDEMPOTENCY_KEY}: {reason}",
            [FieldProblem(field=IDEMPOTENCY_KEY, reason=reason)],
        )
    return key


def receipt_of(record: RequestRecord, *, is_new: bool) -> StatusResponse[OrderReceipt]:
    """The answer to a submission."""
    receipt = OrderReceipt(
        request_id=record.request_id,
        state=RequestState.QUEUED,
        created_ns=record.created_ns,
        message="queued; a trading process takes it from here",
    )
    location = {"Location": f"/api/v1/orders/{record.request_id}"}
    return StatusResponse(receipt, _CREATED if is_new else 200, location)


async def check_order(request: Request[NoQuery, AnyOrderRequest]) -> OrderCheck:
    """Checks an order request as a submission does, and queues nothing.

    A request that passes now may be refused a moment later: markets move, and the submission checks again.
    """
    tried = await queue_of(request).dry_run(request.body)
    return OrderCheck(
        passes=tried.passes,
        violations=[
            RuleViolation(rule=check.rule, reason=check.reason)
            for check in tried.checks
            if check.reason is not None
        ],
    )


async def order_requests(request: Request[OrderRequestsQuery, None]) -> Page[StoredRequest]:
    """Returns order requests in their current state, the newest first.

    `orders` has them in one list with the orders.
    """
    query = request.query
    which = filters(query)
    found = await request.parts.queries.order_requests(which, limit=query.limit, cursor=query.cursor)
    if not found.items:
        await check_known(request.parts, which)
    return found


async def cancel_order(request: Request[CancelQuery, None]) -> StatusResponse[StoredRequest]:
    """Cancels a request that no process has begun (200), or asks its process to cancel the order (202).

    An id of an order that came from a request names the request.

    With 202 the answer of the process decides: it may come too late. A request that is over gets 409 with
    the reason.
    """
    query = request.query
    queue = queue_of(request)
    request_id = await _request_of(request, queue)
    record = await queue.cancel(request_id, query.reason, actor_of(request))
    status = 200 if record.state is RequestState.CANCELLED else _ACCEPTED
    return StatusResponse(shown_request(record), status)


async def _request_of(request: Request[CancelQuery, None], queue: RequestQueue) -> str:
    """The request that an id names, or that led to the order that it names."""
    order_id = request.query.order_id
    try:
        return (await queue.find(order_id)).request_id
    except UnknownRequestError:
        which = {"recorder": queue.recorder, "order_id": order_id}
        orders = await request.parts.queries.orders_by_id(which)
        ids = {order["request_id"] for order in orders}
        if not ids:
            raise
        if len(ids) > 1:
            detail = f"several orders have the id {order_id!r}; name the request of the one to cancel"
            raise ProblemError("ambiguous-name", detail) from None
        (request_id,) = ids
        if request_id is None:
            detail = "this order came from no request: only its own process can cancel it"
            raise ProblemError("request-conflict", detail) from None
        return str(request_id)


async def take_orders(request: Request[NoQuery, TakeOrders]) -> OrderNews:
    """Hands out requests to a trading process and renews its leases.

    The most urgent request is taken first, among equals the oldest. A process repeats this call at least
    three times in `lease_seconds`; with `wait_seconds` the answer waits until there is something new. A
    request that the process holds and does not name in `held` is sent again: a lost answer costs nothing.
    """
    body = request.body
    poll = Poll(
        holder=body.holder,
        session=body.session,
        capacity=body.capacity,
        lease_ns=round(body.lease_seconds * NS_PER_SECOND),
        strategies=body.strategies,
    )
    news = await queue_of(request).poll(
        poll, body.held, body.wait_seconds, actor_of(request), request.is_disconnected
    )
    return OrderNews(
        taken=[LeasedRequest(**_values(record), token=record.token) for record in news.taken],
        held=[_held(record) for record in news.held],
        lost=news.lost,
    )


async def begin_order(request: Request[RequestQuery, BeginOrder]) -> StoredRequest:
    """Notes that the holder sends the order now: from here on it is never handed out again on its own.

    Refused with 409 if the lease has ended, the request was cancelled or its valid-until has passed: then the
    process must not send the order.
    """
    queue, body = queue_of(request), request.body
    return shown_request(await queue.begin(request.query.order_id, body.token, actor_of(request)))


async def ack_order(request: Request[RequestQuery, AckOrder]) -> StoredRequest:
    """Notes that the holder has dealt with the request. Also after its lease, if nobody else had it since."""
    queue, body = queue_of(request), request.body
    return shown_request(
        await queue.ack(request.query.order_id, body.token, body.order_id, actor_of(request))
    )


async def nack_order(request: Request[RequestQuery, NackOrder]) -> StoredRequest:
    """Takes a request back from its holder.

    `retry`: nothing was sent, another process may try; after `control.max_attempts` it is dead. `rejected`:
    the process or the broker refuses it. `cancelled`: the order was cancelled, or was never sent.
    """
    queue, body = queue_of(request), request.body
    return shown_request(
        await queue.nack(request.query.order_id, body.token, body.outcome, body.reason, actor_of(request))
    )


async def resolve_order(request: Request[RequestQuery, ResolveOrder]) -> StoredRequest:
    """Notes what a person says about an unresolved or dead request, after a look at the venue."""
    queue, body = queue_of(request), request.body
    return shown_request(
        await queue.resolve(request.query.order_id, body.outcome, body.reason, actor_of(request))
    )


def queue_of(request: Request[QueryT, BodyT]) -> RequestQueue:
    """The queue. Raises :class:`~api.http.problems.ProblemError` where no key permits to trade."""
    parts = request.parts
    check_control(request)
    if parts.queue is None:
        raise ProblemError("not-enabled", "this process has no queue of orders")
    return parts.queue


def check_control(request: Request[QueryT, BodyT]) -> None:
    """Raises :class:`~api.http.problems.ProblemError` where no key permits to trade."""
    keys = request.parts.keys
    if not keys.is_read:
        raise ProblemError("database-unavailable", "the keys have not been read yet; try again")
    if not keys.permits(Scope.TRADE):
        detail = (
            "orders and halts are off: no key has the scope 'trade';"
            " make one with `decahertz keys create NAME --scope trade`"
        )
        raise ProblemError("not-enabled", detail)


def actor_of(request: Request[QueryT, BodyT]) -> Actor:
    """Who sends the request."""
    caller = request.caller
    return Actor(name=caller.name, key_id=caller.key_id, address=request.address)


def _values(record: RequestRecord) -> dict[str, Any]:
    values = asdict(record)
    return {name: values[name] for name in StoredRequest.__struct_fields__}


def _held(record: RequestRecord) -> HeldRequest:
    asked_ns = record.cancel_requested_ns
    return HeldRequest(
        request_id=record.request_id,
        token=record.token,
        lease_until_ns=record.lease_until_ns,
        cancel_requested_ns=asked_ns,
        cancel_reason=None if asked_ns is None else record.reason,
    )


_PATH: Final = "/api/v1/orders"
_PROBLEMS: Final = ("database-unavailable", "not-enabled")
_OF_ONE: Final = (*_PROBLEMS, "not-found", "request-conflict")


def _of_one(name: str, handler: Any, body: Any, summary: str) -> AnyRoute:  # noqa: ANN401 - of any request
    return Route(
        method="POST",
        path=f"{_PATH}/{{order_id}}/{name}",
        summary=summary,
        handler=handler,
        query=RequestQuery,
        body=BodyReader(body),
        response=StoredRequest,
        scope=Scope.TRADE,
        audit=f"order.{name}",
        problems=_OF_ONE,
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        method="POST",
        path=_PATH,
        summary="Submit an order request",
        handler=submit_order,
        body=BodyReader(AnyOrderRequest),
        response=OrderReceipt,
        statuses={201: "Queued.", 200: "Was queued by an earlier submission under the same key."},
        scope=Scope.TRADE,
        audit="order.submit",
        problems=(*_PROBLEMS, "invalid-parameter", "idempotency-key-reused", "order-refused"),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/check",
        summary="Check an order request",
        handler=check_order,
        body=BodyReader(AnyOrderRequest),
        response=OrderCheck,
        scope=Scope.TRADE,
        problems=_PROBLEMS,
    ),
    Route(
        path=f"{_PATH}/requests",
        summary="Order requests",
        handler=order_requests,
        anywhere=True,
        caching=Caching(reads=("order_requests",)),
        query=OrderRequestsQuery,
        response=Page[StoredRequest],
        problems=("invalid-cursor", "database-unavailable", "unknown-name"),
    ),
    Route(
        method="DELETE",
        path=f"{_PATH}/{{order_id}}",
        summary="Cancel an order request",
        handler=cancel_order,
        query=CancelQuery,
        response=StoredRequest,
        statuses={200: "Cancelled.", 202: "Its process is asked to cancel the order."},
        scope=Scope.TRADE,
        audit="order.cancel",
        problems=(*_OF_ONE, "ambiguous-name"),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/take",
        summary="Take order requests",
        handler=take_orders,
        body=BodyReader(TakeOrders),
        response=OrderNews,
        scope=Scope.TRADE,
        audit="order.take",
        waits=True,
        problems=_PROBLEMS,
    ),
    _of_one("begin", begin_order, BeginOrder, "Begin an order request"),
    _of_one("ack", ack_order, AckOrder, "Acknowledge an order request"),
    _of_one("nack", nack_order, NackOrder, "Give an order request back"),
    _of_one("resolve", resolve_order, ResolveOrder, "Resolve an order request by hand"),
)
