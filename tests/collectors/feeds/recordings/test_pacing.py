from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.feeds.recordings.pacing import Pacer, Shifter
from decahertz.event import AnyEvent, Heartbeat, Quote, Tick
from decahertz.testing import ManualClock

RECORDED_NS = 1_600_000_000_000_000_000
NOW_NS = 1_700_000_000_000_000_000
_STEPS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(-(10**8), 10**11)), min_size=1, max_size=30)


def a_tick(time_ns: int, instrument: str = "BTC-USD") -> Tick:
    return Tick(time_ns=time_ns, venue="coinbase", instrument=instrument, price=1.0, size=1.0)


@given(_STEPS)
def test_at_the_original_pace_every_age_is_that_of_the_recording(steps: list[tuple[int, int]]) -> None:
    shifter = Shifter()
    recorded_ns, now_ns = RECORDED_NS, NOW_NS
    for wait_ns, age_ns in steps:
        recorded_ns, now_ns = recorded_ns + wait_ns, now_ns + wait_ns
        (event,) = shifter.shift([a_tick(recorded_ns - age_ns)], recorded_ns, now_ns)
        assert now_ns - event.time_ns == age_ns


@given(_STEPS, st.integers(1, 1_000))
def test_at_any_pace_order_is_kept_and_nothing_gets_older(steps: list[tuple[int, int]], speed: int) -> None:
    shifter = Shifter()
    recorded_ns, now_ns = RECORDED_NS, NOW_NS
    moved: list[tuple[int, int]] = []
    for wait_ns, age_ns in steps:
        recorded_ns, now_ns = recorded_ns + wait_ns, now_ns + wait_ns // speed
        (event,) = shifter.shift([a_tick(recorded_ns - age_ns)], recorded_ns, now_ns)
        assert now_ns - event.time_ns <= age_ns
        moved.append((recorded_ns - age_ns, event.time_ns))
    newest = (0, 0)
    for pair in moved:
        if pair[0] >= newest[0]:
            assert pair[1] >= newest[1]
            newest = pair


def test_ticks_of_one_match_played_at_once_stay_in_order() -> None:
    shifter = Shifter()
    (first,) = shifter.shift([a_tick(RECORDED_NS)], RECORDED_NS + 1_000, NOW_NS)
    (second,) = shifter.shift([a_tick(RECORDED_NS)], RECORDED_NS + 9_000, NOW_NS)
    assert first.time_ns == second.time_ns == NOW_NS - 1_000


def test_what_was_late_in_the_recording_is_late_again() -> None:
    shifter = Shifter()
    (first,) = shifter.shift([a_tick(RECORDED_NS)], RECORDED_NS + 10, NOW_NS)
    (late,) = shifter.shift([a_tick(RECORDED_NS - 50)], RECORDED_NS + 10, NOW_NS)
    assert late.time_ns == first.time_ns - 50


def test_streams_do_not_hold_each_other() -> None:
    shifter = Shifter()
    events: list[AnyEvent] = [
        a_tick(RECORDED_NS),
        a_tick(RECORDED_NS - 500, "ETH-USD"),
        Quote(time_ns=RECORDED_NS - 700, venue="coinbase", instrument="BTC-USD"),
        Heartbeat(time_ns=RECORDED_NS - 900, component="kraken"),
    ]
    moved = shifter.shift(events, RECORDED_NS, NOW_NS)
    assert [NOW_NS - event.time_ns for event in moved] == [0, 500, 700, 900]
    assert [type(event) for event in moved] == [type(event) for event in events]


@given(
    st.integers(0, 10**13),
    st.integers(0, 10**13),
    st.sampled_from([0.25, 1.0, 2.0, 10.0]),
)
def test_a_moment_is_due_after_its_distance_from_the_first_over_the_speed(
    distance_ns: int,
    elapsed_ns: int,
    speed: float,
) -> None:
    clock = ManualClock()
    clock.advance(12_345)
    pacer = Pacer(clock, speed)
    assert pacer.wait_ns(RECORDED_NS) == 0
    clock.advance(elapsed_ns)
    assert pacer.wait_ns(RECORDED_NS + distance_ns) == max(0, int(distance_ns / speed) - elapsed_ns)


def test_late_wake_ups_do_not_add_up() -> None:
    clock = ManualClock(monotonic_ns=0)
    pacer = Pacer(clock, 1.0)
    for step in range(1_000):
        clock.advance(pacer.wait_ns(RECORDED_NS + step * 1_000_000) + 70_000)
    assert clock.monotonic_ns() == 999 * 1_000_000 + 70_000


def test_as_fast_as_it_goes_never_waits() -> None:
    pacer = Pacer(ManualClock(), math.inf)
    assert pacer.wait_ns(0) == 0
    assert pacer.wait_ns(10**18) == 0


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_speed_that_never_arrives_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="is not positive"):
        Pacer(ManualClock(), speed)
