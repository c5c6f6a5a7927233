"""Types of the records that :class:`~decahertz_client.Reader` returns.

Written by ``scripts/derive.py`` from the routes of the API.
"""

from __future__ import annotations

from typing import Literal, TypedDict

AlertOrigin = Literal["prometheus", "watchdog"]
"""Who found the condition."""
AlertState = Literal["firing", "resolved"]
"""State of an alert."""
Basis = Literal["fills", "reports"]
"""Where the quantity of a position comes from."""
Health = Literal["degraded", "failed", "ok"]
"""Health of a part."""
InstrumentKind = Literal["future", "fx", "index", "option", "perpetual", "spot"]
"""Kind of an instrument."""
Kind = Literal["counter", "gauge", "state"]
"""Behaviour of a metric over time."""
Liquidity = Literal["maker", "taker"]
"""Whether a fill provided or took liquidity."""
MarkSource = Literal["quote", "report"]
"""Where a mark price comes from."""
PositionSource = Literal["autonomous", "bot", "manual"]
"""Who holds a position."""
RunState = Literal["failed", "finished", "running", "stopped"]
"""Run state of a plugin."""
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
    last_error: str | None
    last_sample_ns: int | None
    duration_last_seconds: float | None
    duration_max_seconds: float | None


class ComponentStatus(TypedDict):
    """Status of one part of the process."""

    name: str
    health: Health
    detail: str


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


class Plugins(TypedDict):
    """Status of all collectors and feeds."""

    recorder: str
    collectors: list[CollectorStatus]
    feeds: list[FeedStatus]


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


class ReportedPosition(TypedDict):
    """The newest position event of one holder."""

    held_by: PositionSource
    quantity: float
    """Quantity, in the instrument's own unit."""
    average_price: float | None
    mark_price: float | None
    time_ns: int
    """Nanoseconds since the Unix epoch, UTC."""


class ServerTime(TypedDict):
    """Current time of the server, nanoseconds UTC."""

    time_ns: int


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


class StreamLedger(TypedDict):
    """Counts of one stream since the spool was created, in rows: one event or one sample each."""

    stream: str
    emitted: int
    stored: int
    spooled: int
    dropped: dict[str, int]
    imbalance: int
