from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from storage.query.history.resolution import (
    LONGEST_STEP_NS,
    Resolution,
    ResolutionError,
    ResolutionRequest,
    buckets,
    finest_kept,
    resolve,
)
from storage.settings import RetentionSettings
from storage.tiers.names import Tier, width_ns

MINUTE_NS = 60 * NS_PER_SECOND
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
NOON_NS = 1_767_268_800 * NS_PER_SECOND
EVERY = tuple(Tier)

times = st.integers(0, 2**63 - 1)
tiers = st.sampled_from(Tier)
kept = st.sets(tiers)
steps = st.integers(1, LONGEST_STEP_NS // CYCLE_NS).map(lambda count: count * CYCLE_NS)
points = st.integers(2, 50_000)


def over(
    length_ns: int, *, finest: Tier = Tier.RAW, there: tuple[Tier, ...] = EVERY, **request: int | Tier
) -> Resolution:
    return resolve(NOON_NS, NOON_NS + length_ns, ResolutionRequest(**request), there, finest)  # type: ignore[arg-type]


def test_without_a_wish_the_samples_are_answered_as_they_were_taken() -> None:
    assert over(DAY_NS) == Resolution(Tier.RAW, None)


def test_samples_that_fit_are_answered_as_they_were_taken() -> None:
    assert over(100 * NS_PER_SECOND, max_points=1000) == Resolution(Tier.RAW, None)
    assert over(100 * NS_PER_SECOND + 1, max_points=1000) == Resolution(Tier.RAW, 2 * CYCLE_NS)


@pytest.mark.parametrize(
    ("length_ns", "expected"),
    [
        (HOUR_NS, Resolution(Tier.S1, 5 * NS_PER_SECOND)),
        (DAY_NS, Resolution(Tier.M1, 2 * MINUTE_NS)),
        (30 * DAY_NS, Resolution(Tier.H1, HOUR_NS)),
        (365 * DAY_NS, Resolution(Tier.H1, 12 * HOUR_NS)),
        (3650 * DAY_NS, Resolution(Tier.H1, 4 * DAY_NS)),
    ],
)
def test_the_longer_the_range_the_coarser_the_tier(length_ns: int, expected: Resolution) -> None:
    assert over(length_ns, max_points=1000) == expected


def test_a_step_is_made_of_the_coarsest_tier_that_divides_it() -> None:
    assert over(DAY_NS, step_ns=5 * CYCLE_NS) == Resolution(Tier.RAW, 5 * CYCLE_NS)
    assert over(DAY_NS, step_ns=90 * NS_PER_SECOND) == Resolution(Tier.S1, 90 * NS_PER_SECOND)
    assert over(DAY_NS, step_ns=HOUR_NS) == Resolution(Tier.H1, HOUR_NS)


def test_a_tier_alone_is_answered_in_its_own_buckets() -> None:
    assert over(DAY_NS, tier=Tier.M1) == Resolution(Tier.M1, MINUTE_NS)
    assert over(DAY_NS, tier=Tier.S1, step_ns=HOUR_NS) == Resolution(Tier.S1, HOUR_NS)


def test_a_tier_that_is_missing_is_made_of_a_finer_one() -> None:
    assert over(DAY_NS, tier=Tier.H1, there=(Tier.M1,)) == Resolution(Tier.M1, HOUR_NS)
    assert over(DAY_NS, tier=Tier.H1, there=()) == Resolution(Tier.RAW, HOUR_NS)


def test_where_raw_does_not_reach_back_the_buckets_are_those_of_the_tier_that_does() -> None:
    assert over(MINUTE_NS, max_points=1000, finest=Tier.M1) == Resolution(Tier.M1, MINUTE_NS)
    assert over(MINUTE_NS, step_ns=NS_PER_SECOND, finest=Tier.M1) == Resolution(Tier.M1, MINUTE_NS)
    assert over(MINUTE_NS, tier=Tier.RAW, finest=Tier.M1) == Resolution(Tier.RAW, None)


@pytest.mark.parametrize(
    ("days", "tier"),
    [
        (0, Tier.RAW),
        (7, Tier.RAW),
        (8, Tier.S1),
        (31, Tier.M1),
        (800, Tier.H1),
        (100_000, Tier.H1),
        (-1, Tier.RAW),
    ],
)
def test_the_finest_tier_is_the_first_that_is_kept_so_long(days: int, tier: Tier) -> None:
    assert finest_kept(days * DAY_NS, RetentionSettings()) is tier


def test_what_is_kept_for_ever_reaches_back_for_ever() -> None:
    assert finest_kept(10**6 * DAY_NS, RetentionSettings(raw_days=0)) is Tier.RAW
    assert finest_kept(10**6 * DAY_NS, RetentionSettings(one_hour_days=900)) is Tier.H1


@pytest.mark.parametrize(
    ("wanted", "parameter"),
    [
        ({"step_ns": 0}, "step"),
        ({"step_ns": -CYCLE_NS}, "step"),
        ({"step_ns": CYCLE_NS + 1}, "step"),
        ({"step_ns": LONGEST_STEP_NS + CYCLE_NS}, "step"),
        ({"step_ns": NS_PER_SECOND, "tier": Tier.M1}, "step"),
        ({"max_points": 1}, "max_points"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(wanted: dict[str, int], parameter: str) -> None:
    with pytest.raises(ResolutionError) as refused:
        ResolutionRequest(**wanted)  # type: ignore[arg-type]
    assert refused.value.parameter == parameter


@example(3 * 10**17, 13 * 10**17, CYCLE_NS, 2, set(), Tier.RAW)  # a billion steps are too narrow
@given(times, times, st.none() | steps, points, kept, tiers)
def test_no_series_has_more_points_than_requested(
    one: int, other: int, step_ns: int | None, most: int, there: set[Tier], finest: Tier
) -> None:
    start_ns, end_ns = min(one, other), max(one, other)
    chosen = resolve(start_ns, end_ns, ResolutionRequest(None, step_ns, most), there, finest)
    width = chosen.step_ns or CYCLE_NS
    assert buckets(start_ns, end_ns, width) <= most
    assert width % width_ns(chosen.tier) == 0
    assert chosen.tier is Tier.RAW or chosen.tier in there
    assert step_ns is None or width % step_ns == 0 or finest is not Tier.RAW


@given(times, times, points)
def test_no_step_is_much_wider_than_it_has_to_be(one: int, other: int, most: int) -> None:
    start_ns, end_ns = min(one, other), max(one, other)
    chosen = resolve(start_ns, end_ns, ResolutionRequest(max_points=most), EVERY)
    if chosen.step_ns is not None:
        assert chosen.step_ns <= 4 * max(CYCLE_NS, (end_ns - start_ns) // (most - 1))
