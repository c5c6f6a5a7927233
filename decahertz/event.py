"""Events: facts that happened once.

An event's identity is ``(source, epoch, sequence)``: the emitting process, the start of that
process, and its counter. Events travel in an :class:`EventBatch`, which carries the identity of its
first event; the others follow without a hole. On the wire an event is an object whose ``type`` says
which of the types below it is.

Times are integer nanoseconds since the Unix epoch, UTC. Prices are in the instrument's quote
currency, quantities in its own unit, money in the account's currency. Numbers are finite.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

TimeNs: TypeAlias = Annotated[
    int, Meta(gt=0, le=2**63 - 1, description="Nanoseconds since the Unix epoch, UTC.")
]
# The bounds refuse NaN and the infinities, which MessagePack can carry and JSON cannot.
Number: TypeAlias = Annotated[float, Meta(gt=-1e300, lt=1e300)]
Size: TypeAlias = Annotated[float, Meta(ge=0, lt=1e300)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# What is added up over all starts of an emitter has to fit into 64 bits too.
Loss: TypeAlias = Annotated[int, Meta(ge=0, le=2**48)]
# The last group refuses a line break at the end, which ``$`` alone lets through in Python.
_NAME = r"^[^\s:*\x00-\x1f](?:[^:*\x00-\x1f]*[^\s:*\x00-\x1f])?$(?!\n)"
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, pattern=_NAME)]
"""A segment of a topic: no colon, no asterisk, no control character, no blank at either end."""
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Text: TypeAlias = Annotated[str, Meta(max_length=16_384, pattern=r"^[^\x00]*$")]


class Side(StrEnum):
    """The direction of an order, a fill or the aggressor of a print."""

    BUY = "buy"
    SELL = "sell"


class Direction(StrEnum):
    """What a signal asks for."""

    BUY = "buy"
    SELL = "sell"
    FLAT = "flat"


class OrderState(StrEnum):
    """Life cycle of an order. The last four are final."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


FINAL_ORDER_STATES = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED},
)


class Liquidity(StrEnum):
    """Whether a fill provided or took liquidity."""

    MAKER = "maker"
    TAKER = "taker"


class PositionSource(StrEnum):
    """Who holds a position."""

    BOT = "bot"
    MANUAL = "manual"
    AUTONOMOUS = "autonomous"


class ConnectionState(StrEnum):
    """What a heartbeat says of the feed or component it speaks for."""

    OPEN = "open"
    """Connected and subscribed."""
    CLOSED = "closed"
    """Not connected, or the market is closed."""


class LogLevel(StrEnum):
    """Severity of a log line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Event(
    Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag=str.lower,
):
    """Base of all events."""

    time_ns: TimeNs
    """When it happened, by the clock of where it happened (the venue, the trading process)."""


class MarketEvent(Event, frozen=True, kw_only=True):
    """Base of what a venue publishes."""

    venue: Name
    instrument: Name
    sequence: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """The venue's own number of this message, where it numbers them."""
    missed: Count = 0
    """How many numbered messages of this instrument were never received just before this one."""


class Quote(MarketEvent, frozen=True, kw_only=True):
    """Best bid and ask. An empty side is ``None``."""

    bid: Number | None = None
    ask: Number | None = None
    bid_size: Size | None = None
    ask_size: Size | None = None


class Tick(MarketEvent, frozen=True, kw_only=True):
    """A print: one trade on the market."""

    price: Number
    size: Size
    side: Side | None = None
    """The aggressor's side."""
    trade_id: Identifier | None = None


class StrategyEvent(Event, frozen=True, kw_only=True):
    """Base of what a strategy does in one instrument."""

    strategy: Name
    venue: Name
    instrument: Name


class Signal(StrategyEvent, frozen=True, kw_only=True):
    """A strategy's wish, before any order."""

    signal_id: Identifier
    direction: Direction
    strength: Number | None = None
    price: Number | None = None
    """The decision price: the market when the strategy decided."""
    risk: Size | None = None
    """Money at risk if the trade goes to its stop: the R of the trade."""
    reason: Text | None = None


class Order(StrategyEvent, frozen=True, kw_only=True):
    """A change in the life of an order; every change repeats what identifies the order."""

    order_id: Identifier
    state: OrderState
    side: Side
    quantity: Size
    filled_quantity: Size | None = None
    price: Number | None = None
    """Limit price, where there is one."""
    arrival_price: Number | None = None
    """Mid of the market when the order was submitted."""
    order_type: Identifier | None = None
    signal_id: Identifier | None = None
    reason: Text | None = None
    """Why it was rejected, cancelled or expired."""


class Fill(StrategyEvent, frozen=True, kw_only=True):
    """An execution of an order, whole or in part."""

    order_id: Identifier
    fill_id: Identifier
    side: Side
    price: Number
    quantity: Annotated[float, Meta(gt=0, lt=1e300)]
    fee: Number = 0.0
    """Money paid (negative: a rebate)."""
    liquidity: Liquidity | None = None
    risk: Size | None = None
    """Money at risk of the trade that this fill opens, when known: the R of the trade."""


class Position(StrategyEvent, frozen=True, kw_only=True):
    """What a strategy holds in one instrument; quantity is negative when short."""

    quantity: Number
    average_price: Number | None = None
    mark_price: Number | None = None
    held_by: PositionSource = PositionSource.BOT


class Equity(Event, frozen=True, kw_only=True):
    """The worth of a strategy's account, marked to market, in money."""

    strategy: Name
    equity: Number
    cash: Number | None = None


class Regime(Event, frozen=True, kw_only=True):
    """The market regime that a strategy (or, without one, the desk) believes in."""

    regime: Name
    strategy: Name | None = None
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None


class Risk(Event, frozen=True, kw_only=True):
    """A risk measure beside its limit."""

    name: Name
    value: Number
    limit: Number | None = None
    strategy: Name | None = None
    breached: bool = False


class News(Event, frozen=True, kw_only=True):
    """A headline. Sentiment runs from -1 (bad) to 1 (good)."""

    headline: Text
    publisher: Identifier | None = None
    instruments: tuple[Name, ...] = ()
    sentiment: Annotated[float, Meta(ge=-1, le=1)] | None = None


class Log(Event, frozen=True, kw_only=True):
    """A line that a component of the trading system logged."""

    component: Name
    level: LogLevel
    message: Text


class Heartbeat(Event, frozen=True, kw_only=True):
    """A sign of life from a feed (with a venue) or a component.

    Without an instrument it speaks for all instruments of the venue.
    """

    component: Name
    connection: ConnectionState = ConnectionState.OPEN
    venue: Name | None = None
    instrument: Name | None = None


AnyEvent: TypeAlias = (
    Quote | Tick | Signal | Order | Fill | Position | Equity | Regime | Risk | News | Log | Heartbeat
)

EVENT_TYPES: tuple[type[Event], ...] = (
    Quote,
    Tick,
    Signal,
    Order,
    Fill,
    Position,
    Equity,
    Regime,
    Risk,
    News,
    Log,
    Heartbeat,
)


def type_name(event_type: type[Event]) -> str:
    """The ``type`` of an event on the wire: ``quote`` for :class:`Quote`."""
    tag = event_type.__struct_config__.tag
    assert isinstance(tag, str)  # noqa: S101 - the base class sets it
    return tag


class EventBatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events of one emitter, numbered without a hole from ``first_sequence``."""

    source: Name
    """Name of the emitting process, unique among the emitters of one pipeline."""
    epoch: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """When the emitting process started (nanoseconds UTC): its counter starts anew with it."""
    first_sequence: Annotated[int, Meta(ge=1, le=2**62)]
    events: Annotated[tuple[AnyEvent, ...], Meta(max_length=100_000)]
    dropped: Annotated[dict[Identifier, Loss], Meta(max_length=16)] = {}
    """Events that this emitter lost so far in this epoch, by reason; they have no sequence number."""

    @property
    def last_sequence(self) -> int:
        """Sequence of the last event; ``first_sequence - 1`` for an empty batch."""
        return self.first_sequence + len(self.events) - 1


class Arrival(Struct, frozen=True, kw_only=True):
    """A batch as this process received it: what travels on the bus."""

    batch: EventBatch
    received_ns: int
    """When the batch reached this process, nanoseconds UTC by this machine's clock."""
    encoded: bytes = b""
    """The MessagePack bytes that ``batch`` was decoded from, on the way to storage; empty elsewhere."""
