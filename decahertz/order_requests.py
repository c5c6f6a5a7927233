"""Order requests: what a person or program asks a trading process to do, and the states of such a request.

Decahertz sends nothing to a broker. It keeps requests in a durable queue, from which a trading process takes
them under a lease::

                          valid-until                          DELETE
         expired ◄──────────────────────── queued ────────────────────────► cancelled
                                            │  ▲                                ▲
                                      take  │  │ lease ends, nack "retry"       │ DELETE
                                            ▼  │ (after the last attempt: dead) │
                                          taken ────────────────────────────────┤
                                            │                                   │
                                     begin  │ durable; only now may             │ nack "cancelled"
                                            ▼ the process send the order        │
         rejected ◄── nack "rejected" ── working ───────────────────────────────┘
                                            │  │
                                       ack  │  │ lease ends
                                            ▼  ▼
                                        done  unresolved ──► (ack, nack of the holder, or a person) done, …

Each take has a new fencing token, and every later call of the holder names it: a process that has lost its
lease can change nothing. A ``taken`` request was not sent anywhere, so it goes back to the queue when its
lease ends. A ``working`` one may be in the market, so it is never handed out again on its own.

The functions here compute the next state and touch nothing else; ``storage.write.order_requests`` stores it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from decahertz.decode_errors import explained
from decahertz.event import Account, Identifier, Name, Side, TimeNs

Quantity: TypeAlias = Annotated[float, Meta(gt=0, lt=1e300)]
Price: TypeAlias = Annotated[float, Meta(gt=-1e300, lt=1e300)]
Reason: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]
_DATE: Final = explained(r"^\d{4}-\d{2}-\d{2}$(?!\n)", "a date is written 2026-03-20")
Notes: TypeAlias = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*$")]


class OrderType(StrEnum):
    """Type of an order."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(StrEnum):
    """How long an order works."""

    DAY = "day"
    GTC = "gtc"
    """Until it is cancelled."""
    IOC = "ioc"
    """The part that is not filled at once is cancelled."""
    FOK = "fok"
    """Filled whole and at once, or cancelled."""


class Priority(StrEnum):
    """Place in the queue: a higher one is taken first, among equals the older."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"

    @property
    def rank(self) -> int:
        """A number that is larger for what is taken earlier."""
        return _RANKS[self]


class _Rank(IntEnum):
    LOW, NORMAL, HIGH, URGENT = range(4)


_RANKS: Final = {priority: int(_Rank[priority.name]) for priority in Priority}
PRIORITIES: Final = tuple(sorted(Priority, key=lambda priority: priority.rank))
"""By rank."""


class OrderRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of the kinds of requests."""

    strategy: Name
    """The strategy that the order belongs to."""
    venue: Name
    """The venue, as in its quotes."""
    instrument: Name
    """Name of the instrument, as in its quotes; of options, their underlying."""
    order_type: OrderType
    limit_price: Price | None = None
    """Limit of `limit` and `stop_limit`; of several legs the net price of one unit, a credit is negative."""
    stop_price: Price | None = None
    """Trigger of `stop` and `stop_limit`."""
    time_in_force: TimeInForce = TimeInForce.DAY
    priority: Priority = Priority.NORMAL
    account: Account = ""
    """The account; empty for the only one."""
    signal_id: Identifier | None = None
    """The signal that led to the request."""
    notes: Notes = ""
    valid_until: int | str | None = None
    """When it expires if no process has begun it: nanoseconds since the Unix epoch, or RFC 3339."""


class EquityRequest(OrderRequest, frozen=True, kw_only=True, tag="equity"):
    """An order in one instrument: a share, a currency pair, a future."""

    side: Side
    quantity: Quantity


class OptionRight(StrEnum):
    """Right of an option."""

    CALL = "call"
    PUT = "put"


class OptionLeg(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One option of a strategy."""

    side: Side
    right: OptionRight
    strike: Annotated[float, Meta(gt=0, lt=1e300)]
    expiry: Annotated[str, Meta(pattern=_DATE, description="Date: `2026-03-20`.")]
    ratio: Annotated[int, Meta(ge=1, le=100)] = 1
    """Options per unit of the quantity."""


class OptionStrategyName(StrEnum):
    """Named option strategies; the legs have to form what the name says."""

    VERTICAL = "vertical"
    STRADDLE = "straddle"
    STRANGLE = "strangle"
    BUTTERFLY = "butterfly"
    IRON_CONDOR = "iron_condor"
    IRON_BUTTERFLY = "iron_butterfly"
    CALENDAR = "calendar"
    DIAGONAL = "diagonal"


_Units: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]


class OptionStrategyRequest(OrderRequest, frozen=True, kw_only=True, tag="option_strategy"):
    """A named option strategy. Its legs say what is bought and what is sold."""

    option_strategy: OptionStrategyName
    legs: Annotated[tuple[OptionLeg, ...], Meta(min_length=2, max_length=4)]
    quantity: _Units
    """Number of times that the legs are traded."""


class ManualLeg(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instrument of a request with several."""

    instrument: Name
    side: Side
    ratio: Annotated[int, Meta(ge=1, le=100)] = 1
    """Units per unit of the quantity."""


class ManualLegsRequest(OrderRequest, frozen=True, kw_only=True, tag="manual_legs"):
    """Several instruments at once. The legs say what is bought and what is sold."""

    legs: Annotated[tuple[ManualLeg, ...], Meta(min_length=2, max_length=8)]
    quantity: _Units
    """Number of times that the legs are traded."""


AnyOrderRequest: TypeAlias = EquityRequest | OptionStrategyRequest | ManualLegsRequest


class RequestState(StrEnum):
    """States of a request."""

    QUEUED = "queued"
    """Waits for a process."""
    TAKEN = "taken"
    """A process holds it, and has sent nothing."""
    WORKING = "working"
    """A process holds it, and may have sent its order."""
    DONE = "done"
    """The process has dealt with it."""
    REJECTED = "rejected"
    """The process, or the broker, refuses it."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """No process began it before its valid-until."""
    DEAD = "dead"
    """Every attempt ended without a begin: nothing was sent."""
    UNRESOLVED = "unresolved"
    """Its process was lost while it worked: the order may be in the market. It is never handed out again by
    itself; the process, or a person, says what became of it."""


class ListedState(StrEnum):
    """States in the list of orders: those of a request, and then those of its order."""

    QUEUED = "queued"
    TAKEN = "taken"
    WORKING = "working"
    DONE = "done"
    """A request that its process has dealt with, without an order that names it."""
    DEAD = "dead"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    UNRESOLVED = "unresolved"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class RequestKind(StrEnum):
    """Kinds of requests."""

    EQUITY = "equity"
    OPTION_STRATEGY = "option_strategy"
    MANUAL_LEGS = "manual_legs"


HELD: Final = frozenset({RequestState.TAKEN, RequestState.WORKING})
"""States in which a process holds the request."""
FINAL_REQUEST_STATES: Final = frozenset(
    {
        RequestState.DONE,
        RequestState.REJECTED,
        RequestState.CANCELLED,
        RequestState.EXPIRED,
        RequestState.DEAD,
    }
)


class NackOutcome(StrEnum):
    """Outcome of a request that a process gives back."""

    RETRY = "retry"
    """Nothing was sent: back to the queue."""
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Resolution(StrEnum):
    """Outcome of an unresolved request, as a person has found it."""

    DONE = "done"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    QUEUED = "queued"
    """Nothing was sent: back to the queue."""


class StoredRequest(Struct, frozen=True, kw_only=True):
    """A request in the queue."""

    request_id: str
    recorder: str
    created_ns: TimeNs
    updated_ns: TimeNs
    """Time of its newest change of state."""
    state: RequestState
    body: AnyOrderRequest
    """The request as it was submitted."""
    submitted_by: str
    """Name of the key; `local` without one."""
    valid_until_ns: int | None
    holder: str | None
    """The process that holds it, or held it last."""
    lease_until_ns: int | None
    """When the lease of its holder ends unless it is renewed; null: nobody holds it."""
    attempts: int
    """Times that a process took it."""
    begun_ns: int | None
    """When its process began the last attempt."""
    cancel_requested_ns: int | None
    """When its process was asked to cancel the order."""
    reason: str | None
    """Why it has its state, in the words of its last change."""
    order_id: str | None
    """The order that the process says it became."""
    template_id: str | None = None
    """The template that it was made from, if it was."""
    template_version: int | None = None
    scheduled_ns: int | None = None
    """The time of the template's schedule at which it was submitted; null: by hand."""


class TemplateUse(Struct, frozen=True, kw_only=True):
    """The template that a request was made from."""

    template_id: str
    version: int
    scheduled_ns: int | None = None
    """The scheduled time; ``None``: by hand."""


class RequestRecord(StoredRequest, frozen=True, kw_only=True):
    """A request with what only its holder is told."""

    token: int
    """Fencing token of the newest take; 0: nobody has taken it."""
    session: str | None
    """The session that holds it."""
    lease_ns: int
    """Length of the lease."""


AUDITED: Final = ("state", "holder", "token", "attempts", "reason", "order_id")
"""Fields of a record that the audit log has before and after each change."""


def shown_request(record: RequestRecord) -> StoredRequest:
    """A request without what only its holder is told."""
    return StoredRequest(**{name: getattr(record, name) for name in StoredRequest.__struct_fields__})


class RequestConflictError(Exception):
    """Raised for a change that the state of a request does not permit; the text says why."""


class ChangeType(StrEnum):
    """Kinds of changes, as the topic `orders` and the audit log name them."""

    SUBMITTED = "order_submitted"
    TAKEN = "order_taken"
    BEGUN = "order_begun"
    REQUEUED = "order_requeued"
    CANCEL_REQUESTED = "order_cancel_requested"
    DONE = "order_done"
    REJECTED = "order_rejected"
    CANCELLED = "order_cancelled"
    EXPIRED = "order_expired"
    DEAD = "order_dead"
    UNRESOLVED = "order_unresolved"


class RequestChange(Struct, frozen=True, kw_only=True, gc=False):
    """A change of a request, as the topic `orders` has it."""

    type: ChangeType
    time_ns: TimeNs
    request_id: str
    state: RequestState
    strategy: str
    venue: str
    instrument: str
    kind: str
    """Kind of the request: `equity`, `option_strategy` or `manual_legs`."""
    priority: Priority
    holder: str | None
    attempts: int
    reason: str | None
    order_id: str | None
    actor: str
    """Who made the change: the name of a key, `local`, or `recorder`."""


def change_of(record: RequestRecord, kind: ChangeType, actor: str) -> RequestChange:
    """The message about a change that led to this record."""
    body = record.body
    return RequestChange(
        type=kind,
        time_ns=record.updated_ns,
        request_id=record.request_id,
        state=record.state,
        strategy=body.strategy,
        venue=body.venue,
        instrument=body.instrument,
        kind=str(body.__struct_config__.tag),
        priority=body.priority,
        holder=record.holder,
        attempts=record.attempts,
        reason=record.reason,
        order_id=record.order_id,
        actor=actor,
    )


def is_expired(record: RequestRecord, now_ns: int) -> bool:
    """Whether the valid-until of a request has passed."""
    return record.valid_until_ns is not None and record.valid_until_ns <= now_ns


def take(record: RequestRecord, holder: str, session: str, lease_ns: int, now_ns: int) -> RequestRecord:
    """A queued request in the hands of a process, under a new token."""
    return replace(
        record,
        state=RequestState.TAKEN,
        updated_ns=now_ns,
        holder=holder,
        session=session,
        token=record.token + 1,
        attempts=record.attempts + 1,
        lease_ns=lease_ns,
        lease_until_ns=now_ns + lease_ns,
        begun_ns=None,
        reason=None,
    )


def begin(record: RequestRecord, token: int, now_ns: int) -> RequestRecord:
    """The request, whose holder may send the order from now on. Raises :class:`RequestConflictError`."""
    _check_token(record, token)
    if record.state is RequestState.WORKING:
        return record  # the answer to an earlier call was lost
    if record.state is not RequestState.TAKEN:
        raise RequestConflictError(_was(record))
    if record.lease_until_ns is None or record.lease_until_ns <= now_ns:
        raise RequestConflictError("its lease has ended")
    if is_expired(record, now_ns):
        raise RequestConflictError("its valid-until has passed")
    return replace(record, state=RequestState.WORKING, updated_ns=now_ns, begun_ns=now_ns)


def release(record: RequestRecord, token: int, reason: str, now_ns: int) -> RequestRecord:
    """A request that was not begun, back in the queue; the attempt does not count."""
    if record.state is not RequestState.TAKEN or record.token != token:
        return record
    return replace(_queued(record, reason, now_ns), attempts=record.attempts - 1)


def ack(record: RequestRecord, token: int, order_id: str | None, now_ns: int) -> RequestRecord:
    """The request as done. Raises :class:`RequestConflictError`."""
    _check_token(record, token)
    if record.state is RequestState.DONE and order_id in (None, record.order_id):
        return record
    if record.state not in (RequestState.WORKING, RequestState.UNRESOLVED):
        raise RequestConflictError("it was not begun" if record.state is RequestState.TAKEN else _was(record))
    return _ended(record, RequestState.DONE, None, now_ns, order_id=order_id or record.order_id)


def nack(
    record: RequestRecord, token: int, outcome: NackOutcome, reason: str, now_ns: int, max_attempts: int
) -> RequestRecord:
    """The request after its holder has given it back. Raises :class:`RequestConflictError`."""
    _check_token(record, token)
    if record.state not in (*HELD, RequestState.UNRESOLVED):
        if record.state == outcome.value and record.reason == reason:
            return record
        raise RequestConflictError(_was(record))
    if outcome is NackOutcome.RETRY:
        return _given_back(record, reason, now_ns, max_attempts)
    return _ended(record, RequestState(outcome.value), reason, now_ns)


def cancel(record: RequestRecord, reason: str, now_ns: int) -> RequestRecord:
    """The request as cancelled, or with the note that its holder is asked to cancel the order.

    Raises :class:`RequestConflictError`.
    """
    if record.state in (RequestState.QUEUED, RequestState.TAKEN):
        return _ended(record, RequestState.CANCELLED, reason, now_ns)
    if record.state is RequestState.WORKING:
        if record.cancel_requested_ns is not None:
            return record
        return replace(record, updated_ns=now_ns, cancel_requested_ns=now_ns, reason=reason)
    if record.state is RequestState.CANCELLED:
        return record
    if record.state is RequestState.UNRESOLVED:
        raise RequestConflictError(
            "it is unresolved: its process is gone, so nobody can be asked; look at the venue and resolve it"
        )
    raise RequestConflictError(_was(record))


def resolve(record: RequestRecord, resolution: Resolution, reason: str, now_ns: int) -> RequestRecord:
    """An unresolved or dead request after a person has said what became of it.

    Raises :class:`RequestConflictError`.
    """
    if record.state not in (RequestState.UNRESOLVED, RequestState.DEAD):
        raise RequestConflictError(f"{_was(record)}; only an unresolved or dead request is resolved by hand")
    if resolution is Resolution.QUEUED:
        if is_expired(record, now_ns):
            raise RequestConflictError("its valid-until has passed")
        # A new token, so that the process that was lost can say nothing about it any more.
        fresh = replace(record, token=record.token + 1, attempts=0, cancel_requested_ns=None)
        return _queued(fresh, reason, now_ns)
    return _ended(record, RequestState(resolution.value), reason, now_ns)


def lapse(record: RequestRecord, now_ns: int, max_attempts: int) -> RequestRecord:
    """The request after its lease or its valid-until has ended; unchanged if neither has."""
    if record.state in HELD and record.lease_until_ns is not None and record.lease_until_ns <= now_ns:
        if record.state is RequestState.WORKING:
            reason = f"{record.holder} was lost while it worked"
            return replace(
                record,
                state=RequestState.UNRESOLVED,
                updated_ns=now_ns,
                lease_until_ns=None,
                reason=reason,
            )
        return _given_back(record, f"the lease of {record.holder} ended", now_ns, max_attempts)
    if record.state in (RequestState.QUEUED, RequestState.TAKEN) and is_expired(record, now_ns):
        return _ended(record, RequestState.EXPIRED, "its valid-until has passed", now_ns)
    return record


def _given_back(record: RequestRecord, reason: str, now_ns: int, max_attempts: int) -> RequestRecord:
    if record.cancel_requested_ns is not None:
        return _ended(record, RequestState.CANCELLED, reason, now_ns)
    if is_expired(record, now_ns):
        return _ended(record, RequestState.EXPIRED, f"{reason}; its valid-until has passed", now_ns)
    if record.attempts >= max_attempts:
        return _ended(record, RequestState.DEAD, f"{reason}; it was attempt {record.attempts}", now_ns)
    return _queued(record, reason, now_ns)


def _queued(record: RequestRecord, reason: str, now_ns: int) -> RequestRecord:
    return replace(
        record,
        state=RequestState.QUEUED,
        updated_ns=now_ns,
        session=None,
        lease_until_ns=None,
        begun_ns=None,
        reason=reason,
    )


def _ended(
    record: RequestRecord, state: RequestState, reason: str | None, now_ns: int, order_id: str | None = None
) -> RequestRecord:
    return replace(
        record,
        state=state,
        updated_ns=now_ns,
        lease_until_ns=None,
        reason=reason,
        order_id=order_id or record.order_id,
    )


def _check_token(record: RequestRecord, token: int) -> None:
    if token != record.token:
        raise RequestConflictError("another process has taken it since, or it was given back by hand")


def _was(record: RequestRecord) -> str:
    reason = f": {record.reason}" if record.reason else ""
    return f"it is {record.state.value}{reason}"


_KINDS_BY_STATE: Final = {
    RequestState.QUEUED: ChangeType.REQUEUED,
    RequestState.TAKEN: ChangeType.TAKEN,
    RequestState.WORKING: ChangeType.BEGUN,
    RequestState.DONE: ChangeType.DONE,
    RequestState.REJECTED: ChangeType.REJECTED,
    RequestState.CANCELLED: ChangeType.CANCELLED,
    RequestState.EXPIRED: ChangeType.EXPIRED,
    RequestState.DEAD: ChangeType.DEAD,
    RequestState.UNRESOLVED: ChangeType.UNRESOLVED,
}


def change_type(before: RequestRecord, after: RequestRecord) -> ChangeType:
    """Kind of the change from one record to the next."""
    if before.state is after.state:
        return ChangeType.CANCEL_REQUESTED
    return _KINDS_BY_STATE[after.state]


TOPIC: Final = "order_requests"
"""Topic of the bus; its messages are changes."""
BODY_DECODER: Final = msgspec.json.Decoder(AnyOrderRequest)
"""Decodes the body of a stored request."""
