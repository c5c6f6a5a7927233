"""The time of the collectors' tests, and what holds for every sample."""

from __future__ import annotations

import math
from functools import cache

from decahertz.clock import NS_PER_SECOND
from decahertz.sample import Sample, schema_of

T0 = 1_767_225_600 * NS_PER_SECOND  # Thursday, 2026-01-01

schema = cache(schema_of)


def ns(at: float) -> int:
    """A time in seconds after the start."""
    return T0 + round(at * NS_PER_SECOND)


def check_values(sample: Sample) -> None:
    """Every value is finite, and only an optional one is missing."""
    for field in schema(type(sample)).metrics:
        value = getattr(sample, field.name)
        assert value is not None or field.optional, field.name
        assert not isinstance(value, float) or math.isfinite(value), field.name
