"""Access to the live state of collectors, which can be disabled or failed."""

from __future__ import annotations

from api.http.problems import ProblemError
from api.parts import ApiParts
from collectors.market.collector import MarketCollector
from collectors.strategy.collector import StrategyCollector
from decahertz.health import RunState
from decahertz.risk.monitor import RiskMonitor


def strategy_state(parts: ApiParts) -> StrategyCollector:
    """Returns the strategy collector. Raises :class:`ProblemError` (``not-enabled``) unless it runs."""
    strategy = parts.strategy()
    if strategy is None:
        raise _not_enabled("strategy")
    check_running(parts, "strategy")
    return strategy


def risk_state(parts: ApiParts) -> RiskMonitor:
    """Returns the recorder's own limits. Raises :class:`ProblemError` (``not-enabled``) in an API process."""
    if parts.risk is None:
        raise _not_enabled("risk")
    return parts.risk


def market_state(parts: ApiParts) -> MarketCollector:
    """Returns the market collector. Raises :class:`ProblemError` (``not-enabled``) unless it runs."""
    market = parts.market()
    if market is None:
        raise _not_enabled("market")
    check_running(parts, "market")
    return market


def check_running(parts: ApiParts, collector: str) -> None:
    """Raises :class:`ProblemError` (``not-enabled``) unless a collector is enabled and runs."""
    for status in parts.collectors():
        if status.name == collector:
            if status.state is RunState.RUNNING:
                return
            reason = status.last_error or status.state.value
            raise ProblemError("not-enabled", f"the collector {collector} does not run: {reason}")
    raise _not_enabled(collector)


def _not_enabled(collector: str) -> ProblemError:
    return ProblemError("not-enabled", f"the collector {collector} is not enabled; see collectors.enabled")
