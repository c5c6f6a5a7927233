"""The metrics of one risk measure."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import HIGHEST, NEWEST, Kind, Metric, Unit
from decahertz.sample import Sample

DESK = "desk"
"""Strategy of the measures that name none, and of the limits of all strategies together."""


class RiskSample(Sample, frozen=True, kw_only=True):
    """One risk measure of one strategy, or of the desk, at one cycle."""

    collector: ClassVar[str] = "risk"
    key: ClassVar[tuple[str, ...]] = ("strategy", "risk")

    strategy: str
    risk: str
    value: Annotated[
        float,
        Metric(
            "Newest value reported, or of the recorder's own measure, in the unit of the measure.",
            extremes=True,
        ),
    ]
    limit_value: Annotated[
        float | None, Metric("Newest limit reported, or set; null without one.", aggregates=NEWEST)
    ]
    soft_limit_value: Annotated[
        float | None, Metric("Newest soft limit reported, or set; null without one.", aggregates=NEWEST)
    ]
    usage_ratio: Annotated[
        float | None,
        Metric(
            "Size of the value relative to the limit; null without a positive limit.",
            unit=Unit.RATIO,
            extremes=True,
            formula="abs(value) / limit_value",
            aggregates=HIGHEST,
        ),
    ]
    breached: Annotated[
        bool,
        Metric(
            "1 if the limit is reported as breached, or a limit of the settings is exceeded; otherwise 0."
        ),
    ]
    soft_breached: Annotated[bool, Metric("1 if the size of the value exceeds the soft limit, otherwise 0.")]
    age_seconds: Annotated[
        float,
        Metric(
            "Time since the receipt of the newest report; 0 for the recorder's own measures.",
            unit=Unit.SECONDS,
            extremes=True,
            aggregates=HIGHEST,
        ),
    ]
    reports: Annotated[
        int, Metric("Reports received; of the recorder's own measures, changes of level.", kind=Kind.COUNTER)
    ]
