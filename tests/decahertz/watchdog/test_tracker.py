"""Threshold, duration and hysteresis of one condition."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from decahertz.alert import Severity
from decahertz.clock import NS_PER_SECOND
from decahertz.conditions import Condition
from decahertz.watchdog.tracker import MAX_FIRING, Finding, Key, Tracker

THING: Key = ("thing",)
CONDITION = Condition(
    alert="SomeThing",
    severity=Severity.PAGE,
    labels=("name",),
    help="Some value.",
    key="some_value",
    for_seconds=2.0,
    clear_ratio=0.8,
    clear_seconds=3.0,
    is_watched=True,
)


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_SECOND)


def story(tracker: Tracker, values: Sequence[float | str | None]) -> list[tuple[int, str]]:
    """When it fires and is clear, for one value a second; ``""``: no finding."""
    seen = []
    for second, value in enumerate(values):
        findings = {} if isinstance(value, str) else {THING: Finding(value)}
        for key, finding in tracker.update(findings, ns(second)):
            assert key == THING
            seen.append((second, "clear" if finding is None else "fires"))
    return seen


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([11, 11, 11, 11], [(2, "fires")]),
        ([10, 10, 10, 10], []),
        ([11, 11, 9, 11, 11], []),
        ([11, 11, "", 11, 11], []),
        ([11, 11, None, 11, 11], []),
        ([11, 11, 11, 7, 7, 7, 7], [(2, "fires"), (6, "clear")]),
        ([11, 11, 11, "", "", "", ""], [(2, "fires"), (6, "clear")]),
        ([11, 11, 11, 9, 9, 9, 9, 9], [(2, "fires")]),
        ([11, 11, 11, 7, 7, 9, 7, 7, 7, 7], [(2, "fires"), (9, "clear")]),
        ([11, 11, 11, None, None, None, None, None], [(2, "fires")]),
        ([11, 11, 11, 8, 8, 8, 8, 11, 11, 11], [(2, "fires"), (6, "clear"), (9, "fires")]),
    ],
    ids=[
        "beyond for long enough",
        "at the threshold",
        "interrupted",
        "interrupted by nothing",
        "interrupted by an unknown value",
        "clear for long enough",
        "gone for long enough",
        "between clear and threshold",
        "clear only for a moment",
        "unknown",
        "again",
    ],
)
def test_a_thing_fires_and_is_clear(
    values: Sequence[float | str | None], expected: list[tuple[int, str]]
) -> None:
    assert story(Tracker(CONDITION, 10.0), values) == expected


def test_what_is_forced_is_beyond_whatever_the_value() -> None:
    tracker = Tracker(CONDITION, 10.0)
    for second in range(10):
        changes = list(tracker.update({THING: Finding(1.0, is_forced=True)}, ns(second)))
        assert bool(changes) is (second == 2)
    assert tracker.firing == 1


def test_an_adopted_thing_is_held_and_then_goes_on_or_is_clear() -> None:
    tracker = Tracker(CONDITION, 10.0)
    tracker.adopt(THING, ns(0), ns(8))
    assert story(tracker, [""] * 10) == [(8, "clear")]
    tracker.adopt(THING, ns(0), ns(8))
    assert story(tracker, [11] * 10) == []
    assert tracker.firing == 1


def test_only_so_many_things_fire_at_a_time() -> None:
    tracker = Tracker(CONDITION, 10.0)
    findings: dict[Key, Finding] = {(f"thing {n}",): Finding(11.0) for n in range(MAX_FIRING + 5)}
    assert list(tracker.update(findings, ns(0))) == []
    assert len(list(tracker.update(findings, ns(2)))) == MAX_FIRING == tracker.firing
    assert tracker.suppressed == 5
    del findings["thing 0",]
    assert list(tracker.update(findings, ns(3))) == []
    changes = list(tracker.update(findings, ns(6)))
    assert [(key, finding is None) for key, finding in changes] == [(("thing 0",), True)]
    assert len(list(tracker.update(findings, ns(7)))) == 1
    assert tracker.suppressed == 4
    assert len(list(tracker.update({}, ns(7)))) == 0
    assert tracker.suppressed == 0
