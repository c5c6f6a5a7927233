"""Summary of the newest samples: for each metric its range over all keys."""

from __future__ import annotations

import math
from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.names import Names, unknown_name
from collectors.common.values import finite
from decahertz.clock import NS_PER_SECOND
from decahertz.metric import Kind, Unit
from decahertz.quantities import Reasons, Seconds, TimeNanoseconds
from decahertz.sample import MetricField, SampleBatch, SampleSchema


class SummaryQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the summary."""

    collector: Annotated[Names, Meta(description="Collectors; default: all.")] = ()


class MetricSummary(Struct, frozen=True, kw_only=True):
    """One metric over all keys of its collector, in its own unit."""

    name: str
    kind: Kind
    unit: Unit
    n: int
    """Keys with a value."""
    min: float | None
    max: float | None
    mean: float | None
    sum: float | None
    states: dict[str, int]
    """Keys by value, for a state or a yes-or-no metric."""
    reasons: Reasons


class CollectorSummary(Struct, frozen=True, kw_only=True):
    """The newest batch of one collector."""

    collector: str
    keys: int
    """Samples in the batch."""
    time_ns: TimeNanoseconds | None
    """Time of the cycle."""
    age_seconds: Seconds | None
    metrics: list[MetricSummary]
    reasons: Reasons


class MetricsSummary(Struct, frozen=True, kw_only=True):
    """Summary of the newest samples of this recorder."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    collectors: list[CollectorSummary]


async def metrics_summary(request: Request[SummaryQuery, None]) -> MetricsSummary:
    """Returns for each metric the number of keys with a value, and their least, greatest, mean and sum."""
    parts = request.parts
    known = {schema.collector: schema for schema in parts.schemas}
    for name in request.query.collector:
        if name not in known:
            raise unknown_name("collector", name, known)
    now_ns = parts.clock.time_ns()
    return MetricsSummary(
        recorder=parts.recorder,
        time_ns=now_ns,
        collectors=[
            _collector(known[name], parts.latest.get(name), now_ns)
            for name in dict.fromkeys(request.query.collector or known)
        ],
    )


def _collector(schema: SampleSchema, batch: SampleBatch | None, now_ns: int) -> CollectorSummary:
    if batch is None:
        reason = "the collector has returned no sample yet"
        return CollectorSummary(
            collector=schema.collector,
            keys=0,
            time_ns=None,
            age_seconds=None,
            metrics=[],
            reasons={"time_ns": reason, "age_seconds": reason},
        )
    return CollectorSummary(
        collector=schema.collector,
        keys=len(batch.samples),
        time_ns=batch.time_ns,
        age_seconds=max(now_ns - batch.time_ns, 0) / NS_PER_SECOND,
        metrics=[_metric(field, batch) for field in schema.metrics],
        reasons={},
    )


def _metric(field: MetricField, batch: SampleBatch) -> MetricSummary:
    given = [getattr(sample, field.name) for sample in batch.samples]
    values = [value for value in given if value is not None]
    states: dict[str, int] = {}
    numbers: list[float] = []
    if field.type is bool or field.states:
        for value in values:
            text = str(value).lower()
            states[text] = states.get(text, 0) + 1
        reason = "a state has no amount"
    else:
        numbers = values
        reason = "no key has a value"
    total = finite(_sum(numbers)) if numbers else None
    figures = {
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
        "mean": None if total is None else total / len(numbers),
        "sum": total,
    }
    if numbers:
        reason = "the sum is too large"
    return MetricSummary(
        name=field.name,
        kind=field.metric.kind,
        unit=field.metric.unit,
        n=len(values),
        states=states,
        reasons={name: reason for name, value in figures.items() if value is None},
        **figures,
    )


def _sum(numbers: list[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/metrics/summary",
        summary="Range of every metric over its keys",
        handler=metrics_summary,
        anywhere=True,
        query=SummaryQuery,
        response=MetricsSummary,
    ),
)
