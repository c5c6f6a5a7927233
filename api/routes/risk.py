"""Exposure, P&L and limits of the desk as they are now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from api.http.problems import ProblemError
from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.live_state import risk_state, strategy_state
from api.routes.records import Text
from collectors.risk.sample import RiskSample
from collectors.risk.standing import Standing
from collectors.strategy.exposure import Exposure, Place, total_of
from collectors.strategy.figures import StrategyFigures
from decahertz.latest import LatestSamples
from decahertz.quantities import Figures, Money, Ratio, Reasons, RMultiple, TimeNanoseconds
from decahertz.risk.measures import NOT_VALUED
from decahertz.risk_limits import OWN_PREFIX, Level
from decahertz.trading_state import TradingState

_NO_RISK = "no round trip with a known initial risk was closed"


class LimitBasis(StrEnum):
    """Where a limit comes from."""

    SETTINGS = "settings"
    """The section `[risk]` of the recorder's settings; the recorder computes the value."""
    REPORTS = "reports"
    """`risk` events, by which value and limit are reported."""


class LimitLevel(StrEnum):
    """Which limit a value exceeds."""

    OK = "ok"
    SOFT = "soft"
    HARD = "hard"


class CanTradeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of what speaks against trading; absent parameters: against any trading."""

    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    known_ns: Annotated[int, Meta(ge=0, description="`time_ns` of the state that is known.")] | None = None
    wait_seconds: Annotated[
        float, Meta(ge=0, le=5, description="How long the answer may wait for another state.")
    ] = 0.0


class InstrumentExposure(Struct, frozen=True, kw_only=True):
    """All positions in one instrument together."""

    venue: str
    instrument: str
    net: Money
    """Signed value at the mark price; negative when short."""


class CurrencyExposure(Struct, frozen=True, kw_only=True):
    """All positions of one settlement currency together."""

    currency: str | None
    """Null: instruments without a definition, counted in the account currency."""
    net: Money
    """Signed value in the account currency."""


class ExposureFigures(Struct, frozen=True, kw_only=True):
    """Exposure and P&L."""

    gross_exposure: Money | None
    """Sum of the sizes of the open positions at their mark prices."""
    net_exposure: Money | None
    """Signed sum; negative when short."""
    daily_pnl: Money
    """Realised in this day, after fees."""
    weekly_pnl: Money
    """Realised in this week, after fees."""
    daily_r: RMultiple | None
    """Sum of the R multiples of the round trips closed in this day."""
    weekly_r: RMultiple | None
    open_positions: int
    reasons: Reasons


class StrategyExposure(ExposureFigures, frozen=True, kw_only=True):
    """One strategy."""

    strategy: str
    can_trade: bool
    """Whether nothing speaks against trading of this strategy."""
    objections: list[str]
    """Everything that speaks against it, or against trading of any strategy."""


class LimitStatus(Struct, frozen=True, kw_only=True):
    """One limit."""

    strategy: str
    """The strategy; `desk` for all together."""
    measure: str
    basis: LimitBasis
    value: float | None
    """In the unit of the measure."""
    soft_limit: float | None
    hard_limit: float | None
    usage: Ratio | None
    """Value relative to the hard limit."""
    level: LimitLevel
    """The limit that it exceeds. One of the settings falls back after five seconds below."""
    since_ns: TimeNanoseconds | None
    """Since when; null for a reported limit."""
    reason: str | None
    """Why the value is null."""


class RiskReport(ExposureFigures, frozen=True, kw_only=True):
    """The desk as this recorder sees it; amounts are in the account currency."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    can_trade: bool
    """Whether nothing that the recorder knows speaks against trading. It is not a permission."""
    objections: list[str]
    """Everything that speaks against any trading; empty if `can_trade` is true."""
    limits: list[LimitStatus]
    instruments: list[InstrumentExposure]
    """By venue and name."""
    currencies: list[CurrencyExposure]
    strategies: list[StrategyExposure]


async def risk(request: Request[NoQuery, None]) -> RiskReport:
    """Returns exposure, P&L in money and R, and every limit with its use, from live state.

    The limits are those of the section `[risk]` of the settings, which the recorder evaluates in every cycle,
    and those that trading processes report. Changes of the former are `risk` events of the source
    `recorder-risk`, as `risk/events` lists them.
    """
    parts = request.parts
    now_ns = parts.clock.time_ns()
    collector, monitor = strategy_state(parts), risk_state(parts)
    by_strategy = {exposure.strategy: exposure for exposure in collector.exposures(now_ns)}
    known = collector.figures(now_ns)
    desk = total_of(by_strategy.values())
    trading = monitor.state()
    return RiskReport(
        recorder=parts.recorder,
        time_ns=now_ns,
        can_trade=trading.can_trade,
        objections=[objection.reason for objection in trading.objections],
        limits=[*map(_standing, monitor.standings), *_reported(parts.latest)],
        instruments=_instruments(desk.by_instrument),
        currencies=[
            CurrencyExposure(currency=currency or None, net=net)
            for currency, net in sorted(desk.by_currency.items())
        ],
        strategies=[
            StrategyExposure(
                strategy=s.strategy,
                can_trade=not (reasons := _against(trading, s.strategy)),
                objections=reasons,
                **_figures(by_strategy.get(s.strategy, Exposure()), [s]),
            )
            for s in known
        ],
        **_figures(desk, known),
    )


async def can_trade(request: Request[CanTradeQuery, None]) -> TradingState:
    """Returns whether trading may go on, and everything that speaks against it.

    With `strategy`, and with `venue` and `instrument`, only what speaks against such orders counts; a halted
    instrument counts only where it is named. With `known_ns` and `wait_seconds` the answer waits for
    a state of another time, such as that of a halt. The topic `risk` of the WebSocket has each state at once.
    """
    query = request.query
    monitor = request.parts.risk
    if monitor is None:
        raise ProblemError("not-enabled", "this process has no limits")
    state = await monitor.next_state(query.known_ns, query.wait_seconds)
    if query.strategy is None and query.instrument is None:
        return state
    found = [
        objection
        for objection in state.objections
        if objection.covers(query.strategy, query.venue, query.instrument)
    ]
    return TradingState(time_ns=state.time_ns, can_trade=not found, objections=found)


def _against(trading: TradingState, strategy: str) -> list[str]:
    return [one.reason for one in trading.objections if one.covers(strategy, None, None)]


def _instruments(amounts: Mapping[Place, float]) -> list[InstrumentExposure]:
    return [
        InstrumentExposure(venue=venue, instrument=instrument, net=net)
        for (venue, instrument), net in sorted(amounts.items())
    ]


def _figures(exposure: Exposure, strategies: list[StrategyFigures]) -> dict[str, Any]:
    figures = Figures()
    figures.add("gross_exposure", exposure.gross, NOT_VALUED)
    figures.add("net_exposure", exposure.net, NOT_VALUED)
    for period in ("daily", "weekly"):
        trades = sum(getattr(s, f"{period}_r_trades") for s in strategies)
        figures.add(f"{period}_r", getattr(exposure, f"{period}_r") if trades else None, _NO_RISK)
    return {
        "daily_pnl": sum(s.daily_pnl for s in strategies),
        "weekly_pnl": sum(s.weekly_pnl for s in strategies),
        "open_positions": sum(s.open_positions for s in strategies),
        **figures.values_with_reasons(),
    }


def _standing(standing: Standing) -> LimitStatus:
    limit = standing.limit
    return LimitStatus(
        strategy=standing.strategy,
        measure=limit.measure,
        basis=LimitBasis.SETTINGS,
        value=standing.value,
        soft_limit=limit.soft,
        hard_limit=limit.hard,
        usage=standing.usage,
        level=_LEVELS[standing.level],
        since_ns=standing.since_ns,
        reason=standing.reason or None,
    )


def _reported(latest: LatestSamples) -> Iterator[LimitStatus]:
    batch = latest.get("risk")
    for sample in batch.samples if batch else ():
        if isinstance(sample, RiskSample) and not sample.risk.startswith(OWN_PREFIX):
            is_hard = sample.breached or (sample.usage_ratio or 0.0) > 1
            yield LimitStatus(
                strategy=sample.strategy,
                measure=sample.risk,
                basis=LimitBasis.REPORTS,
                value=sample.value,
                soft_limit=sample.soft_limit_value,
                hard_limit=sample.limit_value,
                usage=sample.usage_ratio,
                level=_LEVELS[Level.HARD if is_hard else Level(sample.soft_breached)],
                since_ns=None,
                reason=None,
            )


_LEVELS: Final = {Level.OK: LimitLevel.OK, Level.SOFT: LimitLevel.SOFT, Level.HARD: LimitLevel.HARD}

ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/risk",
        summary="Exposure, P&L and limits",
        handler=risk,
        response=RiskReport,
        problems=("not-enabled",),
    ),
    Route(
        path="/api/v1/risk/can-trade",
        summary="Whether trading may go on",
        handler=can_trade,
        query=CanTradeQuery,
        response=TradingState,
        problems=("not-enabled",),
    ),
)
