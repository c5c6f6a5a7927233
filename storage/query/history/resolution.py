"""Resolution of a history: the tier that it is read from, and the width of its buckets.

An answer is either raw samples, or one row for each series and bucket with the last, lowest, highest and
average value of each gauge. Buckets are aligned to the Unix epoch, so a bucket is the same in every answer.

Down-sampling to the extremes of each bucket keeps every spike: a chart of them differs from a chart of all
samples by single pixels. This is the min-max aggregation of U. Jugel, Z. Jerzak, G. Hackenbroich, V. Markl:
*M4: A Visualization-Oriented Time Series Data Aggregation*, PVLDB 7(10), 2014. Of M4's four values the first
is left out, because the last value of the previous bucket is next to it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from decahertz.clock import CYCLE_NS
from decahertz.duration import UNITS
from storage.settings import RetentionSettings
from storage.tiers.names import Tier, retention_days, width_ns

LONGEST_STEP_NS: Final = 366 * UNITS["d"]
_STEPS: Final = tuple(
    count * UNITS[unit]
    for unit, counts in {
        "ms": (200, 500),
        "s": (1, 2, 5, 10, 15, 30),
        "m": (1, 2, 5, 10, 15, 30),
        "h": (1, 2, 3, 4, 6, 12),
        "d": (1,),
    }.items()
    for count in counts
)
"""Steps that people expect on an axis. Above a day: whole days."""


class ResolutionError(ValueError):
    """An invalid step, or a step that does not fit the tier. ``parameter`` names the culprit."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Resolution:
    """The tier and the step chosen for a history."""

    tier: Tier
    """The tier that rows are read from."""
    step_ns: int | None
    """The width of the buckets; ``None``: raw samples."""


@dataclass(frozen=True, slots=True)
class ResolutionRequest:
    """The resolution that a query asks for; ``None`` leaves the choice to :func:`resolve`."""

    tier: Tier | None = None
    """No coarser tier than this; a finer one only where this one does not exist."""
    step_ns: int | None = None
    """A multiple of 100 ms and of the tier's width; widened where ``max_points`` requires it."""
    max_points: int | None = None
    """Most points in a series; at least 2."""

    def __post_init__(self) -> None:
        """Raises :class:`ResolutionError` for an impossible request."""
        step = self.step_ns
        if step is not None:
            if not 0 < step <= LONGEST_STEP_NS or step % CYCLE_NS:
                raise ResolutionError("step", "a step must be a multiple of 100ms and at most 366d")
            if self.tier is not None and step % width_ns(self.tier):
                raise ResolutionError("step", f"not a multiple of the tier's width, {self.tier}")
        if self.max_points is not None and self.max_points < 2:  # noqa: PLR2004 - the next line says why
            raise ResolutionError(
                "max_points", "at least 2 points are needed: a range can touch two buckets of any width"
            )


def resolve(
    start_ns: int, end_ns: int, request: ResolutionRequest, kept: Collection[Tier], finest: Tier = Tier.RAW
) -> Resolution:
    """Chooses tier and step for the range ``[start, end)``.

    ``kept`` are the tiers that exist; raw samples always do. ``finest`` is the finest tier that still reaches
    back to the start.
    """
    base = request.tier or finest
    most, step = request.max_points, request.step_ns
    if step is None:
        if base is Tier.RAW and (most is None or buckets(start_ns, end_ns, CYCLE_NS) <= most):
            return Resolution(Tier.RAW, None)
        step = width_ns(base) if most is None else _nice_step(start_ns, end_ns, most)
    step = _multiple(step, width_ns(base))
    if most is not None:
        step = _widened(start_ns, end_ns, step, most)
    return Resolution(_coarsest(step, request.tier, kept), step)


def finest_kept(age_ns: int, retention: RetentionSettings) -> Tier:
    """The finest tier that still holds rows of this age; if none does, the coarsest."""
    for tier, kept in retention_days(retention).items():
        if not kept or age_ns <= kept * UNITS["d"]:
            return tier
    return Tier.H1


def buckets(start_ns: int, end_ns: int, step_ns: int) -> int:
    """Number of buckets that the range touches."""
    return 0 if end_ns <= start_ns else (end_ns - 1) // step_ns - start_ns // step_ns + 1


def _coarsest(step_ns: int, wanted: Tier | None, kept: Collection[Tier]) -> Tier:
    """The coarsest tier that the buckets can be made from."""
    limit = step_ns if wanted is None else width_ns(wanted)
    fitting = [tier for tier in kept if width_ns(tier) <= limit and step_ns % width_ns(tier) == 0]
    return max(fitting, key=width_ns, default=Tier.RAW)


def _nice_step(start_ns: int, end_ns: int, max_points: int) -> int:
    for step in _STEPS:
        if buckets(start_ns, end_ns, step) <= max_points:
            return step
    return _widened(start_ns, end_ns, _STEPS[-1], max_points)


def _widened(start_ns: int, end_ns: int, step_ns: int, max_points: int) -> int:
    """The smallest multiple of the step, or the one after, for which the range fits."""
    factor = max(1, -(-buckets(start_ns, end_ns, step_ns) // max_points))
    while buckets(start_ns, end_ns, factor * step_ns) > max_points:
        last = (end_ns - 1) // (factor * step_ns)
        factor = (end_ns - 1) // (last * step_ns) + 1  # the first for which the range ends a bucket earlier
    return factor * step_ns


def _multiple(step_ns: int, width: int) -> int:
    return -(-step_ns // width) * width
