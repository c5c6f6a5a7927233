"""Round trips folded from fills: money is conserved, whatever the fills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decahertz.accounting import CostMethod
from decahertz.event import Fill, FillKind, Side
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
    **more: Any,  # noqa: ANN401 - any field
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
        **more,
    )


def known(amount: float | None) -> float:
    assert amount is not None
    return amount


def pnl_of(trade: RoundTrip) -> float:
    return known(trade.pnl)


def fold(
    fills: Sequence[Fill], cost: CostMethod = CostMethod.AVERAGE
) -> tuple[list[RoundTrip], OpenRoundTrip]:
    trip = OpenRoundTrip()
    trades = [trade for one in fills if (trade := trip.add(one, cost)) is not None]
    return trades, trip


def test_a_long_trade_earns_the_rise_less_fees() -> None:
    trades, trip = fold([fill("buy", 2, 100, fee=1, risk=10), fill("sell", 2, 110, fee=2, number=5)])
    [trade] = trades
    assert (trade.side, trade.quantity, trade.entry_price, trade.exit_price) == (Side.BUY, 2, 100, 110)
    assert (trade.pnl, trade.fees, trade.risk, trade.r_multiple, trade.fills) == (17, 3, 10, 1.7, 2)
    assert (trade.settled_pnl, trade.settled_fees, trade.currency) == (17, 3, None)
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
    assert (trip.position, trip.average_price(), trip.fills) == (-2, 110, 1)
    assert trip.booked_fees == 2
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


def test_the_risk_counts_once_as_the_first_entry_that_names_it_does() -> None:
    parts = [fill("buy", 1, 100), *[fill("buy", 1, 100, risk=10)] * 3, fill("sell", 4, 110, risk=99)]
    trades, _ = fold(parts)
    assert (trades[0].risk, trades[0].r_multiple) == (10, 4)


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
    worth = sum(map(pnl_of, trades)) + known(trip.realised()) + known(trip.unrealised(mark))
    turnover = sum(abs(f.price) * f.quantity + abs(mark) * f.quantity + abs(f.fee) for f in fills)
    assert worth == pytest.approx(float(cash(fills) + held(fills) * Fraction(mark)), abs=1e-8 * turnover)


@settings(max_examples=300, deadline=None)
@given(DYADIC)
def test_where_no_number_is_rounded_quantities_and_fills_are_conserved(fills: list[Fill]) -> None:
    trades, trip = fold(fills)
    assert Fraction(trip.position) == held(fills)
    assert sum(trade.fills for trade in trades) + trip.fills == len(fills) + flips(fills)
    entered = sum(trade.quantity for trade in trades) + float(trip.entry_quantity)
    left = sum(trade.quantity for trade in trades) + float(trip.exit_quantity)
    assert entered + left == sum(f.quantity for f in fills)
    fees = sum(known(trade.fees) for trade in trades) + float(trip.booked_fees or 0)
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
        assert trade is None or (trade.quantity > 0 and math.isfinite(pnl_of(trade)))


def test_a_scratch_leaves_no_residue() -> None:
    [trade], trip = fold([fill("buy", 0.1, 100.1), fill("buy", 0.2, 100.1), fill("sell", 0.3, 100.1)])
    assert (trade.pnl, trip) == (0.0, OpenRoundTrip())


BITCOIN: dict[str, Any] = {"base_currency": "BTC", "currency": "USD", "rate": 1.0}


def test_a_fee_in_the_base_currency_changes_the_quantity_held() -> None:
    bought = fill("buy", 1, 50_000, fee=0.001, fee_currency="BTC", **BITCOIN)
    [trade], trip = fold([bought, fill("sell", 0.999, 51_000, fee=50.949, **BITCOIN)])
    assert (trade.pnl, trade.settled_pnl, trade.fees) == (898.051, 898.051, 100.949)
    assert (trade.quantity, trade.entry_price, trade.exit_price) == (0.999, 50_000, 51_000)
    assert trip == OpenRoundTrip()


def test_a_fee_in_the_base_currency_of_a_sale_is_sold_too() -> None:
    sold = fill("sell", 1, 100, fee=0.01, fee_currency="BTC", **BITCOIN)
    [trade], trip = fold([sold, fill("buy", 1.01, 90, **BITCOIN)])
    assert (trade.side, trade.pnl, trip.position) == (Side.SELL, 9.1, 0)  # 100 - 1.01 * 90


def test_what_is_left_of_a_large_position_stays_open() -> None:
    trades, trip = fold([fill("buy", 1e12, 1), fill("sell", 999_999_999_500, 1)])
    assert (trades, trip.position) == ([], 500)
    for lot_size in (None, 1e-7, 1e-3):
        trades, trip = fold(
            [
                fill("buy", 2_000, 1, lot_size=lot_size),
                fill("sell", 1_999.9999985, 1, lot_size=lot_size),
                fill("sell", 0.0000015, 1, lot_size=lot_size),
            ]
        )
        assert (len(trades), trip) == (1, OpenRoundTrip())


def test_dust_below_half_a_lot_is_flat_and_is_not_forgotten() -> None:
    trades, trip = fold([fill("buy", 1, 10, lot_size=0.01), fill("sell", 0.996, 11, lot_size=0.01)])
    assert (len(trades), trip.position, float(trip.held)) == (1, 0, 0.004)
    trades, trip = fold([fill("buy", 1, 10, lot_size=0.01), fill("sell", 0.995, 11, lot_size=0.01)])
    assert (trades, trip.position) == ([], 0.005)


def test_rounding_of_the_trading_process_leaves_nothing() -> None:
    trades, trip = fold([*[fill("buy", 0.1, 10)] * 3, fill("sell", 0.1 + 0.1 + 0.1, 10)])
    assert (len(trades), trip) == (1, OpenRoundTrip())


def test_a_multiplier_counts() -> None:
    es: dict[str, Any] = {"multiplier": 50.0, "currency": "USD", "rate": 1.0}
    [trade], _ = fold([fill("buy", 2, 5_000, fee=4, **es), fill("sell", 2, 5_010, fee=4, **es)])
    assert (trade.pnl, trade.entry_price, trade.multiplier) == (992, 5_000, 50)
    trip = OpenRoundTrip()
    trip.add(fill("sell", 1, 5_000, **es))
    assert (trip.unrealised(4_990), trip.value(4_990), trip.average_price()) == (500, -249_500, 5_000)


def test_an_inverse_contract_is_settled_in_its_base_currency() -> None:
    def inverse(side: str, price: float, rate: float) -> Fill:
        return fill(
            side, 100, price, multiplier=100.0, inverse=True, base_currency="BTC", currency="BTC", rate=rate
        )

    [trade], _ = fold([inverse("buy", 10_000, 10_000), inverse("sell", 11_000, 11_000)])
    assert trade.settled_pnl == pytest.approx(1 / 11)  # 10,000 dollars: 1 BTC less 10/11 BTC
    assert trade.pnl == pytest.approx(1000)
    assert trade.currency == "BTC"
    assert (trade.entry_price, trade.exit_price) == (10_000, 11_000)
    trip = OpenRoundTrip()
    trip.add(inverse("sell", 10_000, 10_000))
    assert trip.unrealised(8_000) == pytest.approx(0.25)
    assert trip.unrealised(0) is None


def test_results_are_converted_at_the_rate_of_the_closing_fill() -> None:
    yen: dict[str, Any] = {"currency": "JPY", "base_currency": "USD"}
    [trade], _ = fold(
        [fill("buy", 1_000, 150, rate=1 / 150, **yen), fill("sell", 1_000, 151, rate=0.0065, **yen)]
    )
    assert (trade.settled_pnl, trade.pnl) == (1_000, 6.5)


def test_without_a_rate_the_result_is_not_known_and_says_why() -> None:
    yen: dict[str, Any] = {"currency": "JPY"}
    trip = OpenRoundTrip()
    trip.book(fill("buy", 1_000, 150, **yen))
    booking = trip.book(fill("sell", 1_000, 151, **yen, number=7))
    assert booking.realised is None
    assert booking.closed is not None
    assert (booking.closed.settled_pnl, booking.closed.pnl) == (1_000, None)
    assert booking.closed.reason == "no rate of JPY was known at fill 7"
    # The next round trip is not affected.
    trip.add(fill("buy", 1, 150, rate=0.01, **yen))
    trade = trip.add(fill("sell", 1, 250, rate=0.01, **yen))
    assert trade is not None
    assert trade.pnl == 1


def test_a_fee_in_a_third_currency_is_converted() -> None:
    [trade], _ = fold(
        [
            fill("buy", 1, 100, fee=0.01, fee_currency="BNB", fee_rate=600.0, currency="EUR", rate=1.2),
            fill("sell", 1, 110, currency="EUR", rate=1.2),
        ]
    )
    assert (trade.fees, trade.settled_fees, trade.pnl, trade.settled_pnl) == (6, 5, 6, 5)
    [trade], _ = fold([fill("buy", 1, 100, fee=0.01, fee_currency="BNB"), fill("sell", 1, 110)])
    assert (trade.pnl, trade.reason) == (None, "no rate of BNB was known at fill 0")


def test_cost_methods_differ_in_what_is_realised_and_agree_when_flat() -> None:
    fills = [fill("buy", 1, 100), fill("buy", 1, 110), fill("sell", 1, 120)]
    found = {}
    for cost in CostMethod:
        trades, trip = fold(fills, cost)
        found[cost] = (trip.realised(), trip.average_price(), trip.unrealised(120))
        trades, _ = fold([*fills, fill("sell", 1, 130)], cost)
        assert [trade.pnl for trade in trades] == [40]
    assert found == {
        CostMethod.AVERAGE: (15, 105, 15),
        CostMethod.FIFO: (20, 110, 10),
        CostMethod.LIFO: (10, 100, 20),
    }


@pytest.mark.parametrize("cost", CostMethod)
def test_a_position_that_is_never_flat_stays_small(cost: CostMethod) -> None:
    fills = [fill("buy", 2, 100 + number % 7, number=number) for number in range(1_000)]
    _, trip = fold([one for buy in fills for one in (buy, fill("sell", 1, 100))], cost)
    assert len(trip.parts) <= 128
    assert trip.position == 1_000


def test_a_transfer_has_no_result() -> None:
    [trade], trip = fold(
        [fill("buy", 2, 100), fill("sell", 1, 110), fill("sell", 1, 500, kind=FillKind.TRANSFER)]
    )
    assert (trade.pnl, trip.position) == (10, 0)
    [trade], _ = fold([fill("buy", 1, 100, kind=FillKind.OPENING), fill("sell", 1, 110)])
    assert trade.pnl == 10


def test_a_settlement_closes_at_its_price() -> None:
    [trade], _ = fold([fill("buy", 1, 5), fill("sell", 1, 0, kind=FillKind.SETTLEMENT)])
    assert (trade.pnl, trade.exit_price) == (-5, 0)


def test_the_state_survives_its_encoding() -> None:
    trip = OpenRoundTrip()
    trip.add(fill("buy", 0.3, 100.1, fee=0.1, risk=3))
    trip.add(fill("sell", 0.1, 101))
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(trip), type=OpenRoundTrip)
    assert copy == trip
    assert copy.add(fill("sell", 0.2, 99)) == trip.add(fill("sell", 0.2, 99))
