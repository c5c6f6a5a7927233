"""The equity curve of a strategy: results that become known late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.strategy.equity import EquityCurve, Path
from decahertz.clock import NS_PER_SECOND

TIMES = st.integers(1, 60)
AMOUNTS = st.integers(-50, 50).map(float)


def curve_of(values: dict[int, float]) -> EquityCurve:
    """A curve with these values at these seconds."""
    curve = EquityCurve.starting()
    for second, value in sorted(values.items()):
        curve.observe(second * NS_PER_SECOND, value)
    return curve


def path_of(values: dict[int, float]) -> Path:
    path = Path(0, 0.0, 0.0, 0)
    for second, value in sorted(values.items()):
        path.observe(second * NS_PER_SECOND, value)
    return path


@given(st.dictionaries(TIMES, AMOUNTS, min_size=1), st.dictionaries(TIMES, AMOUNTS))
def test_late_results_move_the_values_after_them(values: dict[int, float], results: dict[int, float]) -> None:
    curve = curve_of(values)
    curve.realise({second * NS_PER_SECOND: amount for second, amount in results.items()})
    newest = max(values)
    late = {second: amount for second, amount in results.items() if second < newest - 1}
    expected = path_of({
        second: value + sum(amount for at, amount in late.items() if at <= second)
        for second, value in values.items()
    })  # fmt: skip
    assert curve.path == expected


@given(st.lists(st.tuples(TIMES, AMOUNTS), max_size=20), st.dictionaries(TIMES, AMOUNTS, min_size=1))
def test_results_at_once_and_one_by_one_give_the_same_curve(
    results: list[tuple[int, float]], values: dict[int, float]
) -> None:
    together, apart = curve_of(values), curve_of(values)
    sums: dict[int, float] = {}
    for second, amount in results:
        time_ns = second * NS_PER_SECOND
        sums[time_ns] = sums.get(time_ns, 0.0) + amount
        apart.realise({time_ns: amount})
    together.realise(sums)
    assert together.path == apart.path
