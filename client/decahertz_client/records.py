"""Types of the records that :class:`~decahertz_client.Reader` returns.

Written by ``scripts/derive.py`` from the routes of the API.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Aggregate = Literal["avg", "last", "max", "min"]
"""A number for all values of a metric in a bucket of a tier. Nulls do not take part."""
AlertOrigin = Literal["prometheus", "watchdog"]
"""Who found the condition."""
AlertState = Literal["firing", "resolved"]
"""State of an alert."""
Basis = Literal["fills", "reports"]
"""Where the quantity of a position comes from."""
BreakerState = Literal["closed", "half_open", "open"]
"""States of the breaker."""
CallPriority = Literal["background", "interactive"]
"""Who waits for the answer."""
CashKind = Literal["adjustment", "dividend", "funding", "interest", "transfer"]
"""The kind of a cash flow."""
DeskState = Literal["active", "degraded", "halted", "idle"]
"""State of the desk. The recorder observes: it neither trades nor halts anything."""
Direction = Literal["buy", "flat", "sell"]
"""Direction that a signal asks for."""
FeedConnection = Literal["closed", "disconnected", "open", "unknown"]
"""State of the connection, as heartbeats report it."""
FillKind = Literal["bust", "correction", "opening", "settlement", "trade", "transfer"]
"""The kind of a fill."""
Found = Literal["collapsed", "hit", "miss", "shared", "stale", "stale_if_error"]
"""How an answer came about; the values are those of the metric."""
HaltOrigin = Literal["alert", "limit", "person"]
"""Causes of halts."""
HaltScope = Literal["desk", "instrument", "strategy"]
"""Kinds of things that are halted."""
Health = Literal["degraded", "failed", "ok"]
"""Health of a part."""
InstrumentKind = Literal["future", "fx", "index", "option", "perpetual", "spot"]
"""Kind of an instrument."""
JobState = Literal["cancelled", "done", "running"]
"""States of a job."""
Kind = Literal["counter", "gauge", "state"]
"""Behaviour of a metric over time."""
LimitBasis = Literal["reports", "settings"]
"""Where a limit comes from."""
LimitLevel = Literal["hard", "ok", "soft"]
"""Which limit a value exceeds."""
Liquidity = Literal["maker", "taker"]
"""Whether a fill provided or took liquidity."""
ListedState = Literal[
    "accepted",
    "cancelled",
    "dead",
    "done",
    "expired",
    "filled",
    "partially_filled",
    "queued",
    "rejected",
    "submitted",
    "taken",
    "unresolved",
    "working",
]
"""States in the list of orders: those of a request, and then those of its order."""
LogLevel = Literal["critical", "debug", "error", "info", "warning"]
"""Severity of a log line."""
MarkSource = Literal["quote", "report"]
"""Where a mark price comes from."""
OptionRight = Literal["call", "put"]
"""Right of an option."""
OptionStrategyName = Literal[
    "butterfly", "calendar", "diagonal", "iron_butterfly", "iron_condor", "straddle", "strangle", "vertical"
]
"""Named option strategies; the legs have to form what the name says."""
OrderState = Literal[
    "accepted", "cancelled", "expired", "filled", "partially_filled", "rejected", "submitted", "unresolved"
]
"""Order states. The last four are final."""
OrderType = Literal["limit", "market", "stop", "stop_limit"]
"""Type of an order."""
PaymentKind = Literal["adjustment", "dividend", "fee", "funding", "interest", "transfer"]
"""Purpose of a payment."""
PositionSource = Literal["autonomous", "bot", "manual"]
"""Who holds a position."""
Priority = Literal["high", "low", "normal", "urgent"]
"""Place in the queue: a higher one is taken first, among equals the older."""
Quality = Literal["crossed", "good", "not_current", "stale"]
"""How good an answer is."""
QualityBasis = Literal["live", "stored"]
"""Where the figures come from."""
RequestKind = Literal["equity", "manual_legs", "option_strategy"]
"""Kinds of requests."""
RequestState = Literal[
    "cancelled", "dead", "done", "expired", "queued", "rejected", "taken", "unresolved", "working"
]
"""States of a request."""
RunOutcome = Literal["missed", "refused", "submitted"]
"""Outcome of a scheduled time."""
RunState = Literal["connecting", "failed", "finished", "running", "stopped"]
"""Run state of a plugin."""
SampleBasis = Literal[
    "days_of_equity",
    "days_of_equity_and_pnl",
    "days_of_pnl",
    "losses",
    "losses_with_risk",
    "round_trips",
    "round_trips_with_risk",
    "wins",
    "wins_and_losses",
    "wins_with_risk",
]
"""The kind of observations in the sample of a statistic."""
Scope = Literal["admin", "ingest", "public", "read", "trade"]
"""Permission that a route requires and that a key grants."""
Side = Literal["buy", "sell"]
"""Side of an order or a fill; of a tick, the aggressor's."""
TimeInForce = Literal["day", "fok", "gtc", "ioc"]
"""How long an order works."""
Unit = Literal["", "bps", "bytes", "money", "per_second", "price", "quantity", "r", "ratio", "seconds"]
"""The closed set of units: base units and trading units."""
Verdict = Literal["closed", "gap", "live", "mute", "quiet", "stale"]
"""The feed verdict on an instrument; `collectors.market.feed_verdict` has the rules."""
VerdictReason = Literal[
    "disconnected",
    "feed_silent",
    "messages_arrive",
    "messages_missed",
    "no_message",
    "no_sign_of_life",
    "nothing_since_open",
    "out_of_session",
    "reported",
    "siblings_speak",
    "unknown",
    "usual",
]
"""The rule that decided a verdict; `collectors.market.feed_verdict` has the rules."""


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


class BreakerStatus(TypedDict):
    """The circuit breaker of a provider."""

    state: BreakerState
    failures: int
    opened: int
    retry_seconds: float
    reason: str


class BudgetStatus(TypedDict):
    """The costs of a provider on this day (UTC), in the unit of its budget."""

    call_cost: float
    per_day: float
    key_per_day: float
    reset_ns: int
    spent: float | None
    keys: list[KeyCosts] | None


class CacheStatus(TypedDict):
    """The cache of a provider."""

    fresh_seconds: float
    entries: int
    flights: int
    answers: dict[str, int]
    failed: int


class CashTotal(TypedDict):
    """Payments of one kind in one currency; negative when paid."""

    strategy: str
    account: str
    kind: PaymentKind
    currency: str | None
    n: int
    amount: float
    converted: float | None
    without_rate: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class CashTotals(TypedDict):
    """Fees and cash flows by strategy, account, kind and currency."""

    items: list[CashTotal]


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
    formula: str
    source: str
    kind: Kind
    unit: Unit
    type: str
    optional: bool
    states: list[str]
    aggregates: list[Aggregate]
    prometheus: str | None


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


class CurrencyExposure(TypedDict):
    """All positions of one settlement currency together."""

    currency: str | None
    net: float
    """Money, in the account's currency."""


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


class DailyFigures(TypedDict):
    """Statistics of the daily changes of equity. Ratios are annualised with 365 days."""

    pnl: Statistic
    total_return: Statistic
    annual_return: Statistic
    volatility: Statistic
    volatility_money: Statistic
    sharpe: Statistic
    sharpe_error: Statistic
    sortino: Statistic
    calmar: Statistic
    max_drawdown: Statistic
    max_drawdown_money: Statistic
    max_drawdown_days: Statistic
    drawdown: Statistic
    drawdown_money: Statistic
    drawdown_days: Statistic
    red_days: Statistic
    red_streak: Statistic
    best_day: Statistic
    worst_day: Statistic


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


class Ends(TypedDict):
    """Orders that ended in one state for one reason."""

    state: str
    reason: str
    n: int
    ratio: float
    """Ratio."""


class EquityRequest(TypedDict):
    """An order in one instrument: a share, a currency pair, a future."""

    kind: Any
    strategy: str
    venue: str
    instrument: str
    order_type: OrderType
    limit_price: float | None
    stop_price: float | None
    time_in_force: TimeInForce
    priority: Priority
    account: str
    signal_id: str | None
    notes: str
    valid_until: int | str | None
    side: Side
    quantity: float


class Evaluation(TypedDict):
    """A generator with its parameters, and the bars of an instrument to evaluate it on."""

    generator: str
    venue: str
    instrument: str
    timeframe: str
    strategy: str
    parameters: dict[str, Any]


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
    unresolved: int
    conflicts: int
    finished: int
    fill_ratio: float | None
    cancel_ratio: float | None
    reject_ratio: float | None
    ends: list[Ends]
    fills: int
    commissions: float
    """Money, in the account's currency."""
    maker_ratio: float | None
    signal_to_submit: Latency
    submit_to_ack: Latency
    ack_to_fill: Latency
    submit_to_fill: Latency
    submit_to_last_fill: Latency
    queue: Latency
    limiter: Latency
    slippage_decision: Slippage
    slippage_arrival: Slippage
    shortfall: Shortfall
    markouts: list[Markout]
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


class FailedProvider(TypedDict):
    """A provider that is enabled and cannot be used."""

    name: str
    reason: str


class FeedStatus(TypedDict):
    """Status of a feed."""

    name: str
    state: RunState
    events: int
    restarts: int
    last_error: str | None
    last_event_ns: int | None
    counters: dict[str, int]


class GeneratorInfo(TypedDict):
    """A signal generator."""

    name: str
    distribution: str
    meaning: str
    parameters: dict[str, Any]


class GeneratorList(TypedDict):
    """The signal generators, and the schedules on which they are evaluated."""

    items: list[GeneratorInfo]
    schedules: list[ScheduleStatus]


class Halt(TypedDict):
    """A halt, from its begin until a person resumes."""

    halt_id: str
    recorder: str
    scope: HaltScope
    strategy: str | None
    venue: str | None
    instrument: str | None
    origin: HaltOrigin
    actor: str
    reason: str
    since_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    resumed_ns: int | None
    resumed_by: str | None
    resume_reason: str | None


class HaltList(TypedDict):
    """The halts that last."""

    is_enabled: bool
    items: list[Halt]


class HealthReport(TypedDict):
    """Health of the process and of each component."""

    recorder: str
    health: Health
    version: str
    time_ns: int
    components: list[ComponentStatus]


class HeldPosition(TypedDict):
    """The position of one strategy in one instrument.

    Negative quantities and values are short. Amounts are in the account currency, by the contract, at
    the current rate; realised ones at the rates of their fills.
    """

    strategy: str
    account: str
    venue: str
    instrument: str
    currency: str | None
    multiplier: float | None
    rate: float | None
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
    mae: float | None
    mfe: float | None
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
    expiry_ns: int | None
    calendar: str | None
    aliases: list[str]


class InstrumentExposure(TypedDict):
    """All positions in one instrument together."""

    venue: str
    instrument: str
    net: float
    """Money, in the account's currency."""


class InstrumentFeed(TypedDict):
    """The feed of one instrument. Times of receipt are by this machine's clock."""

    venue: str
    instrument: str
    feed: str | None
    verdict: Verdict
    reason: VerdictReason
    connection: FeedConnection
    heartbeat_ns: int | None
    venue_ns: int | None
    received_ns: int | None
    changed_ns: int | None
    silence_seconds: float | None
    cadence_seconds: float | None
    quote_sequence: int | None
    tick_sequence: int | None
    missed: int
    missed_ns: int | None
    late: int
    calendar: str | None
    is_in_session: bool


class InstrumentFeeds(TypedDict):
    """The feeds of all instruments."""

    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    items: list[InstrumentFeed]


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


class Interval(TypedDict):
    """A two-sided interval at 95 %."""

    low: float
    high: float


class ItemError(TypedDict):
    """An item that failed."""

    item: str
    reason: str


class Job(TypedDict):
    """Work in the background. Jobs are in memory: a restart forgets them."""

    job_id: str
    kind: str
    target: str
    state: JobState
    requested_by: str
    created_ns: int
    ended_ns: int | None
    items: int
    done: int
    failed: int
    errors: list[ItemError]


class KeyCosts(TypedDict):
    """Costs of one key on one day."""

    key: str
    cost: float
    calls: int


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


class LimitStatus(TypedDict):
    """One limit."""

    strategy: str
    measure: str
    basis: LimitBasis
    value: float | None
    soft_limit: float | None
    hard_limit: float | None
    usage: float | None
    level: LimitLevel
    since_ns: int | None
    reason: str | None


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


class ManualLeg(TypedDict):
    """One instrument of a request with several."""

    instrument: str
    side: Side
    ratio: int


class ManualLegsRequest(TypedDict):
    """Several instruments at once. The legs say what is bought and what is sold."""

    kind: Any
    strategy: str
    venue: str
    instrument: str
    order_type: OrderType
    limit_price: float | None
    stop_price: float | None
    time_in_force: TimeInForce
    priority: Priority
    account: str
    signal_id: str | None
    notes: str
    valid_until: int | str | None
    legs: list[ManualLeg]
    quantity: int


class Markout(TypedDict):
    """Mean distance from the fill price to the mid some time later, weighted by value; positive is a gain."""

    horizon: str
    n: int
    mean: float | None


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


class Objection(TypedDict):
    """A reason against trading."""

    reason: str
    strategy: str | None
    venue: str | None
    instrument: str | None


class OpeningRangeSession(TypedDict):
    """One session."""

    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    range_end_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    end_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    is_complete: bool
    high: float
    """Price, in the quote currency."""
    low: float
    """Price, in the quote currency."""
    width: float
    """Price, in the quote currency."""
    range_trades: int
    range_volume: float
    """Quantity, in the instrument's own unit."""
    trades: int
    close: float
    """Price, in the quote currency."""
    direction: int
    breakout_ns: int | None
    breakout_price: float | None
    broke_both: bool
    extension: float | None
    follow_through: float | None
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class OpeningRangeSummary(TypedDict):
    """Over the complete sessions of the response."""

    n: int
    breakouts: int
    up: int
    down: int
    broke_both: int
    breakout_ratio: float | None
    follow_through_ratio: float | None
    mean_extension: float | None
    mean_follow_through: float | None
    mean_width: float | None
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class OpeningRanges(TypedDict):
    """Opening ranges of an instrument, the newest session first."""

    instrument: str
    timezone: str
    session_start: str
    range_seconds: float
    summary: OpeningRangeSummary
    items: list[OpeningRangeSession]


class OptionLeg(TypedDict):
    """One option of a strategy."""

    side: Side
    right: OptionRight
    strike: float
    expiry: str
    """Date: ``2026-03-20``."""
    ratio: int


class OptionStrategyRequest(TypedDict):
    """A named option strategy. Its legs say what is bought and what is sold."""

    kind: Any
    strategy: str
    venue: str
    instrument: str
    order_type: OrderType
    limit_price: float | None
    stop_price: float | None
    time_in_force: TimeInForce
    priority: Priority
    account: str
    signal_id: str | None
    notes: str
    valid_until: int | str | None
    option_strategy: OptionStrategyName
    legs: list[OptionLeg]
    quantity: int


class OrderCount(TypedDict):
    """Number of open orders."""

    count: int


class OrderDetail(TypedDict):
    """An order with everything that is stored of it."""

    order: StoredOrder
    request: StoredRequest | None
    changes: list[StoredOrderChange]
    fills: list[StoredFill]
    quality: OrderQuality | None


class OrderQuality(TypedDict):
    """The costs of an order. Times and prices that are not here are those of the order."""

    decision_ns: int | None
    decision_mid: float | None
    arrival_mid: float | None
    end_mid: float | None
    signal_to_submit: float | None
    submit_to_ack: float | None
    ack_to_fill: float | None
    submit_to_fill: float | None
    submit_to_last_fill: float | None
    queue: float | None
    limiter: float | None
    currency: str | None
    rate: float | None
    value: float | None
    fees: float | None
    maker_ratio: float | None
    slippage_decision: SlippageCost
    slippage_arrival: SlippageCost
    shortfall: ShortfallCost
    markouts: list[Markout]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class Performance(TypedDict):
    """Statistics over a rolling window of round trips."""

    window: int
    overall: TradeStatistics
    figures: PerformanceFigures
    strategies: list[StrategyStatistics]


class PerformanceFigures(TypedDict):
    """Statistics with their sample sizes, intervals and reasons."""

    round_trips: RoundTripFigures
    daily: DailyFigures


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
    """Sums over open positions, in the account currency."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    count: int
    long: int
    short: int
    instruments: int
    strategies: int
    unmarked: int
    undefined: int
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


class ProfileBin(TypedDict):
    """Volume from ``low`` up to ``high``."""

    low: float
    high: float
    volume: float
    bought: float
    sold: float
    trades: int


class ProviderData(TypedDict):
    """The newest prices of a symbol, in the form that all providers share. Numbers are decimal texts."""

    provider: str
    symbol: str
    kind: InstrumentKind | None
    exchange: str
    currency: str | None
    price: str | None
    bid: str | None
    ask: str | None
    bid_size: str | None
    ask_size: str | None
    volume_24h: str | None
    source: str
    time_ns: int | None
    received_ns: int
    age_seconds: float
    quality: Quality
    detail: str
    found: Found
    priority: CallPriority
    response_seconds: float


class ProviderList(TypedDict):
    """The enabled providers."""

    items: list[ProviderStatus]
    failed: list[FailedProvider]


class ProviderStatus(TypedDict):
    """A provider and what stands in front of it, from the outside to the inside."""

    name: str
    cache: CacheStatus
    queue: QueueStatus
    breaker: BreakerStatus
    budget: BudgetStatus
    rate: RateStatus
    retries: int
    calls: dict[str, int]


class QueueStatus(TypedDict):
    """The scheduler of a provider."""

    calls: int
    max_calls: int
    interactive: int
    background: int


class RateStatus(TypedDict):
    """The rate limit of a provider."""

    requests_per_second: float
    burst: int
    tokens: int | None
    pause_seconds: float
    waited_seconds: float


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


class RiskReport(TypedDict):
    """The desk as this recorder sees it; amounts are in the account currency."""

    gross_exposure: float | None
    net_exposure: float | None
    daily_pnl: float
    """Money, in the account's currency."""
    weekly_pnl: float
    """Money, in the account's currency."""
    daily_r: float | None
    weekly_r: float | None
    open_positions: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""
    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    can_trade: bool
    objections: list[str]
    limits: list[LimitStatus]
    instruments: list[InstrumentExposure]
    currencies: list[CurrencyExposure]
    strategies: list[StrategyExposure]


class RoundTripFigures(TypedDict):
    """Statistics of round trips, in money of the account after fees."""

    win_rate: Statistic
    profit_factor: Statistic
    expectancy: Statistic
    average_win: Statistic
    average_loss: Statistic
    payoff_ratio: Statistic
    kelly: Statistic
    expectancy_r: Statistic
    average_win_r: Statistic
    average_loss_r: Statistic


class RoundTripQuality(TypedDict):
    """The costs of the orders of a round trip: each counts by the share of it that was filled there.

    Sums are those of the orders whose figures are stored; each has their number.
    """

    orders: int
    value: float | None
    fees: float | None
    maker_ratio: float | None
    slippage_decision_orders: int
    slippage_decision: SlippageCost
    slippage_arrival_orders: int
    slippage_arrival: SlippageCost
    shortfall_orders: int
    shortfall: ShortfallCost
    markouts: dict[str, float | None]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class RoundTripReport(TypedDict):
    """A finished round trip, and what its orders cost."""

    trade_id: str
    strategy: str
    account: str
    venue: str
    instrument: str
    side: Side
    quantity: float
    opened_ns: int
    closed_ns: int
    entry_price: float
    exit_price: float
    fees: float | None
    pnl: float | None
    currency: str | None
    settled_fees: float | None
    settled_pnl: float | None
    multiplier: float | None
    risk: float | None
    r_multiple: float | None
    fills: int
    reason: str | None
    recorder: str
    source: str
    regime: str | None
    held_seconds: float
    mae: float | None
    mfe: float | None
    mids: int
    excursion_reason: str | None
    quality: RoundTripQuality


class RouteFigures(TypedDict):
    """Requests of one route since the start. Durations are in seconds."""

    route: str
    requests: int
    mean_seconds: float | None
    p50_seconds: float | None
    p99_seconds: float | None


class Schedule(TypedDict):
    """When a template is submitted automatically."""

    cron: str
    timezone: str | None
    calendar: str | None
    enabled: bool


class ScheduleStatus(TypedDict):
    """A schedule, and its last evaluation."""

    name: str
    evaluation: Evaluation
    cron: str
    next_ns: int | None
    evaluated_ns: int | None
    result: str
    signals: int
    failures: int


class ScheduledRun(TypedDict):
    """Outcome of the newest scheduled time."""

    scheduled_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    outcome: RunOutcome
    request_id: str | None
    reason: str | None
    missed: int


class ScorerCount(TypedDict):
    """How many sentiments a scorer has computed."""

    scorer: str | None
    n: int


class SentimentPoint(TypedDict):
    """The sentiment at one time."""

    time_ns: int
    sentiment: float | None
    n: int
    weight: float
    positive: int
    negative: int


class SentimentSeries(TypedDict):
    """The sentiment of an instrument over time."""

    instrument: str
    start_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    end_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    step_ns: int
    window_seconds: float
    half_life_seconds: float
    items: list[SentimentPoint]
    scorers: list[ScorerCount]
    unscored: int


class ServerTime(TypedDict):
    """Current time of the server, nanoseconds UTC."""

    time_ns: int


class SessionInfo(TypedDict):
    """Who sends the request."""

    name: str
    scopes: list[Scope]
    expires_ns: int | None


class Shortfall(TypedDict):
    """Implementation shortfall of finished orders, over their value at the decision; positive is a cost."""

    n: int
    total: float | None
    delay: float | None
    trading: float | None
    opportunity: float | None
    fees: float | None


class ShortfallCost(TypedDict):
    """Implementation shortfall against trading everything at the decision price; positive is a cost."""

    total: float | None
    delay: float | None
    trading: float | None
    opportunity: float | None
    fees: float | None
    bps: float | None


class Slippage(TypedDict):
    """Mean slippage weighted by value; positive is a cost."""

    n: int
    mean: float | None


class SlippageCost(TypedDict):
    """Cost of the fills against a reference price; positive is a cost."""

    cost: float | None
    bps: float | None


class Statistic(TypedDict):
    """One statistic."""

    value: float | None
    n: int
    basis: SampleBasis
    interval: Interval | None
    reason: str | None


class StoredCash(TypedDict):
    """A cash flow that is not part of a fill: funding, interest, a dividend, an adjustment, a transfer.

    With its recorder and identity.
    """

    recorder: str
    time_ns: int
    strategy: str
    cash_id: str
    kind: CashKind
    amount: float
    currency: str | None
    account: str
    venue: str | None
    instrument: str | None
    reason: str | None
    rate: float | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


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
    fee_currency: str | None
    liquidity: Liquidity | None
    risk: float | None
    kind: FillKind
    account: str
    multiplier: float | None
    inverse: bool | None
    lot_size: float | None
    base_currency: str | None
    currency: str | None
    rate: float | None
    fee_rate: float | None
    stated_time_ns: int | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredGap(TypedDict):
    """Messages of a venue that were missed, by its numbers.

    A gap that is closed is reported once more. With its recorder and identity.
    """

    recorder: str
    time_ns: int
    venue: str
    instrument: str
    numbering: str
    from_sequence: int | None
    to_sequence: int | None
    from_ns: int | None
    to_ns: int | None
    missing: int
    recovered: bool
    announced: bool
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
    news_id: str | None
    url: str | None
    scorer: str | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredOrder(TypedDict):
    """An order, or a request for one, in its current state."""

    recorder: str
    time_ns: int
    strategy: str
    venue: str
    instrument: str
    order_id: str
    state: ListedState
    side: Side | None
    quantity: float
    filled_quantity: float | None
    price: float | None
    arrival_price: float | None
    order_type: str | None
    signal_id: str | None
    reason: str | None
    account: str
    decided_ns: int | None
    decision_price: float | None
    queue_seconds: float | None
    limiter_seconds: float | None
    request_id: str | None
    multiplier: float | None
    inverse: bool | None
    currency: str | None
    rate: float | None
    stated_time_ns: int | None
    source: str
    epoch: int
    sequence: int
    received_ns: int
    request_kind: RequestKind | None
    request_state: RequestState | None
    is_final: bool
    created_ns: int
    reported_state: OrderState | None
    reported_states: list[OrderState]
    contradictions: int
    submitted_ns: int | None
    accepted_ns: int | None
    fills: int
    executed_quantity: float
    average_price: float | None
    first_fill_ns: int | None
    last_fill_ns: int | None
    first_fill_price: float | None
    last_fill_price: float | None


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
    account: str
    decided_ns: int | None
    decision_price: float | None
    queue_seconds: float | None
    limiter_seconds: float | None
    request_id: str | None
    multiplier: float | None
    inverse: bool | None
    currency: str | None
    rate: float | None
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


class StoredRequest(TypedDict):
    """A request in the queue."""

    request_id: str
    recorder: str
    created_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    updated_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    state: RequestState
    body: EquityRequest | OptionStrategyRequest | ManualLegsRequest
    submitted_by: str
    valid_until_ns: int | None
    holder: str | None
    lease_until_ns: int | None
    attempts: int
    begun_ns: int | None
    cancel_requested_ns: int | None
    reason: str | None
    order_id: str | None
    template_id: str | None
    template_version: int | None
    scheduled_ns: int | None


class StoredRisk(TypedDict):
    """A risk measure and its limit. With its recorder and identity."""

    recorder: str
    time_ns: int
    name: str
    value: float
    limit_value: float | None
    strategy: str | None
    breached: bool
    soft_limit: float | None
    source: str
    epoch: int
    sequence: int
    received_ns: int


class StoredRoundTrip(TypedDict):
    """A finished round trip with its recorder."""

    trade_id: str
    strategy: str
    account: str
    venue: str
    instrument: str
    side: Side
    quantity: float
    opened_ns: int
    closed_ns: int
    entry_price: float
    exit_price: float
    fees: float | None
    pnl: float | None
    currency: str | None
    settled_fees: float | None
    settled_pnl: float | None
    multiplier: float | None
    risk: float | None
    r_multiple: float | None
    fills: int
    reason: str | None
    recorder: str
    source: str
    regime: str | None
    held_seconds: float
    mae: float | None
    mfe: float | None
    mids: int
    excursion_reason: str | None


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


class StrategyExposure(TypedDict):
    """One strategy."""

    gross_exposure: float | None
    net_exposure: float | None
    daily_pnl: float
    """Money, in the account's currency."""
    weekly_pnl: float
    """Money, in the account's currency."""
    daily_r: float | None
    weekly_r: float | None
    open_positions: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""
    strategy: str
    can_trade: bool
    objections: list[str]


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
    figures: PerformanceFigures


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
    expired: int


class SystemPerformance(TypedDict):
    """How fast the process works."""

    recorder: str
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    process: ProcessFigures
    routes: list[RouteFigures]
    collectors: list[CollectorStatus]


class Template(TypedDict):
    """A template in its current version."""

    template_id: str
    recorder: str
    version: int
    created_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    updated_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    updated_by: str
    name: str
    description: str
    order: EquityRequest | OptionStrategyRequest | ManualLegsRequest
    valid_seconds: float | None
    schedule: Schedule | None
    next_ns: int | None
    last_run: ScheduledRun | None


class TemplateContent(TypedDict):
    """The content of a template, as a person writes it."""

    name: str
    description: str
    order: EquityRequest | OptionStrategyRequest | ManualLegsRequest
    valid_seconds: float | None
    schedule: Schedule | None


class TemplateList(TypedDict):
    """All templates."""

    items: list[Template]


class TemplateVersion(TypedDict):
    """A version of a template."""

    template_id: str
    version: int
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    actor: str
    content: TemplateContent


class TemplateVersions(TypedDict):
    """The versions of a template."""

    items: list[TemplateVersion]


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
    win_rate_upper: float | None
    profit_factor: float | None
    expectancy: float | None
    average_win: float | None
    average_loss: float | None
    payoff_ratio: float | None
    kelly: float | None
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


class TradingDay(TypedDict):
    """One trading day."""

    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    end_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    is_complete: bool
    open: float
    """Price, in the quote currency."""
    high: float
    """Price, in the quote currency."""
    low: float
    """Price, in the quote currency."""
    close: float
    """Price, in the quote currency."""
    volume: float | None
    trades: int
    vwap: float | None
    previous_close: float | None
    gap: float | None
    change: float | None
    range: float
    """Price, in the quote currency."""
    true_range: float | None
    realised_volatility: float | None
    returns: int
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""


class TradingState(TypedDict):
    """Whether trading may go on, as the topic ``risk`` has it."""

    type: Any
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    can_trade: bool
    objections: list[Objection]


class VolumeProfileReport(TypedDict):
    """Volume of an instrument by price."""

    instrument: str
    start_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    end_ns: int
    """Nanoseconds since the Unix epoch, UTC."""
    trades: int
    volume: float
    """Quantity, in the instrument's own unit."""
    low: float | None
    high: float | None
    bin_width: float | None
    point_of_control: float | None
    value_area_low: float | None
    value_area_high: float | None
    value_area_volume: float | None
    bins: list[ProfileBin]
    reasons: dict[str, str]
    """Why a figure is null, by the name of its field."""
