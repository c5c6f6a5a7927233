"""One state of an order from all its reports and fills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.event import OrderState
from decahertz.order_states import contradictions, is_executed, rank, state_of, states_in, with_report

SUBMITTED, ACCEPTED, PARTIALLY_FILLED, UNRESOLVED, FILLED, CANCELLED, REJECTED, EXPIRED = OrderState


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ((ACCEPTED, 1), (ACCEPTED, 2)),
        ((SUBMITTED, 9), (ACCEPTED, 1)),  # the venue's clock is behind
        ((SUBMITTED, 9), (UNRESOLVED, 1)),
        ((ACCEPTED, 2), (UNRESOLVED, 3)),
        ((UNRESOLVED, 2), (ACCEPTED, 3)),
        ((ACCEPTED, 2), (PARTIALLY_FILLED, 2)),
        ((UNRESOLVED, 9), (CANCELLED, 1)),
        ((PARTIALLY_FILLED, 9), (REJECTED, 1)),
        ((REJECTED, 1), (CANCELLED, 2)),
        ((CANCELLED, 9), (FILLED, 1)),
    ],
)
def test_the_later_report_counts_more(earlier: tuple[OrderState, int], later: tuple[OrderState, int]) -> None:
    assert rank(*earlier, 1.0) < rank(*later, 1.0)


@pytest.mark.parametrize(
    ("reported", "executed", "state"),
    [
        (SUBMITTED, 0.0, SUBMITTED),
        (SUBMITTED, 0.5, PARTIALLY_FILLED),
        (ACCEPTED, 0.5, PARTIALLY_FILLED),
        (UNRESOLVED, 0.5, UNRESOLVED),
        (CANCELLED, 0.5, CANCELLED),
        (CANCELLED, 2.0, FILLED),
        (REJECTED, 2.0 - 1e-12, FILLED),
        (FILLED, 0.0, FILLED),
    ],
)
def test_fills_complete_the_reports(reported: OrderState, executed: float, state: OrderState) -> None:
    assert state_of(reported, 2.0, executed) is state


@given(st.sets(st.sampled_from(list(OrderState))), st.floats(0, 10), st.floats(0, 10))
def test_a_set_of_reports_is_read_back_and_more_of_them_contradict_no_less(
    states: set[OrderState], quantity: float, executed: float
) -> None:
    reports = 0
    count = 0
    for state in states:
        reports = with_report(reports, state)
        count, before = contradictions(reports, quantity, executed), count
        assert count >= before
    assert set(states_in(reports)) == states


@pytest.mark.parametrize(
    ("states", "executed", "count"),
    [
        ([SUBMITTED, ACCEPTED, FILLED], 1.0, 0),
        ([CANCELLED], 0.5, 0),
        ([CANCELLED], 1.0, 1),
        ([CANCELLED, FILLED], 1.0, 1),
        ([CANCELLED, EXPIRED], 0.0, 1),
        ([REJECTED, PARTIALLY_FILLED], 0.0, 1),
        ([REJECTED], 0.5, 1),
        ([FILLED], 1.1, 1),
    ],
)
def test_contradictions(states: list[OrderState], executed: float, count: int) -> None:
    reports = 0
    for state in states:
        reports = with_report(reports, state)
    assert contradictions(reports, 1.0, executed) == count


def test_decimals_that_add_up_complete_an_order() -> None:
    assert is_executed(0.3, 0.1 + 0.2)
    assert is_executed(0.7, 0.1 + 0.6)
    assert not is_executed(1e12, 1e12 - 2000)
    assert not is_executed(0.0, 0.0)
