"""The state of an order, from its reports and fills, in whatever order and however often they arrive.

::

    level 0      submitted
                     │ an answer, or the trading process gives up waiting for one
                     ▼
    level 1      accepted · partially_filled · unresolved        the newest of them counts
                     │ the end
                     ▼
    level 2      cancelled · rejected · expired                  the newest of them counts
                     │ it was filled nonetheless: a late fill, or a late report
                     ▼
    level 3      filled

A report moves an order down, never up; of two reports of one level the newer one counts, by the clock of
their origin. So the reported state is the greatest of all reports by :func:`rank`, whatever arrived first
and whatever is missing. Fills are facts: :func:`state_of` adds them. An order whose fills add up to its
quantity is filled, whatever was reported; one that is only known to be submitted or accepted is partially
filled by its first fill. A partial fill that arrives after the end leaves the order cancelled, rejected or
expired, with a filled quantity.

The collector of execution and the table ``orders`` both use these functions.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from decahertz.event import OrderState

Rank: TypeAlias = tuple[int, int, int, float]
"""(level, time, progress at that time, quantity ordered): the greatest report of an order counts."""

QUANTITY_TOLERANCE: Final = 1e-9
"""Fills of an order add up to its quantity, give or take this share of it: sums of decimals are inexact."""

_LEVELS: Final = {
    OrderState.SUBMITTED: 0,
    OrderState.UNRESOLVED: 1,
    OrderState.ACCEPTED: 1,
    OrderState.PARTIALLY_FILLED: 1,
    OrderState.REJECTED: 2,
    OrderState.EXPIRED: 2,
    OrderState.CANCELLED: 2,
    OrderState.FILLED: 3,
}
_PROGRESS: Final = {state: number for number, state in enumerate(_LEVELS)}
_ACCEPTED: Final = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.FILLED})
_UNFILLED_END: Final = frozenset({OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED})
_OPEN_BY_A_FILL: Final = frozenset({OrderState.SUBMITTED, OrderState.ACCEPTED})
_BITS: Final = {state: 1 << number for state, number in _PROGRESS.items()}


def rank(state: OrderState, time_ns: int, quantity: float) -> Rank:
    """Returns the place of a report among those of its order; the greatest is its reported state."""
    return _LEVELS[state], time_ns, _PROGRESS[state], quantity


def is_executed(quantity: float, executed: float) -> bool:
    """Whether fills of ``executed`` in all complete an order of ``quantity``."""
    return executed > 0 and executed >= quantity * (1 - QUANTITY_TOLERANCE)


def state_of(reported: OrderState, quantity: float, executed: float) -> OrderState:
    """Returns the state of an order.

    ``reported`` is its greatest report, ``quantity`` the quantity of that report, and ``executed`` the
    quantity of its fills, each counted once.
    """
    if is_executed(quantity, executed):
        return OrderState.FILLED
    if executed > 0 and reported in _OPEN_BY_A_FILL:
        return OrderState.PARTIALLY_FILLED
    return reported


def is_answer(state: OrderState) -> bool:
    """Whether a report says that the venue answered."""
    return state is not OrderState.SUBMITTED and state is not OrderState.UNRESOLVED


def is_acceptance(state: OrderState) -> bool:
    """Whether a report says that the venue accepted the order."""
    return state in _ACCEPTED


def with_report(reports: int, state: OrderState) -> int:
    """Adds a state to a set of reported states, kept as bits; 0 is the empty set."""
    return reports | _BITS[state]


def states_in(reports: int) -> list[OrderState]:
    """Returns the states in a set of :func:`with_report`, in the order of an order's life."""
    return [state for state in _PROGRESS if reports & _BITS[state]]


def contradictions(reports: int, quantity: float, executed: float) -> int:
    """Counts what cannot be true of one order at once.

    These are: each final state after the first, a fill (or the report of one) of a rejected order, and
    more filled than ordered. A race between a cancellation and a fill is counted too: the order was not
    what its first report said.
    """
    ends = sum(1 for state in _UNFILLED_END if reports & _BITS[state])
    is_filled = bool(reports & _BITS[OrderState.FILLED]) or is_executed(quantity, executed)
    count = max(ends + is_filled - 1, 0)
    was_filled = executed > 0 or reports & _BITS[OrderState.PARTIALLY_FILLED]
    if reports & _BITS[OrderState.REJECTED] and was_filled and not is_filled:
        count += 1
    if executed > quantity * (1 + QUANTITY_TOLERANCE):
        count += 1
    return count
