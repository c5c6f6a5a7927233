"""Types of the records that :class:`~decahertz_client.Reader` returns.

Written by ``scripts/derive.py`` from the routes of the API.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

AlertOrigin = Literal["prometheus", "watchdog"]
"""Who found the condition."""
AlertState = Literal["firing", "resolved"]
"""State of an alert."""
Basis = Literal["fills", "reports"]
"""Where the quantity of a position comes from."""
DeskState = Literal["active", "degraded", "halted", "idle"]
"""State of the desk. The recorder observes: it neither trades nor halts anything."""
Direction = Literal["buy", "flat", "sell"]
"""Direction that a signal asks for."""
Health = Literal["degraded", "failed", "ok"]
"""Health of a part."""
InstrumentKind = Literal["future", "fx", "index", "option", "perpetual", "spot"]
"""Kind of an instrument."""
Kind = Literal["counter", "gauge", "state"]
"""Behaviour of a metric over time."""
Liquidity = Literal["maker", "taker"]
"""Whether a fill provided or took liquidity."""
LogLevel = Literal["critical", "debug", "error", "info", "warning"]
"""Severity of a log line."""
MarkSource = Literal["quote", "report"]
"""Where a mark price comes from."""
OrderState = Literal[
    "accepted", "cancelled", "expired", "filled", "partially_filled", "rejected", "submitted"
]
"""Order states. The last four are final."""
PositionSource = Literal["autonomous", "bot", "manual"]
"""Who holds a position."""
QualityBasis = Literal["live", "stored"]
"""Where the figures come from."""
RunState = Literal["connecting", "failed", "finished", "running", "stopped"]
"""Run state of a plugin."""
Scope = Literal["admin", "ingest", "public", "read", "trade"]
"""Permission that a route requires and that a key grants."""
Side = Literal["buy", "sell"]
"""Side of an order or a fill; of a tick, the aggressor's."""
Unit = Literal["", "bps", "bytes", "money", "per_second", "price", "quantity", "r", "ratio", "seconds"]
"""The closed set of units: base units and trading units."""


class Acknowledgement(TypedDict):
    """Somebody looks after the alert. The newest one of an alert counts."""

    who: str
    comment: str
    time_ns: int
    until_ns: int
    silence_id: str | None


class Alert(TypedDict):
    """One occurrence of an alert."""

    id: str
    fingerprint: str
    origin: AlertOrigin
    name: str
    severity: str
    state: AlertState
    recorder: str
    labels: dict[str, str]
    summary: str
    description: str
    runbook_url: str
    starts_ns: int
    """When it began to fire, nanoseconds UTC."""
    ends_ns: int | None
    """When it was resolved; null while it fires."""
    updated_ns: int
    value: float | None
    threshold: float | None
    acknowledgement: Acknowledgement | None


class AuditEntry(TypedDict):
    """One change, or the refusal of one."""

    id: str
    time_ns: int
    recorder: str
    actor: str
    key_id: str | None
    address: str | None
    action: str
    target: str
    result: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


class Bar(TypedDict):
    """Open, high, low, close and volume of one timeframe."""

    time_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    trades: int
    vwap: float | None


class Catalogue(TypedDict):
    """Catalogue of all running collectors."""

    items: list[CatalogueCollector]


class CatalogueCollector(TypedDict):
    """One collector: the key of its samples, and its metrics."""

    collector: str
    key: list[str]
    topic: str
    table: str
    metrics: list[CatalogueMetric]


class CatalogueMetric(TypedDict):
    """One metric and its names."""

    name: str
    help: str
    kind: Kind
    unit: Unit
    type: str
    optional: bool
    states: list[str]
    prometheus: str


class ClientStatistics(TypedDict):
    """One connected client."""

    client_id: str
    protocol: str
    connected_ns: int
    topics: list[str]
    max_hz: float | None
    is_slow: bool
    lag_seconds: float
    round_trip_seconds: float | None
    queued_states: int
    queued_events: int
    queued_bytes: int
    buffered_bytes: int
    updates: int
    events: int
    conflated: int
    received: int
    refused: int


class CollectorStatus(TypedDict):
    """Status of a collector. Durations are in seconds."""

    name: str
    state: RunState
    every: int
    keys: int
    samples: int
    events: int
    errors: int
    skipped: int
    keys_over_budget: int
    refused_events: int
    last_error: str | None
    last_sample_ns: int | None
    duration_last_seconds: float | None
    duration_max_seconds: float | None


class CollectorSummary(TypedDict):
    """The newest batch of one collector."""

    collector: str
    keys: int
    time_ns: int | None
    age_seconds: float | None
    metrics: list[MetricSummary]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class ComponentStatus(TypedDict):
    """Status of one part of the process."""

    name: str
    health: Health
    detail: str


class Components(TypedDict):
    """Everything that can fail, with its counters."""

    recorder: str
    health: Health
    parts: list[ComponentStatus]
    collectors: list[CollectorStatus]
    feeds: list[FeedStatus]


class CurrentList(TypedDict):
    """The newest samples of this recorder."""

    recorder: str
    items: list[CurrentSample]


class CurrentSample(TypedDict):
    """The newest sample of one key."""

    collector: str
    key: dict[str, str]
    time_ns: int
    values: dict[str, float | bool | str | None]


class DeskStatus(TypedDict):
    """The desk as this recorder sees it."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    state: DeskState
    can_trade: bool
    objections: list[str]
    regime: str | None
    active_strategy: str | None
    daily_r: float | None
    daily_r_trades: int
    weekly_r: float | None
    weekly_r_trades: int
    strategies: list[StrategyStatus]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class ExecutionQuality(TypedDict):
    """Orders of one strategy at one venue."""

    strategy: str
    venue: str
    submitted: int
    accepted: int
    filled: int
    cancelled: int
    rejected: int
    expired: int
    open: int
    finished: int
    fill_ratio: float | None
    cancel_ratio: float | None
    reject_ratio: float | None
    fills: int
    commissions: float
    """Money, in the account's currency."""
    maker_ratio: float | None
    signal_to_submit: Latency
    submit_to_ack: Latency
    ack_to_fill: Latency
    submit_to_fill: Latency
    slippage_decision: Slippage
    slippage_arrival: Slippage
    negative_latencies: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class ExecutionReport(TypedDict):
    """Quality of execution by strategy and venue."""

    recorder: str
    basis: QualityBasis
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    items: list[ExecutionQuality]


class FeedStatus(TypedDict):
    """Status of a feed."""

    name: str
    state: RunState
    events: int
    restarts: int
    last_error: str | None
    last_event_ns: int | None
    counters: dict[str, int]


class HealthReport(TypedDict):
    """Health of the process and of each component."""

    recorder: str
    health: Health
    version: str
    time_ns: int
    components: list[ComponentStatus]


class HeldPosition(TypedDict):
    """The position of one strategy in one instrument.

    Negative quantities and values are short. Amounts are quantity times price, without contract
    multipliers.
    """

    strategy: str
    venue: str
    instrument: str
    basis: Basis
    held_by: list[PositionSource]
    quantity: float
    """Quantity, in the instrument's own unit."""
    average_price: float | None
    mark_price: float | None
    mark_source: MarkSource | None
    mark_ns: int | None
    value: float | None
    unrealised_pnl: float | None
    realised_pnl: float | None
    fees: float | None
    fills: int
    opened_ns: int | None
    risk: float | None
    current_r: float | None
    updated_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    differs: bool
    reported: list[ReportedPosition]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class InstrumentDefinition(TypedDict):
    """Definition of an instrument; see the event type ```instrument```."""

    defined_ns: int
    kind: InstrumentKind
    base_currency: str | None
    quote_currency: str | None
    settlement_currency: str | None
    multiplier: float
    inverse: bool
    tick_size: float | None
    lot_size: float | None
    aliases: list[str]


class InstrumentInfo(TypedDict):
    """An instrument that was seen in quotes or ticks, or defined."""

    venue: str
    instrument: str
    first_ns: int | None
    last_ns: int | None
    definition: InstrumentDefinition | None


class InstrumentPosition(TypedDict):
    """The positions of all strategies in one instrument."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    instrument: str
    quantity: float
    """Quantity, in the instrument's own unit."""
    value: float | None
    unrealised_pnl: float | None
    realised_pnl: float | None
    fees: float | None
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""
    items: list[HeldPosition]


class Instruments(TypedDict):
    """Instruments that were seen in quotes or ticks, or defined."""

    items: list[InstrumentInfo]


class Latency(TypedDict):
    """Latencies of one leg: the smallest that 50 % and 99 % of the orders do not exceed."""

    n: int
    p50: float | None
    p99: float | None


class LedgerReport(TypedDict):
    """A consistent reading of all streams of this recorder."""

    recorder: str
    time_ns: int
    balanced: bool
    streams: list[StreamLedger]


class LiveStatistics(TypedDict):
    """The WebSocket side at one moment."""

    epoch: int
    sequence: int
    events_in_memory: int
    max_clients: int
    clients: list[ClientStatistics]


class MachineHealth(TypedDict):
    """Health of the machine and of the process on it."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    host: str | None
    health: Health
    readings: list[Reading]
    values: dict[str, float | None]
    alerts: list[Alert]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class MetricSummary(TypedDict):
    """One metric over all keys of its collector, in its own unit."""

    name: str
    kind: Kind
    unit: Unit
    n: int
    min: float | None
    max: float | None
    mean: float | None
    sum: float | None
    states: dict[str, int]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class MetricsSummary(TypedDict):
    """Summary of the newest samples of this recorder."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    collectors: list[CollectorSummary]


class OrderCount(TypedDict):
    """Number of open orders."""

    count: int


class OrderDetail(TypedDict):
    """An order with everything that is stored of it."""

    order: StoredOrder
    changes: list[StoredOrderChange]
    fills: list[StoredFill]


class Performance(TypedDict):
    """Statistics over a rolling window of round trips."""

    window: int
    overall: TradeStatistics
    strategies: list[StrategyStatistics]


class Plugins(TypedDict):
    """Status of all collectors and feeds."""

    recorder: str
    collectors: list[CollectorStatus]
    feeds: list[FeedStatus]


class Pnl(TypedDict):
    """P&L after fees. Periods are of UTC, and cover realised P&L by the time of the fills."""

    daily: float | None
    weekly: float | None
    monthly: float | None
    realised: float | None
    unrealised: float | None
    total: float | None
    fills: int
    trades: int
    open_positions: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class PnlReport(TypedDict):
    """P&L of the strategies of this recorder."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    overall: Pnl
    strategies: list[StrategyPnl]


class PositionList(TypedDict):
    """Positions of the strategies of this recorder."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    items: list[HeldPosition]


class PositionSummary(TypedDict):
    """Sums over open positions. Amounts in several currencies are added as they are."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    count: int
    long: int
    short: int
    instruments: int
    strategies: int
    unmarked: int
    gross_value: float | None
    net_value: float | None
    unrealised_pnl: float | None
    oldest_mark_seconds: float | None
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class ProcessFigures(TypedDict):
    """Figures of the whole process since its start. Durations are in seconds."""

    cycles: int
    missed_cycles: int
    lateness_p50_seconds: float | None
    lateness_p99_seconds: float | None
    events: int
    samples_stored: int
    dropped: int


class Reading(TypedDict):
    """One figure of the machine and the alert about it."""

    name: str
    value: float | None
    alert: str
    threshold: float | None
    is_above: bool


class ReportedPosition(TypedDict):
    """The newest position event of one holder."""

    held_by: PositionSource
    quantity: float
    """Quantity, in the instrument's own unit."""
    average_price: float | None
    mark_price: float | None
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""


class RouteFigures(TypedDict):
    """Requests of one route since the start. Durations are in seconds."""

    route: str
    requests: int
    mean_seconds: float | None
    p50_seconds: float | None
    p99_seconds: float | None


class ServerTime(TypedDict):
    """Current time of the server, nanoseconds UTC."""

    time_ns: int


class SessionInfo(TypedDict):
    """Who sends the request."""

    name: str
    scopes: list[Scope]
    expires_ns: int | None


class Slippage(TypedDict):
    """Mean slippage weighted by value; positive is a cost."""

    n: int
    mean: float | None


class StoredFill(TypedDict):
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
    fee: float
    liquidity: Liquidity | None
    risk: float | None
    stated_time_ns: int | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredLog(TypedDict):
    """A log line of a component of the trading system. With its recorder and identity."""

    recorder: str
    time_ns: int
    component: str
    level: LogLevel
    message: str
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredNews(TypedDict):
    """A headline. Sentiment ranges from -1 (bad) to 1 (good). With its recorder and identity."""

    recorder: str
    time_ns: int
    headline: str
    publisher: str | None
    instruments: list[str]
    sentiment: float | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredOrder(TypedDict):
    """An order in its current state, that of its newest change."""

    recorder: str
    time_ns: int
    strategy: str
    venue: str
    instrument: str
    order_id: str
    state: OrderState
    side: Side
    quantity: float
    filled_quantity: float | None
    price: float | None
    arrival_price: float | None
    order_type: str | None
    signal_id: str | None
    reason: str | None
    stated_time_ns: int | None
    source: str
    epoch: int
    sequence: int
    received_ns: int
    is_final: bool
    created_ns: int


class StoredOrderChange(TypedDict):
    """A state change of an order.

    Every change repeats the fields that identify the order. With its recorder and identity.
    """

    recorder: str
    time_ns: int
    strategy: str
    venue: str
    instrument: str
    order_id: str
    state: OrderState
    side: Side
    quantity: float
    filled_quantity: float | None
    price: float | None
    arrival_price: float | None
    order_type: str | None
    signal_id: str | None
    reason: str | None
    stated_time_ns: int | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredQuote(TypedDict):
    """Best bid and ask. An empty side is ```None```. With its recorder and identity."""

    recorder: str
    time_ns: int
    venue: str
    instrument: str
    venue_sequence: int | None
    missed: int
    bid: float | None
    ask: float | None
    bid_size: float | None
    ask_size: float | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredRegime(TypedDict):
    """The market regime assumed by a strategy, or by the desk when no strategy is named.

    With its recorder and identity.
    """

    recorder: str
    time_ns: int
    regime: str
    strategy: str | None
    confidence: float | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredRisk(TypedDict):
    """A risk measure and its limit. With its recorder and identity."""

    recorder: str
    time_ns: int
    name: str
    value: float
    limit_value: float | None
    strategy: str | None
    breached: bool
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredRoundTrip(TypedDict):
    """A finished round trip with its recorder."""

    trade_id: str
    strategy: str
    venue: str
    instrument: str
    side: Side
    quantity: float
    opened_ns: int
    closed_ns: int
    entry_price: float
    exit_price: float
    fees: float
    pnl: float
    risk: float | None
    r_multiple: float | None
    fills: int
    recorder: str


class StoredSignal(TypedDict):
    """A trading signal of a strategy, before any order. With its recorder and identity."""

    recorder: str
    time_ns: int
    strategy: str
    venue: str
    instrument: str
    signal_id: str
    direction: Direction
    strength: float | None
    price: float | None
    risk: float | None
    reason: str | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredTick(TypedDict):
    """A trade print on the market. With its recorder and identity."""

    recorder: str
    time_ns: int
    venue: str
    instrument: str
    venue_sequence: int | None
    missed: int
    price: float
    size: float
    side: Side | None
    trade_id: str | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StrategyPnl(TypedDict):
    """P&L of one strategy."""

    daily: float | None
    weekly: float | None
    monthly: float | None
    realised: float | None
    unrealised: float | None
    total: float | None
    fills: int
    trades: int
    open_positions: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""
    strategy: str
    equity: float | None


class StrategyStatistics(TypedDict):
    """Statistics of the newest round trips of one strategy."""

    strategy: str
    statistics: TradeStatistics


class StrategyStatus(TypedDict):
    """One strategy."""

    strategy: str
    regime: str | None
    regime_ns: int | None
    daily_pnl: float
    """Money, in the account's currency."""
    weekly_pnl: float
    """Money, in the account's currency."""
    daily_r: float | None
    daily_r_trades: int
    weekly_r: float | None
    weekly_r_trades: int
    current_r: float | None
    daily_loss_streak: int
    open_positions: int
    silent_seconds: float
    """Seconds."""
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class StreamLedger(TypedDict):
    """Counts of one stream since the spool was created, in rows: one event or one sample each."""

    stream: str
    emitted: int
    stored: int
    spooled: int
    dropped: dict[str, int]
    imbalance: int


class SystemPerformance(TypedDict):
    """How fast the process works."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    process: ProcessFigures
    routes: list[RouteFigures]
    collectors: list[CollectorStatus]


class TradeStatistics(TypedDict):
    """Statistics of round trips. Those in money have ``trades`` as their n, those in R have ``r_trades``."""

    trades: int
    wins: int
    losses: int
    breakeven: int
    unusable: int
    first_closed_ns: int | None
    last_closed_ns: int | None
    pnl: float | None
    gross_profit: float | None
    gross_loss: float | None
    fees: float | None
    win_rate: float | None
    win_rate_lower: float | None
    profit_factor: float | None
    expectancy: float | None
    average_win: float | None
    average_loss: float | None
    payoff_ratio: float | None
    largest_win: float | None
    largest_loss: float | None
    average_open_seconds: float | None
    r_trades: int
    r_wins: int
    r_losses: int
    total_r: float | None
    expectancy_r: float | None
    average_win_r: float | None
    average_loss_r: float | None
    streak: int
    longest_winning_streak: int
    longest_losing_streak: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""
