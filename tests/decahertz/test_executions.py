"""Which reports of a fill count does not depend on the order in which they arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from decahertz.event import FillKind, Side
from decahertz.executions import Place, Report, executions

BUST, CORRECTION = FillKind.BUST, FillKind.CORRECTION


def at(number: int, epoch: int = 1) -> Place:
    return number, "bot", epoch, number


def report(
    number: int,
    *,
    side: Side = Side.BUY,
    price: float = 10.0,
    kind: FillKind = FillKind.TRADE,
    epoch: int = 1,
) -> Report:
    return Report(at(number, epoch), kind, side, price, 1.0)


def test_a_repeated_report_counts_once_at_its_first_place() -> None:
    again = Report(at(1, epoch=2), FillKind.TRADE, Side.BUY, 10.0, 1.0)
    assert executions([again, report(1)]) == {at(1): at(1)}


def test_the_same_ids_with_another_content_are_another_execution() -> None:
    assert executions([report(1), report(2, side=Side.SELL, epoch=2)]) == {
        at(1): at(1),
        at(2, epoch=2): at(2, epoch=2),
    }


def test_a_bust_annuls_the_newest_execution_before_it() -> None:
    reports = [report(1), report(3, kind=BUST), report(5, side=Side.SELL)]
    assert executions(reports) == {at(5): at(5)}
    assert executions([report(5), report(3, kind=BUST)]) == {}  # the clocks differ
    assert executions([report(3, kind=BUST)]) == {}


def test_a_correction_gives_an_execution_another_content() -> None:
    assert executions([report(1), report(3, price=11, kind=CORRECTION)]) == {at(1): at(3)}
    reports = [report(1), report(3, price=11, kind=CORRECTION), report(4, price=12, kind=CORRECTION)]
    assert executions(reports) == {at(1): at(4)}
    assert executions([*reports, report(5, kind=BUST)]) == {}


def test_a_correction_of_an_unknown_execution_counts_as_one() -> None:
    reports = [report(3, price=11, kind=CORRECTION), report(4, price=12, kind=CORRECTION)]
    assert executions(reports) == {at(3): at(4)}


@given(
    st.lists(
        st.builds(
            report,
            st.integers(1, 9),
            side=st.sampled_from(Side),
            price=st.sampled_from([10.0, 11.0]),
            kind=st.sampled_from([FillKind.TRADE, FillKind.TRADE, BUST, CORRECTION]),
        ),
        max_size=8,
    ).flatmap(lambda reports: st.tuples(st.just(reports), st.permutations(reports)))
)
def test_the_order_of_arrival_does_not_matter(orders: tuple[list[Report], list[Report]]) -> None:
    one, other = orders
    assert executions(one) == executions(other)
