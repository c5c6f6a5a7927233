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


def test_a_venue_that_restarts_its_numbering_is_accepted_in_the_end() -> None:
    counts: Counter[str] = Counter()
    numbering = Numbering(counts, contiguous=True)
    numbering.take("BTC-USD", 1_000_000)
    taken = [numbering.take("BTC-USD", number) for number in range(1, 2 * RENUMBERED_AFTER)]
    assert taken.count(None) == RENUMBERED_AFTER - 1
    assert counts == {"duplicates": RENUMBERED_AFTER - 1, "renumbered": 1}


@given(st.sets(st.integers(0, 200), min_size=1))
def test_missed_and_taken_numbers_make_up_the_range(numbers: set[int]) -> None:
    numbering = Numbering(Counter(), contiguous=True)
    missed = [numbering.take("x", number) for number in sorted(numbers)]
    assert None not in missed
    assert sum(m or 0 for m in missed) + len(numbers) == max(numbers) - min(numbers) + 1
