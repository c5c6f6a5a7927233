"""The metrics of one risk measure."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample

DESK = "desk"
"""Key of the measures that name no strategy."""


class RiskSample(Sample, frozen=True, kw_only=True):
    """One risk measure of one strategy, or of the desk, at one cycle."""

    collector: ClassVar[str] = "risk"
    key: ClassVar[tuple[str, ...]] = ("strategy", "risk")

    strategy: str
    risk: str
    value: Annotated[float, Metric("Newest value reported, in the unit of the measure.", extremes=True)]
    limit_value: Annotated[float | None, Metric("Newest limit reported; null without one.")]
    usage_ratio: Annotated[
        float | None,
        Metric(
            "Size of the value relative to the limit; null without a positive limit.",
            unit=Unit.RATIO,
            extremes=True,
        ),
    ]
    breached: Annotated[bool, Metric("1 if the newest report says that the limit is breached, otherwise 0.")]
    age_seconds: Annotated[
        float, Metric("Time since the receipt of the newest report.", unit=Unit.SECONDS, extremes=True)
    ]
    reports: Annotated[int, Metric("Reports received.", kind=Kind.COUNTER)]
