from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decahertz.clock import NS_PER_SECOND
from decahertz.histogram import Histogram
from decahertz.testing import START_NS, ManualClock


def made(*bounds: float, clock: ManualClock | None = None) -> Histogram:
    return Histogram("wait", "Waits.", clock=clock or ManualClock(), key=("venue",), bounds=bounds)


@settings(deadline=None)
@given(st.lists(st.floats(0, 20)))
def test_an_observation_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed(
    values: list[float],
) -> None:
    bounds = (0.5, 1.0, 10.0)
    observations = made(*bounds).of("X")
    for value in (*values, *bounds):
        observations.observe(value)
    lows = (-math.inf, *bounds)
    for low, high, count in zip(lows, (*bounds, math.inf), observations.counts, strict=True):
        assert count == sum(low < value <= high for value in (*values, *bounds))
    assert observations.sum == pytest.approx(sum(values) + sum(bounds))


def test_a_key_that_comes_back_starts_over() -> None:
    clock = ManualClock()
    histogram = made(1.0, clock=clock)
    histogram.of("X").observe(0.5)
    assert histogram.of("X").counts == [1, 0]
    histogram.retire("X")
    histogram.retire("X")
    clock.advance(NS_PER_SECOND)
    assert (histogram.of("X").counts, histogram.of("X").created_ns) == ([0, 0], START_NS + NS_PER_SECOND)


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0), (1.0, math.nan)])
def test_bounds_that_do_not_ascend_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bounds of the histogram wait must ascend"):
        made(*bounds)
