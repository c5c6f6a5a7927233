from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from collectors.feeds.messages import RENUMBERED_AFTER, Numbering


def test_skipped_numbers_are_counted_for_their_own_stream() -> None:
    counts: Counter[str] = Counter()
    numbering = Numbering(counts, contiguous=True)
    assert numbering.take("BTC-USD", 10) == 0
    assert numbering.take("ETH-USD", 10) == 0
    assert numbering.take("BTC-USD", 14) == 3
    assert numbering.take("ETH-USD", 11) == 0
    assert counts == {"gaps": 1, "missed": 3}


def test_a_repeated_or_lower_number_is_a_duplicate() -> None:
    counts: Counter[str] = Counter()
    numbering = Numbering(counts)
    numbering.take("BTC-USD", 10)
    assert numbering.take("BTC-USD", 10) is None
    assert numbering.take("BTC-USD", 9) is None
    assert numbering.take("BTC-USD", 11) == 0
    assert numbering.take("BTC-USD", 1_000) == 0  # holes by nature
    assert counts == {"duplicates": 2}


def test_a_lower_number_of_a_contiguous_stream_is_late_unless_it_was_taken() -> None:
    counts: Counter[str] = Counter()
    numbering = Numbering(counts, contiguous=True)
    taken = [numbering.take("BTC-USD", number) for number in (5, 4, 6, 9, 7, 8, 5, 7, 10)]
    assert taken == [0, 0, 0, 2, 0, 0, None, None, 0]
    assert counts == {"gaps": 1, "missed": 2, "late": 3, "duplicates": 2}


def test_the_memory_of_a_stream_with_gaps_is_bounded() -> None:
    numbering = Numbering(Counter(), contiguous=True)
    assert all(numbering.take("x", 2 * number) is not None for number in range(1, 2_500))
    assert numbering.take("x", 2 * 2_499) is None


def test_a_venue_that_restarts_its_numbering_is_accepted_in_the_end() -> None:
    counts: Counter[str] = Counter()
    numbering = Numbering(counts)
    numbering.take("BTC-USD", 1_000_000)
    taken = [numbering.take("BTC-USD", number) for number in range(1, 2 * RENUMBERED_AFTER)]
    assert taken.count(None) == RENUMBERED_AFTER - 1
    assert counts == {"duplicates": RENUMBERED_AFTER - 1, "renumbered": 1}


def test_a_contiguous_stream_that_begins_again_is_accepted_in_the_end() -> None:
    counts: Counter[str] = Counter()
    numbering = Numbering(counts, contiguous=True)
    first = [numbering.take("BTC-USD", number) for number in range(1, 300)]
    again = [numbering.take("BTC-USD", number) for number in range(1, 300)]
    assert None not in first
    assert again.count(None) == RENUMBERED_AFTER - 1
    assert counts == {"duplicates": RENUMBERED_AFTER - 1, "renumbered": 1}


@given(st.sets(st.integers(0, 200), min_size=1))
def test_missed_and_taken_numbers_make_up_the_range(numbers: set[int]) -> None:
    numbering = Numbering(Counter(), contiguous=True)
    missed = [numbering.take("x", number) for number in sorted(numbers)]
    assert None not in missed
    assert sum(m or 0 for m in missed) + len(numbers) == max(numbers) - min(numbers) + 1
