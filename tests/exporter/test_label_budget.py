"""Label budgets: which keys have series of their own, and what is shown of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decahertz.clock import NS_PER_SECOND
from decahertz.histogram import Histogram
from decahertz.sample import SampleBatch
from decahertz.testing import START_NS, ManualClock
from exporter.exposition import Exposition, Limits, Source
from exporter.label_budget import OTHER, LabelBudget
from exporter.negotiation import Format
from tests.exporter.parsing import series_in
from tests.exporter.samples import BOOK, RECORDER, Series, book

TTL_NS = 60 * NS_PER_SECOND
MAX_KEYS = 3


def keys(names: str) -> list[tuple[str, ...]]:
    return [(name,) for name in names]


@pytest.mark.parametrize(
    ("before", "seconds", "then", "refused"),
    [
        ("AB", 0, "ABC", ""),
        ("ABC", 0, "ABCD", "D"),
        ("ABC", 1, "AD", "D"),  # B and C keep their places
        ("ABC", 1, "ABDC", "D"),
        ("A", 60, "ABCD", "D"),
    ],
)
def test_keys_are_admitted_in_order_and_keep_their_place(
    before: str, seconds: float, then: str, refused: str
) -> None:
    budget = LabelBudget(MAX_KEYS, TTL_NS)
    budget.update(keys(before), 0)

    assert budget.update(keys(then), round(seconds * NS_PER_SECOND)) == set(keys(refused))


def test_the_place_of_a_retired_key_is_free_after_the_time_to_live() -> None:
    budget = LabelBudget(MAX_KEYS, TTL_NS)
    budget.update(keys("ABC"), 0)
    budget.update(keys("ABD"), 1)
    assert budget.update(keys("ABD"), TTL_NS) == set(keys("D"))
    assert budget.update(keys("ABD"), TTL_NS + 1) == set()
    assert budget.exceeded == 1


def test_a_key_named_like_the_other_ones_is_one_of_them() -> None:
    assert LabelBudget(MAX_KEYS, TTL_NS).update([("A",), (OTHER,)], 0) == {(OTHER,)}


class Shown:
    """An exposition with a budget of three keys."""

    def __init__(self, histograms: Sequence[Histogram] = ()) -> None:
        limits = Limits(window_ns=30 * NS_PER_SECOND, max_keys=MAX_KEYS, ttl_ns=TTL_NS)
        self._exposition = Exposition([Source(BOOK, histograms)], RECORDER, limits)
        self.now_ns = 0

    def take(self, gaps: dict[str, int]) -> Series:
        """Takes a cycle with these counters, and scrape."""
        self.now_ns += NS_PER_SECOND
        samples = tuple(book(name, mid=1.5, gaps=number) for name, number in gaps.items())
        self._exposition.take(SampleBatch(BOOK, START_NS, samples), self.now_ns)
        frame = self._exposition.freeze(self.now_ns)["book"]
        return series_in(b"".join(self._exposition.render("book", frame, Format.TEXT)), Format.TEXT)


def of_key(series: Series, name: str, instrument: str, venue: str = "SIM") -> float | None:
    labels = {"recorder": RECORDER, "venue": venue, "instrument": instrument}
    return series.get((f"decahertz_book_{name}", frozenset(labels.items())))


def test_counters_over_budget_are_added_up_and_gauges_are_not_shown() -> None:
    series = Shown().take({"A": 1, "B": 2, "C": 3, "D": 10, "E": 20})

    assert [of_key(series, "gaps_total", name) for name in "ABCDE"] == [1, 2, 3, None, None]
    assert of_key(series, "gaps_total", OTHER, OTHER) == 30
    assert {name for name, labels in series if ("venue", OTHER) in labels} == {
        "decahertz_book_gaps_total",
        "decahertz_book_waited_seconds_total",
    }
    assert of_key(series, "mid_price_max", "C") == 1.5
    assert of_key(series, "mid_price_max", "D") is None


def test_the_sum_does_not_fall_when_a_key_is_retired_or_gets_a_place() -> None:
    shown = Shown()
    shown.take({"A": 1, "B": 2, "C": 3, "D": 10, "E": 20})
    assert of_key(shown.take({"A": 1, "B": 2, "C": 3, "D": 11}), "gaps_total", OTHER, OTHER) == 31
    shown.take({"A": 1, "B": 2, "D": 12, "F": 1})
    shown.now_ns += TTL_NS

    series = shown.take({"A": 1, "B": 2, "D": 15, "F": 2})

    assert of_key(series, "gaps_total", "D") == 15
    assert of_key(series, "gaps_total", OTHER, OTHER) == 20 + 12 + 2


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("ABCDEFG"), st.integers(0, 5)), max_size=30))
def test_nothing_that_was_counted_is_lost_or_shown_twice(steps: list[dict[str, int]]) -> None:
    shown = Shown()
    totals: dict[str, int] = {}
    other = 0.0
    for step in steps:
        totals = {name: totals.get(name, 0) + more for name, more in step.items()}
        series = shown.take(totals)
        own = {name: of_key(series, "gaps_total", name) for name in totals}
        assert all(value in (None, totals[name]) for name, value in own.items())
        over = [name for name, value in own.items() if value is None]
        now = of_key(series, "gaps_total", OTHER, OTHER)
        assert (now is not None) == bool(over)
        if now is not None:
            assert now >= max(other, sum(totals[name] for name in over))
            other = now


def test_histograms_over_budget_are_added_up() -> None:
    histogram = Histogram("wait", "Waits.", clock=ManualClock(), key=("venue",), bounds=(0.1, 1.0))
    shown = Shown([histogram])
    for number, venue in enumerate("ABCDE", 1):
        for _ in range(number):
            histogram.of(venue).observe(0.5)

    def counted(venue: str) -> list[float | None]:
        series = shown.take({"A": 1})
        labels = {("recorder", RECORDER), ("venue", venue)}
        buckets = [("bucket", {("le", le)}) for le in ("0.1", "1.0", "+Inf")]
        ends: list[tuple[str, set[tuple[str, str]]]] = [*buckets, ("count", set()), ("sum", set())]
        return [
            series.get((f"decahertz_book_wait_seconds_{end}", frozenset(labels | more))) for end, more in ends
        ]

    assert counted("C") == [0, 3, 3, 3, 1.5]
    assert counted("D") == [None] * 5
    assert counted(OTHER) == [0, 9, 9, 9, 4.5]
    histogram.retire("E")
    histogram.of("D").observe(0.05)
    assert counted(OTHER) == [1, 10, 10, 10, pytest.approx(4.55)]
    histogram.retire("D")
    assert counted(OTHER) == [None] * 5
