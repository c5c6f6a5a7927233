"""The extremes of a trailing window, against a model that keeps every value."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from exporter.extremes import Extreme, Extremes
from tests.exporter.samples import BookSample, book

WINDOW_NS = 2 * NS_PER_SECOND
KEYS = ("A", "B", "C", "D")

values = st.none() | st.floats(allow_nan=False, allow_infinity=False)
cycles = st.lists(
    st.tuples(
        st.integers(1, 12),  # cycles since the previous one
        st.dictionaries(st.sampled_from(KEYS), values, max_size=len(KEYS)),
    ),
    min_size=1,
    max_size=80,
)


class Watched:
    """Extremes whose keys change, and every value that they were given, with its time."""

    def __init__(self) -> None:
        self.extremes = Extremes(["mid"], WINDOW_NS)
        self.keys: list[str] = []
        self.seen: dict[str, list[tuple[int, float]]] = {}
        self.now_ns = 0

    def take(self, step: int, mids: dict[str, float | None]) -> None:
        """Takes one value of each key; a key that is missing is retired, and starts over when it is back."""
        self.now_ns += step * CYCLE_NS
        keys = list(mids)
        if keys != self.keys:
            positions = [self.keys.index(key) if key in self.keys else -1 for key in keys]
            self.extremes.realign(positions)
            self.seen = {key: self.seen.get(key, []) for key in keys}
            self.keys = keys
        samples: list[BookSample] = [book(key, mid=mid) for key, mid in mids.items()]
        self.extremes.take(samples, self.now_ns)
        for key, mid in mids.items():
            if mid is not None:
                self.seen[key].append((self.now_ns, mid))

    def within(self, key: str, duration_ns: int) -> list[float]:
        """The values of a key within this time."""
        return [value for time_ns, value in self.seen[key] if time_ns > self.now_ns - duration_ns]


@settings(deadline=None)
@given(cycles)
def test_nothing_of_the_window_is_missing_and_nothing_is_much_older(
    cycles: list[tuple[int, dict[str, float | None]]],
) -> None:
    watched = Watched()
    for step, mids in cycles:
        watched.take(step, mids)
        read = watched.extremes.freeze()["mid"]
        lows, highs = read(Extreme.MIN), read(Extreme.MAX)
        for key, low, high in zip(mids, lows, highs, strict=True):
            inside = watched.within(key, WINDOW_NS)
            assert low <= min(inside, default=math.inf)
            assert high >= max(inside, default=-math.inf)
            everything = watched.within(key, watched.now_ns + 1)
            assert low in (math.inf, *everything)
            assert high in (-math.inf, *everything)


def steady() -> Iterator[tuple[int, float]]:
    """A spike at the first cycle of a quiet market that is sampled in every cycle."""
    yield 1, 100.0
    for _ in range(60):
        yield 1, 1.0


def test_a_spike_stays_for_the_window_and_ends_after_at_most_a_fifth_more() -> None:
    watched = Watched()
    shown = []
    for step, mid in steady():
        watched.take(step, {"A": mid})
        shown.append(watched.extremes.freeze()["mid"](Extreme.MAX))

    spike = sum(highs == [100.0] for highs in shown) * CYCLE_NS
    assert shown[-1] == [1.0]
    assert WINDOW_NS <= spike <= WINDOW_NS * 1.2 + CYCLE_NS


def test_what_was_frozen_for_a_scrape_is_not_changed_by_later_cycles() -> None:
    watched = Watched()
    for mid in range(7):
        watched.take(1, {"A": float(mid), "B": None})
    read = watched.extremes.freeze()["mid"]
    for _ in range(30):
        watched.take(1, {"C": 1e9, "A": -1e9})

    assert (read(Extreme.MIN), read(Extreme.MAX)) == ([0.0, math.inf], [6.0, -math.inf])
