"""Round trips folded from fills: money is conserved, whatever the fills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decahertz.event import Fill, Side
from decahertz.round_trip import OpenRoundTrip, RoundTrip, trade_id

T0 = 1_767_225_600_000_000_000


def fill(
    side: str,
    quantity: float,
    price: float,
    *,
    fee: float = 0.0,
    risk: float | None = None,
    number: int = 0,
) -> Fill:
    return Fill(
        time_ns=T0 + number,
        strategy="s",
        venue="v",
        instrument="i",
        order_id="o",
        fill_id=str(number),
        side=Side(side),
        price=price,
        quantity=quantity,
        fee=fee,
        risk=risk,
    )


def fold(fills: Sequence[Fill]) -> tuple[list[RoundTrip], OpenRoundTrip]:
    trip = OpenRoundTrip()
    trades = [trade for trade in map(trip.add, fills) if trade is not None]
    return trades, trip


def test_a_long_trade_earns_the_rise_less_fees() -> None:
    trades, trip = fold([fill("buy", 2, 100, fee=1, risk=10), fill("sell", 2, 110, fee=2, number=5)])
    [trade] = trades
    assert (trade.side, trade.quantity, trade.entry_price, trade.exit_price) == (Side.BUY, 2, 100, 110)
    assert (trade.pnl, trade.fees, trade.risk, trade.r_multiple, trade.fills) == (17, 3, 10, 1.7, 2)
    assert (trade.opened_ns, trade.closed_ns) == (T0, T0 + 5)
    assert trip == OpenRoundTrip()


def test_a_short_trade_earns_the_fall_and_a_rebate() -> None:
    trades, _ = fold([fill("sell", 2, 100, fee=-0.5), fill("buy", 2, 90, fee=-0.25)])
    assert [(trade.side, trade.pnl) for trade in trades] == [(Side.SELL, 20.75)]


def test_scaling_in_and_out_is_one_trade_at_mean_prices() -> None:
    trades, _ = fold(
        [fill("buy", 1, 100), fill("buy", 3, 104), fill("sell", 2, 110), fill("sell", 2, 112)],
    )
    [trade] = trades
    assert (trade.quantity, trade.entry_price, trade.exit_price, trade.pnl) == (4, 103, 111, 32)
    assert trade.fills == 4


def test_a_fill_through_flat_closes_one_trade_and_opens_the_next_with_its_share_of_the_fee() -> None:
    trades, trip = fold([fill("buy", 1, 100), fill("sell", 3, 110, fee=3)])
    assert [(trade.pnl, trade.fees) for trade in trades] == [(9, 1)]
    assert (trip.position, trip.average_price(), trip.fees, trip.fills) == (-2, 110, 2, 1)
    assert trip.realised() == -2
    later = trip.add(fill("buy", 2, 100))
    assert later is not None
    assert (later.side, later.pnl, later.fees) == (Side.SELL, 18, 2)
    assert trip.position == 0


def test_rounding_leaves_no_position_and_a_small_one_that_was_meant_stays() -> None:
    for fills in (
        [*[fill("buy", 0.1, 100)] * 3, fill("sell", 0.3, 100)],
        [fill("buy", 0.3, 100), *[fill("sell", 0.1, 100)] * 3],
    ):
        trades, trip = fold(fills)
        assert (len(trades), trip.position) == (1, 0)
    trades, trip = fold([fill("buy", 1000, 1), fill("sell", 999.999, 1)])
    assert trades == []
    assert trip.position == pytest.approx(0.001)


def test_an_exit_realises_against_the_average_cost_before_it() -> None:
    _, trip = fold([fill("buy", 1, 100), fill("sell", 0.5, 110)])
    assert (trip.realised(), trip.average_price(), trip.unrealised(112)) == (5, 100, 6)
    trip.add(fill("buy", 0.5, 120))
    assert (trip.realised(), trip.average_price()) == (5, 110)
    assert trip.unrealised(111) == 1


def test_flat_has_neither_price_nor_profit_and_a_short_position_gains_when_the_mark_falls() -> None:
    trip = OpenRoundTrip()
    assert trip.average_price() is None
    assert trip.unrealised(100) == trip.realised() == 0
    trip.add(fill("sell", 2, 100, fee=1))
    assert (trip.average_price(), trip.unrealised(90), trip.unrealised(105)) == (100, 20, -10)
    assert trip.realised() == -1


@pytest.mark.parametrize("risk", [None, 0.0, 5e-324])
def test_without_a_risk_to_divide_by_there_is_no_r_multiple(risk: float | None) -> None:
    trades, _ = fold([fill("buy", 1, 100, risk=risk), fill("sell", 1, 110)])
    assert trades[0].r_multiple is None


def test_the_risk_of_several_entries_adds_up_and_that_of_exits_does_not_count() -> None:
    trades, _ = fold(
        [fill("buy", 1, 100, risk=4), fill("buy", 1, 100, risk=6), fill("sell", 2, 110, risk=99)],
    )
    assert (trades[0].risk, trades[0].r_multiple) == (10, 2)


def test_the_same_fills_give_the_same_id_and_another_opening_another() -> None:
    first, second = fill("buy", 1, 100, number=1), fill("buy", 1, 100, number=2)
    assert trade_id(first) == trade_id(fill("buy", 1, 100, number=1))
    assert trade_id(first) != trade_id(second)
    trades, _ = fold([first, fill("sell", 1, 1, number=3), second, fill("sell", 1, 1, number=4)])
    assert [trade.trade_id for trade in trades] == [trade_id(first), trade_id(second)]


FILLS = st.lists(
    st.builds(
        fill,
        st.sampled_from(["buy", "sell"]),
        st.one_of(st.integers(1, 20).map(float), st.floats(1e-3, 1e4)),
        st.floats(-50, 1e5),
        fee=st.floats(-5, 5),
    ),
    min_size=1,
    max_size=40,
)
DYADIC = st.lists(
    st.builds(
        fill,
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 64).map(lambda n: n / 8),
        st.integers(1, 4096).map(lambda n: n / 16),
        fee=st.integers(-8, 8).map(lambda n: n / 4),
    ),
    min_size=1,
    max_size=30,
)


def cash(fills: Sequence[Fill]) -> Fraction:
    """Cash that the fills brought into the account, exactly."""
    total = Fraction(0)
    for each in fills:
        value = Fraction(each.price) * Fraction(each.quantity)
        total += (value if each.side is Side.SELL else -value) - Fraction(each.fee)
    return total


def held(fills: Sequence[Fill]) -> Fraction:
    """Quantity that the fills left in the account, exactly."""
    return sum(
        (Fraction(f.quantity) if f.side is Side.BUY else -Fraction(f.quantity) for f in fills),
        Fraction(0),
    )


@settings(max_examples=300, deadline=None)
@given(FILLS, st.floats(-50, 1e5))
def test_trades_and_the_open_rest_are_worth_what_cash_and_position_are(
    fills: list[Fill], mark: float
) -> None:
    trades, trip = fold(fills)
    worth = sum(trade.pnl for trade in trades) + trip.realised() + trip.unrealised(mark)
    turnover = sum(abs(f.price) * f.quantity + abs(mark) * f.quantity + abs(f.fee) for f in fills)
    assert worth == pytest.approx(float(cash(fills) + held(fills) * Fraction(mark)), abs=1e-8 * turnover)


@settings(max_examples=300, deadline=None)
@given(DYADIC)
def test_where_no_number_is_rounded_quantities_and_fills_are_conserved(fills: list[Fill]) -> None:
    trades, trip = fold(fills)
    assert Fraction(trip.position) == held(fills)
    assert sum(trade.fills for trade in trades) + trip.fills == len(fills) + flips(fills)
    entered = sum(trade.quantity for trade in trades) + trip.entry_quantity
    left = sum(trade.quantity for trade in trades) + trip.exit_quantity
    assert entered + left == sum(f.quantity for f in fills)
    fees = sum(trade.fees for trade in trades) + trip.fees
    assert fees == pytest.approx(sum(f.fee for f in fills), abs=1e-9)


def flips(fills: Sequence[Fill]) -> int:
    """Number of fills that went through flat."""
    position, count = Fraction(0), 0
    for each in fills:
        before = position
        position = held([each]) + before
        count += before * position < 0
    return count


@settings(max_examples=200, deadline=None)
@given(FILLS)
def test_every_moment_is_consistent(fills: list[Fill]) -> None:
    trip = OpenRoundTrip()
    for each in fills:
        trade = trip.add(each)
        price = trip.average_price()
        assert (price is None) == (trip.position == 0) == (trip == OpenRoundTrip())
        if trip.opening is not None:
            assert (trip.position > 0) == (trip.opening.side is Side.BUY)
        assert trade is None or (trade.quantity > 0 and math.isfinite(trade.pnl))
