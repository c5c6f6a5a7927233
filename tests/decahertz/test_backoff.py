from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from decahertz.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_seconds=1.0, most_seconds=10.0)
    assert [backoff.seconds(attempt, lambda: 1.0) for attempt in range(6)] == [1, 2, 4, 8, 10, 10]


@given(attempt=st.integers(-1, 10**6), chance=st.floats(0, 1, exclude_max=True))
def test_every_wait_lies_between_half_and_the_whole(attempt: int, chance: float) -> None:
    backoff = Backoff(first_seconds=0.5, most_seconds=60.0)
    whole = min(60.0, 0.5 * 2.0 ** min(max(attempt, 0), 32))
    assert whole / 2 <= backoff.seconds(attempt, lambda: chance) <= whole
