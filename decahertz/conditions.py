"""The conditions of all shipped alerts, each declared once.

The watchdog and the Prometheus rules share these declarations; :mod:`decahertz.thresholds` has the settings
that derive from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from decahertz.alert import Severity
from decahertz.metric import Unit

_LARGEST = 1e300
_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition and its threshold.

    clear ── value beyond the threshold ──► pending ── for ``for_seconds`` ──► firing
      ▲                                                                          │
      └── value within ``clear_ratio`` of the threshold for ``clear_seconds`` ◄──┘
    """

    alert: str
    """Name of the alert."""
    severity: Severity
    labels: tuple[str, ...] = ()
    """Labels that name the thing, besides ``recorder``."""
    help: str
    """The value that is compared, as one sentence."""
    key: str = ""
    """Key in the section ``[alerts]``; empty: the condition has no threshold."""
    default: float = 0.0
    unit: Unit = Unit.NONE
    is_above: bool = True
    """Whether it fires above the threshold; otherwise below."""
    below: float = _LARGEST
    """Thresholds from here on are refused: no value can exceed them."""
    for_seconds: float = 0.0
    """How long the value is beyond the threshold before the alert fires."""
    clear_ratio: float = 1.0
    """Hysteresis: the part of the threshold to which the value must return before the alert is resolved."""
    clear_seconds: float = 0.0
    """How long it must stay there."""
    is_watched: bool = False
    """Whether the watchdog evaluates it, ten times a second. Prometheus evaluates every condition."""

    @property
    def runbook_url(self) -> str:
        """The page that says what to do."""
        return f"docs/runbooks/{self.alert}.md"


CONDITIONS: tuple[Condition, ...] = (
    # Market
    Condition(
        alert="FeedStale",
        severity=Severity.PAGE,
        labels=("venue",),
        help="Time since the newest message of a venue whose verdict is stale.",
        key="feed_stale_seconds",
        default=15.0,
        unit=Unit.SECONDS,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="FeedMute",
        severity=Severity.PAGE,
        labels=("venue", "instrument"),
        help="Time since the newest message of an instrument whose verdict is mute.",
        key="feed_mute_seconds",
        default=15.0,
        unit=Unit.SECONDS,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="FeedLate",
        severity=Severity.TICKET,
        labels=("venue",),
        help="Mean latency from venue to receipt of a minute, in the median of a venue's instruments.",
        key="feed_late_seconds",
        default=1.0,
        unit=Unit.SECONDS,
        for_seconds=60.0,
    ),
    Condition(
        alert="SequenceGaps",
        severity=Severity.TICKET,
        labels=("venue", "instrument"),
        help="Messages missed within five minutes, by the venue's sequence numbers.",
        key="sequence_gaps",
        default=10.0,
    ),
    Condition(
        alert="BookCrossed",
        severity=Severity.TICKET,
        labels=("venue", "instrument"),
        help="Share of the last minute in which the bid was above the ask.",
        key="book_crossed_ratio",
        default=0.5,
        unit=Unit.RATIO,
        below=1.0,
    ),
    Condition(
        alert="SpreadBlowOut",
        severity=Severity.TICKET,
        labels=("venue", "instrument"),
        help="Mean spread of the last minute over its mean of the last hour.",
        key="spread_ratio",
        default=5.0,
        unit=Unit.RATIO,
        for_seconds=30.0,
    ),
    # Execution
    Condition(
        alert="RejectSpike",
        severity=Severity.PAGE,
        labels=("strategy", "venue"),
        help="Share of orders rejected within five minutes, less that of the hour before; from five on.",
        key="reject_ratio",
        default=0.25,
        unit=Unit.RATIO,
        below=1.0,
    ),
    Condition(
        alert="OrderAckSlow",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="99th percentile of the latency from submission to acceptance.",
        key="order_ack_seconds",
        default=1.0,
        unit=Unit.SECONDS,
        for_seconds=60.0,
    ),
    Condition(
        alert="OrderFillSlow",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="Median latency from submission to first fill.",
        key="order_fill_seconds",
        default=60.0,
        unit=Unit.SECONDS,
        for_seconds=60.0,
    ),
    Condition(
        alert="SlippageHigh",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="Mean slippage against the mid at submission.",
        key="slippage_bps",
        default=10.0,
        unit=Unit.BASIS_POINTS,
        for_seconds=60.0,
    ),
    Condition(
        alert="ShortfallHigh",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="Implementation shortfall of finished orders; from five orders on.",
        key="shortfall_bps",
        default=25.0,
        unit=Unit.BASIS_POINTS,
        for_seconds=60.0,
    ),
    Condition(
        alert="MarkoutAdverse",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="Mean loss against the mid 5 s after the fills: the negative markout; from 20 fills on.",
        key="adverse_markout_bps",
        default=10.0,
        unit=Unit.BASIS_POINTS,
        for_seconds=60.0,
    ),
    Condition(
        alert="OrderUnresolved",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="Age of the oldest order that the venue has neither accepted, filled nor refused.",
        key="order_unresolved_seconds",
        default=60.0,
        unit=Unit.SECONDS,
    ),
    Condition(
        alert="OrderContradicted",
        severity=Severity.TICKET,
        labels=("strategy", "venue"),
        help="Contradictions among the reports and fills of orders within fifteen minutes.",
        key="order_contradictions",
        default=0.0,
    ),
    # Strategies and risk
    Condition(
        alert="DrawdownDeep",
        severity=Severity.PAGE,
        labels=("strategy",),
        help="Drawdown of a strategy over its highest equity; for strategies that report equity.",
        key="drawdown_ratio",
        default=0.1,
        unit=Unit.RATIO,
        below=1.0,
        for_seconds=0.5,
        clear_ratio=0.9,
        clear_seconds=5.0,
        is_watched=True,
    ),
    Condition(
        alert="DailyLossLimit",
        severity=Severity.PAGE,
        labels=("strategy",),
        help="Loss realised in this UTC day over the equity before it; for strategies that report equity.",
        key="daily_loss_ratio",
        default=0.05,
        unit=Unit.RATIO,
        below=1.0,
        clear_ratio=0.9,
        clear_seconds=5.0,
        is_watched=True,
    ),
    Condition(
        alert="RiskLimitBreached",
        severity=Severity.PAGE,
        labels=("strategy", "risk"),
        help="A risk measure over its limit, by `risk` events or by the recorder's own figures.",
        key="risk_limit_ratio",
        default=1.0,
        unit=Unit.RATIO,
        clear_ratio=0.98,
        clear_seconds=5.0,
        is_watched=True,
    ),
    Condition(
        alert="RiskLimitNear",
        severity=Severity.TICKET,
        labels=("strategy", "risk"),
        help="A risk measure over its soft limit and not over the hard one.",
        key="risk_soft_limit_ratio",
        default=1.0,
        unit=Unit.RATIO,
        for_seconds=15.0,
    ),
    Condition(
        alert="PositionBreak",
        severity=Severity.PAGE,
        labels=("strategy",),
        help="Instruments in which the position that a strategy reports differs from its fills.",
        key="position_breaks",
        default=0.0,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="CashBreak",
        severity=Severity.TICKET,
        labels=("strategy",),
        help="Accounts in which the cash that a strategy reports differs from its fills and cash flows.",
        key="cash_breaks",
        default=0.0,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="StrategySilent",
        severity=Severity.TICKET,
        labels=("strategy",),
        help="Time since the newest event of a strategy with an open position.",
        key="strategy_silent_seconds",
        default=300.0,
        unit=Unit.SECONDS,
    ),
    Condition(
        alert="MarkPriceOld",
        severity=Severity.TICKET,
        labels=("strategy",),
        help="Age of the oldest mark price of an open position.",
        key="mark_price_seconds",
        default=60.0,
        unit=Unit.SECONDS,
        for_seconds=30.0,
    ),
    Condition(
        alert="MoneyUnconverted",
        severity=Severity.TICKET,
        labels=("strategy",),
        help="Fills and cash flows within fifteen minutes that have no rate to the account currency.",
        key="money_unconverted",
        default=0.0,
    ),
    # The recorder
    Condition(
        alert="EventLoopLag",
        severity=Severity.TICKET,
        help="Longest event-loop lag of the last second.",
        key="loop_lag_seconds",
        default=0.5,
        unit=Unit.SECONDS,
        clear_ratio=0.5,
        clear_seconds=15.0,
        is_watched=True,
    ),
    Condition(
        alert="CyclesMissed",
        severity=Severity.TICKET,
        help="Cycles missed within a minute.",
        key="cycles_missed",
        default=5.0,
        is_watched=True,
    ),
    Condition(
        alert="LedgerUnbalanced",
        severity=Severity.PAGE,
        labels=("stream",),
        help="Rows of a stream that are neither stored, spooled nor dropped.",
        key="ledger_rows",
        default=0.0,
        for_seconds=1.0,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="DatabaseLost",
        severity=Severity.PAGE,
        help="Time since the database was lost; samples and events wait in the spool.",
        key="database_lost_seconds",
        default=3.0,
        unit=Unit.SECONDS,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="SpoolOld",
        severity=Severity.PAGE,
        help="Age of the oldest entry in the spool.",
        key="spool_age_seconds",
        default=300.0,
        unit=Unit.SECONDS,
    ),
    Condition(
        alert="SpoolLarge",
        severity=Severity.PAGE,
        help="Size of the spool over `spool.max_bytes`.",
        key="spool_ratio",
        default=0.5,
        unit=Unit.RATIO,
        below=1.0,
    ),
    Condition(
        alert="SamplesDropped",
        severity=Severity.PAGE,
        labels=("stream", "reason"),
        help="Samples dropped within five minutes.",
        key="samples_dropped",
        default=0.0,
    ),
    Condition(
        alert="EventsDropped",
        severity=Severity.PAGE,
        labels=("stream", "reason"),
        help="Events dropped within five minutes, by the recorder or by an emitter.",
        key="events_dropped",
        default=0.0,
    ),
    Condition(
        alert="DeadLetters",
        severity=Severity.TICKET,
        help="Rows that the database refused within fifteen minutes.",
        key="dead_letters",
        default=0.0,
    ),
    Condition(
        alert="RollUpBehind",
        severity=Severity.TICKET,
        help="Time since everything was rolled up.",
        key="roll_up_seconds",
        default=600.0,
        unit=Unit.SECONDS,
    ),
    Condition(
        alert="ClockStepped",
        severity=Severity.TICKET,
        help="Steps of the wall clock within fifteen minutes.",
        key="clock_steps",
        default=0.0,
    ),
    Condition(
        alert="ClockOffset",
        severity=Severity.TICKET,
        help="Distance of the wall clock from its time source.",
        key="clock_offset_seconds",
        default=0.1,
        unit=Unit.SECONDS,
        for_seconds=60.0,
    ),
    Condition(
        alert="LiveConflation",
        severity=Severity.TICKET,
        help="States per second that slow WebSocket readers did not get, over five minutes.",
        key="conflated_per_second",
        default=1000.0,
        unit=Unit.PER_SECOND,
    ),
    Condition(
        alert="LiveReadersClosed",
        severity=Severity.TICKET,
        help="WebSocket readers disconnected within fifteen minutes because they were too slow or silent.",
        key="readers_closed",
        default=5.0,
    ),
    Condition(
        alert="KeysOverBudget",
        severity=Severity.TICKET,
        labels=("collector",),
        help="Keys of a collector that have no room in its key budget: stored as events, and not sampled.",
        key="keys_over_budget",
        default=0.0,
        clear_seconds=2.0,
        is_watched=True,
    ),
    Condition(
        alert="LabelBudgetExceeded",
        severity=Severity.TICKET,
        labels=("collector",),
        help="Keys that found the exporter's label budget exhausted within fifteen minutes.",
        key="label_budget_excess",
        default=0.0,
    ),
    Condition(
        alert="ComponentUnhealthy",
        severity=Severity.TICKET,
        labels=("component",),
        help="Health of a component: 1 ok, 0.5 degraded, 0 failed.",
        key="component_health",
        default=1.0,
        is_above=False,
        for_seconds=60.0,
    ),
    Condition(
        alert="RecorderRestarted",
        severity=Severity.TICKET,
        help="Starts of the recorder within fifteen minutes, the first one not counted.",
        key="recorder_restarts",
        default=1.0,
    ),
    Condition(
        alert="RecorderDown",
        severity=Severity.PAGE,
        help="Prometheus cannot scrape the recorder.",
        for_seconds=30.0,
    ),
    Condition(
        alert="DeadMansSwitch",
        severity=Severity.TICKET,
        help="Always fires: when it is missing, alerts do not get through.",
    ),
    # Providers
    Condition(
        alert="ProviderBreakerOpen",
        severity=Severity.TICKET,
        labels=("provider",),
        help="Share of five minutes in which the circuit breaker of a provider was not closed.",
        key="provider_open_ratio",
        default=0.5,
        unit=Unit.RATIO,
        below=1.0,
    ),
    Condition(
        alert="ProviderBudgetSpent",
        severity=Severity.TICKET,
        labels=("provider",),
        help="Costs of a provider on this day (UTC) over its budget.",
        key="provider_budget_ratio",
        default=0.8,
        unit=Unit.RATIO,
        below=1.0,
    ),
    # Control, signals, news
    Condition(
        alert="OrderRequestWaiting",
        severity=Severity.TICKET,
        help="Time since the oldest order request in the queue was submitted.",
        key="order_request_seconds",
        default=60.0,
        unit=Unit.SECONDS,
    ),
    Condition(
        alert="OrderRequestsRefused",
        severity=Severity.TICKET,
        labels=("rule",),
        help="Order requests that a rule refused within five minutes.",
        key="order_requests_refused",
        default=10.0,
    ),
    Condition(
        alert="ScheduleNotSubmitted",
        severity=Severity.TICKET,
        labels=("outcome",),
        help="Templates whose newest scheduled time became no order request.",
        key="schedules_not_submitted",
    ),
    Condition(
        alert="SignalsFailing",
        severity=Severity.TICKET,
        labels=("generator",),
        help="Share of a signal generator's evaluations of fifteen minutes that failed.",
        key="signal_failure_ratio",
        default=0.2,
        unit=Unit.RATIO,
        below=1.0,
    ),
    Condition(
        alert="NewsSilent",
        severity=Severity.TICKET,
        help="Time since the newest headline, where any has arrived since the start.",
        key="news_silent_seconds",
        default=24 * _HOUR,
        unit=Unit.SECONDS,
    ),
    # The machine
    Condition(
        alert="CpuHigh",
        severity=Severity.TICKET,
        labels=("host",),
        help="Busy share of all cores.",
        key="cpu_ratio",
        default=0.9,
        unit=Unit.RATIO,
        below=1.0,
        for_seconds=300.0,
    ),
    Condition(
        alert="MemoryHigh",
        severity=Severity.TICKET,
        labels=("host",),
        help="Used share of the memory.",
        key="memory_ratio",
        default=0.9,
        unit=Unit.RATIO,
        below=1.0,
        for_seconds=300.0,
    ),
    Condition(
        alert="DiskFilling",
        severity=Severity.PAGE,
        labels=("host",),
        help="Time until the data disk is full, at the pace of the last hour.",
        key="disk_full_seconds",
        default=6 * _HOUR,
        unit=Unit.SECONDS,
        is_above=False,
        for_seconds=300.0,
    ),
)
CONDITION_BY_ALERT: Mapping[str, Condition] = MappingProxyType({c.alert: c for c in CONDITIONS})
