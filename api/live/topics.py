"""The topics that can exist: the events, the bars, and the samples of the collectors of this recorder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final, TypeAlias

from api.live.bars import TOPIC as BARS
from collectors.execution.sample import ExecutionSample
from collectors.market.sample import MarketSample
from collectors.risk.sample import RiskSample
from collectors.strategy.sample import StrategySample
from collectors.system.sample import SystemSample
from decahertz.alert import TOPIC as ALERTS
from decahertz.audit import TOPIC as AUDIT
from decahertz.event import EVENT_TYPES
from decahertz.sample import Sample, SampleSchema, schema_of
from decahertz.topic import Pattern, TopicError

_METRICS: Final = "metrics"
_BUILT_IN: Final[tuple[type[Sample], ...]] = (
    ExecutionSample,
    MarketSample,
    RiskSample,
    StrategySample,
    SystemSample,
)
_SIMILAR: Final = 0.6

_Shape: TypeAlias = tuple[str, ...]
"""Segments of a topic; one in braces stands for any name: ``("quotes", "{instrument}")``."""


class KnownTopics:
    """Tells patterns that match no topic, now or later, from those whose instrument is not there yet."""

    def __init__(self, schemas: Iterable[SampleSchema]) -> None:
        """``schemas`` are those of the running collectors.

        Built-in ones that are switched off count too: one client serves recorders with and without them.
        """
        schemas = [*map(schema_of, _BUILT_IN), *schemas]
        events = {
            (one.topic, f"{{{one.topic_key}}}") if one.topic_key else (one.topic,) for one in EVENT_TYPES
        }
        events |= {(one.topic, "{name}") for one in EVENT_TYPES if one.topic_names}
        samples = {
            (_METRICS, schema.collector, *(f"{{{name}}}" for name in schema.key)) for schema in schemas
        }
        bars = (BARS, "{instrument}", "{timeframe}")
        self._shapes: Sequence[_Shape] = sorted({*events, *samples, bars, (ALERTS,), (AUDIT,)})

    def check(self, pattern: Pattern) -> None:
        """Raises :class:`~decahertz.topic.TopicError`, which names similar topics."""
        if not any(_can_match(pattern.segments, shape) for shape in self._shapes):
            near = self._near(pattern.segments)
            start = "similar" if near else "topics"
            forms = ", ".join(":".join(shape) for shape in near or self._shapes)
            raise TopicError(f"no topic can match {pattern.text!r}; {start}: {forms}")

    def _near(self, segments: Sequence[str]) -> list[_Shape]:
        firsts = {shape[0] for shape in self._shapes}
        names = get_close_matches(segments[0], firsts, cutoff=_SIMILAR)
        near = [shape for name in names for shape in self._shapes if shape[0] == name]
        if segments[0] == _METRICS and len(segments) > 1:
            near = [shape for shape in near if shape[0] == _METRICS]
            collectors = [shape[1] for shape in near]
            close = get_close_matches(segments[1], collectors, cutoff=_SIMILAR) or collectors
            near = [shape for shape in near if shape[1] in close]
        elif segments[0] in firsts:
            near = [shape for shape in near if shape[0] == segments[0]]
        return near


def _can_match(segments: Sequence[str], shape: _Shape) -> bool:
    """Whether a topic of this shape can match the segments of a pattern."""
    if segments[-1] == "**":
        segments = segments[:-1]
        if len(shape) <= len(segments):
            return False
        shape = shape[: len(segments)]
    return len(shape) == len(segments) and all(
        given in ("*", expected) or expected.startswith("{")
        for given, expected in zip(segments, shape, strict=True)
    )
