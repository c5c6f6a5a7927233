from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from decahertz.sequences import SequenceSet

ranges = st.tuples(st.integers(1, 60), st.integers(-2, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def numbers(of: SequenceSet) -> set[int]:
    return {n for low, high in of for n in range(low, high + 1)}


@given(st.lists(ranges, max_size=25), ranges)
def test_it_is_the_set_of_the_numbers_that_were_added(
    added: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    ours, plain = SequenceSet(), set[int]()
    for low, high in added:
        would_touch = bool(plain & set(range(low - 1, high + 2)))
        if high >= low:
            assert ours.touches(low, high) == would_touch
        ours.add(low, high)
        plain |= set(range(low, high + 1))
    assert numbers(ours) == plain
    assert len(ours) == len(plain)
    assert ours.highest == max(plain, default=0)
    missing = {n for low, high in ours.missing(*asked) for n in range(low, high + 1)}
    assert missing == set(range(asked[0], asked[1] + 1)) - plain


@given(st.lists(ranges, max_size=25))
def test_ranges_are_sorted_and_never_touch(added: list[tuple[int, int]]) -> None:
    ours = SequenceSet(added)
    kept = list(ours)
    assert all(low <= high for low, high in kept)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(kept))
    assert ours.range_count == len(kept)


@given(st.lists(ranges, max_size=25), ranges)
def test_missing_ranges_are_sorted_disjoint_and_within_what_was_asked(
    added: list[tuple[int, int]],
    asked: tuple[int, int],
) -> None:
    holes = SequenceSet(added).missing(*asked)
    assert all(asked[0] <= low <= high <= asked[1] for low, high in holes)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(holes))


@given(st.lists(ranges, max_size=10), st.randoms())
def test_the_order_of_adding_does_not_matter(added: list[tuple[int, int]], chance: object) -> None:
    shuffled = added.copy()
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert list(SequenceSet(added)) == list(SequenceSet(shuffled))


@given(st.lists(ranges, max_size=10), ranges)
def test_a_copy_is_independent(added: list[tuple[int, int]], more: tuple[int, int]) -> None:
    original = SequenceSet(added)
    before = list(original)
    original.copy().add(*more)
    assert list(original) == before


def test_numbers_in_order_are_one_range_however_many() -> None:
    ours = SequenceSet()
    for first in range(1, 100_001, 100):
        ours.add(first, first + 99)
    assert list(ours) == [(1, 100_000)]
