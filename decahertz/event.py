"""Event types: facts that happened once.

``(source, epoch, sequence)`` identifies an event: the emitting process, the start of that process, and its
counter. Events travel in an :class:`EventBatch`, which carries the identity of its first event; the others
follow without a gap. On the wire an event is an object whose ``type`` names its class in lower case.

An event type declares its table and its topic in class variables; tables, topics, exports and retention
settings derive from them. A new event type is a class here, named in :data:`AnyEvent`, and the migration
that creates its table.

Times are integer nanoseconds since the Unix epoch, UTC. Prices are in the instrument's quote
currency, quantities in its own unit, money in the account's currency. Numbers are finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias, get_args

from msgspec import Meta, Struct

from decahertz.topic import segment

Origin: TypeAlias = tuple[str, int, int]
"""Identity of an event: source and epoch of its emitter, and its sequence."""
TimeNs: TypeAlias = Annotated[
    int, Meta(gt=0, le=2**63 - 1, description="Nanoseconds since the Unix epoch, UTC.")
]
# The bounds refuse NaN and the infinities, which MessagePack can carry and JSON cannot.
Number: TypeAlias = Annotated[float, Meta(gt=-1e300, lt=1e300)]
Size: TypeAlias = Annotated[float, Meta(ge=0, lt=1e300)]
_Positive: TypeAlias = Annotated[float, Meta(gt=0, lt=1e300)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The sum over all starts of an emitter must fit into 64 bits too.
Loss: TypeAlias = Annotated[int, Meta(ge=0, le=2**48)]
# The last group rejects a trailing line break, which ``$`` alone accepts in Python.
_NAME = r"^[^\s\x00-\x1f](?:[^\x00-\x1f]*[^\s\x00-\x1f])?$(?!\n)"
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, pattern=_NAME)]
"""A name: no control character, no leading or trailing whitespace. In topics it is escaped."""
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Text: TypeAlias = Annotated[str, Meta(max_length=16_384, pattern=r"^[^\x00]*$")]


# ``extra`` names the column of a field that cannot have the field's own name.
_VenueSequence: TypeAlias = Annotated[
    int, Meta(ge=-(2**63), le=2**63 - 1, extra={"column": "venue_sequence"})
]
_AnyInteger: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Account: TypeAlias = Annotated[
    str, Meta(max_length=128, pattern=r"^(?:[^\s\x00-\x1f](?:[^\x00-\x1f]*[^\s\x00-\x1f])?)?$(?!\n)")
]
"""An account; empty for the only one of a strategy."""
_Moment: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_StatedTime: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Limit: TypeAlias = Annotated[Number, Meta(extra={"column": "limit_value"})]


class Side(StrEnum):
    """Side of an order or a fill; of a tick, the aggressor's."""

    BUY = "buy"
    SELL = "sell"


class Direction(StrEnum):
    """Direction that a signal asks for."""

    BUY = "buy"
    SELL = "sell"
    FLAT = "flat"


class OrderState(StrEnum):
    """Order states. The last four are final."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    UNRESOLVED = "unresolved"
    """The trading process does not know what became of it: no answer, or a contradictory one."""
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


class FillKind(StrEnum):
    """The kind of a fill."""

    TRADE = "trade"
    """An execution on the market."""
    OPENING = "opening"
    """A position that existed before the record begins, at its cost."""
    TRANSFER = "transfer"
    """A position moved in or out without a trade, at its value."""
    SETTLEMENT = "settlement"
    """An expiry, an exercise or a delivery, at the settlement price."""
    BUST = "bust"
    """Annuls the fill with the same order and fill id."""
    CORRECTION = "correction"
    """Replaces the fill with the same order and fill id."""


class CashKind(StrEnum):
    """The kind of a cash flow."""

    FUNDING = "funding"
    """Funding of a perpetual swap."""
    INTEREST = "interest"
    DIVIDEND = "dividend"
    ADJUSTMENT = "adjustment"
    """A correction of the balance by the broker or venue."""
    TRANSFER = "transfer"
    """A deposit or a withdrawal: no result."""


class PositionSource(StrEnum):
    """Who holds a position."""

    BOT = "bot"
    MANUAL = "manual"
    AUTONOMOUS = "autonomous"


class ConnectionState(StrEnum):
    """State that a heartbeat reports of its feed or component."""

    OPEN = "open"
    """Connected and subscribed."""
    CLOSED = "closed"
    """The market is closed."""
    DISCONNECTED = "disconnected"
    """Not connected; the feed tries again."""


class InstrumentKind(StrEnum):
    """Kind of an instrument."""

    SPOT = "spot"
    FUTURE = "future"
    PERPETUAL = "perpetual"
    """A perpetual swap."""
    OPTION = "option"
    FX = "fx"
    """A currency pair."""
    INDEX = "index"


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

    table: ClassVar[str]
    """Name of the table that stores the events of this type."""
    topic: ClassVar[str]
    """First segment of the topic; the only one unless ``topic_key`` is set."""
    topic_key: ClassVar[str] = ""
    """Field whose value is the second segment of the topic."""
    topic_names: ClassVar[str] = ""
    """Field with names, each of which is the second segment of a further topic of the event."""
    bulk: ClassVar[bool] = False
    """Whether the table grows without bound; a bulk table is partitioned and has a retention setting."""
    retention_days: ClassVar[int] = 0
    """Default retention of a bulk table; 0 keeps its rows forever."""
    follows_raw: ClassVar[bool] = False
    """Whether that retention follows the one of raw samples, where this is set."""
    key: ClassVar[tuple[str, ...]] = ()
    """Fields that identify one series in a bulk table; it is indexed and compressed by them."""

    time_ns: TimeNs
    """When it happened, by the clock of its origin (the venue, the trading process)."""


class MarketEvent(Event, frozen=True, kw_only=True):
    """Base of the events that a venue publishes."""

    topic_key = "instrument"
    bulk = True
    retention_days = 30
    follows_raw = True
    key = ("venue", "instrument")

    venue: Name
    """The venue, as in the orders and fills that go there."""
    instrument: Name
    """Name of the instrument, as in orders and fills."""
    sequence: _VenueSequence | None = None
    """The venue's own sequence number of the message, if it numbers them."""
    missed: Count = 0
    """Numbered messages of this instrument lost just before this one."""


class Quote(MarketEvent, frozen=True, kw_only=True):
    """Best bid and ask. An empty side is ``None``."""

    table = "quotes"
    topic = "quotes"

    bid: Number | None = None
    """Best bid price."""
    ask: Number | None = None
    """Best ask price."""
    bid_size: Size | None = None
    """Quantity at the best bid."""
    ask_size: Size | None = None
    """Quantity at the best ask."""


class Tick(MarketEvent, frozen=True, kw_only=True):
    """A trade print on the market."""

    table = "ticks"
    topic = "ticks"

    price: Number
    """Price of the trade."""
    size: Size
    """Quantity of the trade."""
    side: Side | None = None
    """The aggressor's side."""
    trade_id: Identifier | None = None
    """The venue's own id of the trade."""


class Gap(Event, frozen=True, kw_only=True):
    """Messages of a venue that were missed, by its numbers. A gap that is closed is reported once more."""

    table = "gaps"
    topic = "gaps"

    venue: Name
    """The venue."""
    instrument: Name
    """Name of the instrument, as in its quotes and ticks."""
    numbering: Name
    """The messages that are numbered: `ticks`, `quotes`."""
    from_sequence: _AnyInteger | None = None
    """First missing number, if it is known."""
    to_sequence: _AnyInteger | None = None
    """Last missing number, if it is known."""
    from_ns: _Moment | None = None
    """Time of the newest message before the gap, if there was one."""
    to_ns: _Moment | None = None
    """Time of the message that revealed the gap."""
    missing: Count
    """Messages that were missed; 0 once all have arrived late."""
    recovered: bool = False
    """Whether all of them have arrived late."""
    announced: bool = False
    """Whether a heartbeat of the venue revealed it, and no later message."""


class Instrument(Event, frozen=True, kw_only=True):
    """Definition of an instrument at a venue. The newest one of an instrument counts."""

    table = "instrument_events"
    topic = "instruments"

    venue: Name
    """The venue."""
    instrument: Name
    """Name of the instrument at the venue, as in quotes, ticks and orders."""
    kind: InstrumentKind
    """Kind of the instrument."""
    base_currency: Name | None = None
    """Currency or asset of the quantity: ``BTC`` of ``BTC-USD``."""
    quote_currency: Name | None = None
    """Currency of the price: ``USD`` of ``BTC-USD``."""
    settlement_currency: Name | None = None
    """Currency of P&L and margin; ``None``: the quote currency."""
    multiplier: _Positive = 1.0
    """Units of the underlying per unit of quantity."""
    inverse: bool = False
    """Whether a contract is worth a fixed amount of the quote currency and settles in the base currency."""
    tick_size: _Positive | None = None
    """Smallest price increment."""
    lot_size: _Positive | None = None
    """Smallest quantity increment."""
    expiry_ns: _Moment | None = None
    """When it expires, if it does."""
    calendar: Name | None = None
    """Its trading calendar: ``XNYS``; ``None``: it trades around the clock."""
    aliases: tuple[Name, ...] = ()
    """Other names of the instrument: a position is valued by quotes under any of them."""


class StrategyEvent(Event, frozen=True, kw_only=True):
    """Base of the events of a strategy in one instrument."""

    strategy: Name
    """The strategy."""
    venue: Name
    """The venue, as in its quotes."""
    instrument: Name
    """Name of the instrument, as in its quotes."""


class Signal(StrategyEvent, frozen=True, kw_only=True):
    """A trading signal of a strategy, before any order."""

    table = "signals"
    topic = "signals"

    signal_id: Identifier
    """Identifies the signal in orders."""
    direction: Direction
    """The action that the strategy wants."""
    strength: Number | None = None
    """How sure the strategy is, on a scale of its own."""
    price: Number | None = None
    """Decision price: the market price when the strategy decided."""
    risk: Size | None = None
    """Money at risk if the trade goes to its stop: the R of the trade."""
    reason: Text | None = None
    """Why the strategy decided so."""


class Order(StrategyEvent, frozen=True, kw_only=True):
    """A state change of an order. Every change repeats the fields that identify the order."""

    table = "order_events"
    topic = "orders"

    order_id: Identifier
    """Identifies the order within its strategy, account, venue and instrument."""
    state: OrderState
    """The new state."""
    side: Side
    """Side of the order."""
    quantity: Size
    """Quantity ordered."""
    filled_quantity: Size | None = None
    """Quantity filled so far."""
    price: Number | None = None
    """Limit price, if any."""
    arrival_price: Number | None = None
    """Mid of the market when the order was submitted."""
    order_type: Identifier | None = None
    """Type of the order, in the strategy's own words: ``limit``."""
    signal_id: Identifier | None = None
    """The signal that led to the order."""
    reason: Text | None = None
    """Why it was rejected, cancelled or expired."""
    account: Account = ""
    """The account; empty for the only one."""
    decided_ns: _Moment | None = None
    """When the strategy decided, if no signal says it."""
    decision_price: Number | None = None
    """Mid of the market at the decision, if no signal says it."""
    queue_seconds: Size | None = None
    """How long the order waited in queues of the trading process before it was submitted."""
    limiter_seconds: Size | None = None
    """How long it waited for the trading process's own rate limiter."""
    request_id: Identifier | None = None
    """The order request that led to it, if one did."""
    multiplier: _Positive | None = None
    """Units of the underlying per unit of quantity; ``None``: not known. Unless stated, the recorder adds
    this field and those that follow to the report of an order's end, as it does to a fill."""
    inverse: bool | None = None
    """Whether the instrument settles in its base currency."""
    currency: Name | None = None
    """Settlement currency."""
    rate: _Positive | None = None
    """Units of the account currency per unit of the settlement currency, when the order ended."""
    stated_time_ns: _StatedTime | None = None
    """The time that the emitter stated, if it is impossible; ``time_ns`` is that of receipt, or corrected."""


class Fill(StrategyEvent, frozen=True, kw_only=True):
    """A full or partial execution of an order."""

    table = "fills"
    topic = "fills"

    order_id: Identifier
    """The order."""
    fill_id: Identifier
    """Identifies the fill within its order: a fill that is reported again counts once."""
    side: Side
    """Side of the fill."""
    price: Number
    """Price of the fill."""
    quantity: _Positive
    """Quantity filled by it."""
    fee: Number = 0.0
    """Fee paid; a rebate is negative."""
    fee_currency: Name | None = None
    """Currency of the fee; ``None``: the settlement currency of the instrument."""
    liquidity: Liquidity | None = None
    """Whether it provided or took liquidity."""
    risk: Size | None = None
    """Money at risk in the trade that this fill opens, if known: the R of the trade."""
    kind: FillKind = FillKind.TRADE
    """Its kind; a trade on the market unless stated."""
    account: Account = ""
    """The account; empty for the only one."""
    multiplier: _Positive | None = None
    """Units of the underlying per unit of quantity; ``None``: not known. Unless stated, the recorder adds
    this field and those that follow, from the definition of the instrument and its own mids at the time."""
    inverse: bool | None = None
    """Whether the instrument settles in its base currency."""
    lot_size: _Positive | None = None
    """Smallest quantity increment."""
    base_currency: Name | None = None
    """Currency or asset of the quantity."""
    currency: Name | None = None
    """Settlement currency: that of the result."""
    rate: _Positive | None = None
    """Units of the account currency per unit of the settlement currency, at the time of the fill."""
    fee_rate: _Positive | None = None
    """Units of the account currency per unit of the fee's currency, at the time of the fill."""
    stated_time_ns: _StatedTime | None = None
    """The time that the emitter stated, if it is impossible; ``time_ns`` is that of receipt, or corrected."""


class Position(StrategyEvent, frozen=True, kw_only=True):
    """A strategy's position in one instrument; a short position has a negative quantity."""

    table = "positions"
    topic = "positions"

    quantity: Number
    """Quantity held; negative when short."""
    average_price: Number | None = None
    """Average entry price."""
    mark_price: Number | None = None
    """Price to value it at, where no quotes are recorded."""
    held_by: PositionSource = PositionSource.BOT
    """Who holds it."""
    account: Account = ""
    """The account; empty for the only one."""


class Cash(Event, frozen=True, kw_only=True):
    """A cash flow that is not part of a fill: funding, interest, a dividend, an adjustment, a transfer."""

    table = "cash"
    topic = "cash"

    strategy: Name
    """The strategy."""
    cash_id: Identifier
    """Identifies the flow within its strategy and account: one that is reported again counts once."""
    kind: CashKind
    """Its kind. A transfer is not a result; all others are."""
    amount: Number
    """Amount received; negative when paid."""
    currency: Name | None = None
    """Its currency; ``None``: the account currency."""
    account: Account = ""
    """The account; empty for the only one."""
    venue: Name | None = None
    """The venue, of a flow that belongs to an instrument."""
    instrument: Name | None = None
    """The instrument, of a flow that belongs to one."""
    reason: Text | None = None
    """In the words of the broker or venue."""
    rate: _Positive | None = None
    """Units of the account currency per unit of its currency, at its time. The recorder adds it, from its own
    mids, unless it is stated."""


class Equity(Event, frozen=True, kw_only=True):
    """Equity of a strategy's account, marked to market, in money."""

    table = "equity"
    topic = "equity"

    strategy: Name
    """The strategy."""
    equity: Number
    """Equity of its account."""
    cash: Number | None = None
    """The part that is cash. It pays for what is bought outright (spot, options, instruments without a
    definition); of futures, perpetual swaps and currency pairs it gets the results."""
    account: Account = ""
    """The account; empty for the only one."""


class Regime(Event, frozen=True, kw_only=True):
    """The market regime assumed by a strategy, or by the desk when no strategy is named.

    The recorder judges none of its own, so it emits no such event: what a regime is depends on the strategy.
    """

    table = "regimes"
    topic = "regime"

    regime: Name
    """The regime, in words of the strategy or desk."""
    strategy: Name | None = None
    """The strategy that assumes it; without one, the desk."""
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Probability that it is right."""


class Risk(Event, frozen=True, kw_only=True):
    """A risk measure and its limit."""

    table = "risks"
    topic = "risk"

    name: Name
    """Name of the measure."""
    value: Number
    """Its value."""
    limit: _Limit | None = None
    """Its limit."""
    strategy: Name | None = None
    """The strategy; without one, the desk."""
    breached: bool = False
    """Whether the limit is breached."""
    soft_limit: Number | None = None
    """Its soft limit, above which somebody has to know."""


class News(Event, frozen=True, kw_only=True):
    """A headline. Sentiment ranges from -1 (bad) to 1 (good)."""

    table = "news"
    topic = "news"
    topic_names = "instruments"

    headline: Text
    """The headline."""
    publisher: Identifier | None = None
    """Who published it."""
    instruments: tuple[Name, ...] = ()
    """The instruments that it is about."""
    sentiment: Annotated[float, Meta(ge=-1, le=1)] | None = None
    """-1 is bad, 1 is good."""
    news_id: Identifier | None = None
    """Identifies the headline at its publisher."""
    url: Text | None = None
    """Address of the article."""
    scorer: Name | None = None
    """The scorer that computed the sentiment; none: it is the emitter's. The recorder sets it."""


class Log(Event, frozen=True, kw_only=True):
    """A log line of a component of the trading system."""

    table = "logs"
    topic = "logs"
    bulk = True
    retention_days = 30
    key = ("component",)

    component: Name
    """The component that wrote it."""
    level: LogLevel
    """Severity."""
    message: Text
    """The message."""


class Heartbeat(Event, frozen=True, kw_only=True):
    """A liveness message of a feed (with a venue) or a component.

    Without an instrument it covers all instruments of the venue.
    """

    table = "heartbeats"
    topic = "heartbeats"
    bulk = True
    retention_days = 30
    key = ("component",)

    component: Name
    """The feed or component."""
    connection: ConnectionState = ConnectionState.OPEN
    """Whether it is connected."""
    venue: Name | None = None
    """The venue of a feed."""
    instrument: Name | None = None
    """The instrument; without one, all of the venue."""


Execution: TypeAlias = Order | Fill
"""Events that are stored even if their time is impossible."""

AnyEvent: TypeAlias = (
    Quote
    | Tick
    | Gap
    | Instrument
    | Signal
    | Order
    | Fill
    | Position
    | Cash
    | Equity
    | Regime
    | Risk
    | News
    | Log
    | Heartbeat
)

EVENT_TYPES: tuple[type[Event], ...] = get_args(AnyEvent)
EVENT_BY_TABLE: Mapping[str, type[Event]] = {event_type.table: event_type for event_type in EVENT_TYPES}


def event_topic(event: AnyEvent) -> str:
    """The first topic of an event: ``quotes:BTC-USD`` for a quote, ``fills`` for a fill."""
    key = event.topic_key
    return f"{event.topic}:{segment(getattr(event, key))}" if key else event.topic


def event_topics(event: AnyEvent) -> tuple[str, ...]:
    """All topics of an event: ``news`` and ``news:BTC-USD`` for a headline about ``BTC-USD``."""
    first = event_topic(event)
    if not event.topic_names:
        return (first,)
    names: tuple[str, ...] = getattr(event, event.topic_names)
    return (first, *(f"{event.topic}:{segment(name)}" for name in dict.fromkeys(names)))


class EventBatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events of one emitter, numbered without a gap from ``first_sequence``."""

    source: Name
    """Name of the emitting process, unique among the emitters of one recorder."""
    epoch: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """When the emitting process started, nanoseconds UTC. Its counter restarts with it."""
    first_sequence: Annotated[int, Meta(ge=1, le=2**62)]
    events: Annotated[tuple[AnyEvent, ...], Meta(max_length=100_000)]
    dropped: Annotated[dict[Identifier, Loss], Meta(max_length=16)] = {}
    """Events that this emitter has dropped in this epoch, by reason; they have no sequence number."""

    @property
    def last_sequence(self) -> int:
        """Sequence of the last event; ``first_sequence - 1`` for an empty batch."""
        return self.first_sequence + len(self.events) - 1


class Arrival(Struct, frozen=True, kw_only=True):
    """A received batch, as published on the bus."""

    batch: EventBatch
    received_ns: int
    """When this process received the batch, nanoseconds UTC by this machine's clock."""
    number: int = 0
    """Number of the first event among the recorder's events, in the order in which they became durable; the
    others follow without a gap. 0 before they are durable, and for imported events."""
    encoded: bytes = b""
    """The MessagePack bytes that ``batch`` was decoded from, on the way to storage; empty elsewhere."""
