"""Collaborators of the API: the parts of the process that its handlers call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from prometheus_client import CollectorRegistry

from api.alertmanager.silences import Silences
from api.http.query import QueryT
from api.http.route import BodyT
from api.http.route import Request as AnyRequest
from api.http.self_metrics import RouteFigures
from api.live.replay import EventSource
from api.live.statistics import LiveStatistics, no_statistics
from api.security.audit import Auditor
from api.security.keyring import KeyRing
from api.security.sessions import Sessions
from collectors.execution.collector import ExecutionCollector
from collectors.market.collector import MarketCollector
from collectors.strategy.collector import StrategyCollector
from control.halts import Halts
from control.queue import RequestQueue
from control.signals.schedule import SignalSchedules
from control.signals.service import SignalService
from control.templates import Templates
from decahertz.accounting import AccountingSettings
from decahertz.bus import Bus
from decahertz.clock import Clock
from decahertz.health import CollectorStatus, ComponentStatus, FeedStatus, ProcessFigures
from decahertz.ingest import Ingest
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.ledger import StreamLedger
from decahertz.risk.monitor import RiskMonitor
from decahertz.sample import SampleSchema
from decahertz.trading_days import TradingDays
from providers.gateway import Gateway
from storage.query.queries import Queries
from storage.write.alerts import AlertStore


def no_threshold(_alert: str) -> None:
    """Threshold of an alert in a process without alerts."""


def no_strategies() -> None:
    """State of strategies in a process without collectors."""


def no_market() -> None:
    """State of instruments in a process without collectors."""


def no_execution() -> None:
    """State of orders in a process without collectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """Collaborators, made by the composition root. The callables are cheap and return the current state."""

    recorder: str
    """Name of this recorder."""
    clock: Clock
    bus: Bus
    keys: KeyRing
    auditor: Auditor
    sessions: Sessions
    ingest: Ingest | None
    """``None`` in an API process of its own, which forwards events to the recorder."""
    queries: Queries
    latest: LatestSamples
    alerts: LatestAlerts
    alert_store: AlertStore
    silences: Silences | None = None
    """Silences in Alertmanager; ``None``: it is not configured."""
    schemas: Sequence[SampleSchema]
    """Sample schemas of all running collectors."""
    collectors: Callable[[], list[CollectorStatus]]
    feeds: Callable[[], list[FeedStatus]]
    components: Callable[[], list[ComponentStatus]]
    ready: Callable[[], bool]
    """Whether every part is started and the database responds."""
    strategy: Callable[[], StrategyCollector | None] = no_strategies
    """State of strategies and their positions; ``None``: the collector is not enabled."""
    risk: RiskMonitor | None = None
    """The recorder's own risk limits; ``None`` in an API process of its own."""
    queue: RequestQueue | None = None
    """The queue of order requests; ``None`` in an API process of its own."""
    templates: Templates | None = None
    """Templates of order requests; ``None`` in an API process of its own."""
    halts: Halts | None = None
    """The halts; ``None`` in an API process of its own."""
    gateway: Gateway | None = None
    """The providers; ``None`` in an API process of its own."""
    signals: tuple[SignalService, SignalSchedules] | None = None
    """Signals of the recorder's own generators; ``None`` in an API process of its own."""
    market: Callable[[], MarketCollector | None] = no_market
    """State of instruments and their feeds; ``None``: the collector is not enabled."""
    execution: Callable[[], ExecutionCollector | None] = no_execution
    """State of orders; ``None``: the collector is not enabled."""
    ledger: Callable[[], list[StreamLedger]] = list
    """The loss ledger: a consistent reading of all streams."""
    process: Callable[[], ProcessFigures] = ProcessFigures
    """Cycles, events and rows of the process."""
    requests: Callable[[], list[RouteFigures]] = list
    """HTTP requests by route; the API sets it."""
    threshold: Callable[[str], float | None] = no_threshold
    """Threshold of the alert with this name; ``None``: it has none, or is disabled."""
    registry: CollectorRegistry
    version: str
    days: TradingDays = field(default_factory=TradingDays)
    """Trading days and weeks, by the settings."""
    accounting: AccountingSettings = field(default_factory=AccountingSettings)
    """How results are computed."""
    event_log: EventSource
    """The durable events, from which WebSocket readers resume."""
    live: Callable[[], LiveStatistics] = no_statistics
    """Figures of the WebSocket clients; the API sets it."""


Request: TypeAlias = AnyRequest[ApiParts, QueryT, BodyT]
"""A request to one of the routes."""
