"""Access to the live state of collectors, which can be disabled or failed."""

from __future__ import annotations

from api.http.problems import ProblemError
from api.parts import ApiParts
from collectors.strategy.collector import StrategyCollector
from decahertz.health import RunState


def strategy_state(parts: ApiParts) -> StrategyCollector:
    """Returns the strategy collector. Raises :class:`ProblemError` (``not-enabled``) unless it runs."""
    if parts.strategy is None:
        raise ProblemError("not-enabled", "the collector strategy is not enabled; see collectors.enabled")
    for status in parts.collectors():
        if status.name == StrategyCollector.sample_type.collector and status.state is not RunState.RUNNING:
            reason = status.last_error or status.state.value
            raise ProblemError("not-enabled", f"the collector strategy does not run: {reason}")
    return parts.strategy
