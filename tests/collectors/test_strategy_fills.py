"""Late, repeated, annulled and conflicting fills: the metrics are those of the sorted executions."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from collectors.common.checkpoints import decode, encode
from collectors.strategy.collector import StrategyCheckpoint, StrategyCollector, StrategyOptions
from collectors.strategy.equity import EquityCurve
from collectors.strategy.sample import StrategySample
from decahertz.accounting import AccountingSettings, CostMethod
from decahertz.clock import SystemClock
from decahertz.event import Fill, FillKind, Origin, Quote, Side
from decahertz.round_trip import OpenRoundTrip
from tests.collectors.parts import T0


def fill(number: int, side: Side, quantity: float, price: float, **more: Any) -> Fill:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "time_ns": T0 + number,
        "strategy": "s",
        "venue": "v",
        "instrument": "i",
        "order_id": "o",
        "fill_id": str(number),
        "side": side,
        "quantity": quantity,
        "price": price,
    }
    return Fill(**values | more)


class Desk:
    def __init__(self, accounting: AccountingSettings | None = None, **options: Any) -> None:  # noqa: ANN401 - any option
        self.options = StrategyOptions(**options)
        self.accounting = accounting
        self.collector = StrategyCollector(SystemClock(), self.options, accounting)
        self.sequence = 0

    def take(self, *fills: Fill, epoch: int = 1) -> None:
        for one in fills:
            self.sequence += 1
            origin: Origin = ("bot", epoch, self.sequence)
            self.collector.on_event(one, T0 + 10**12, origin)

    def sample(self) -> StrategySample:
        (found,) = self.collector.sample(T0 + 10**12)
        assert isinstance(found, StrategySample)
        return found

    def restart(self) -> None:
        state, budgets = decode(
            encode(self.collector.checkpoint(), self.collector.budgets), StrategyCheckpoint
        )
        self.collector = StrategyCollector(SystemClock(), self.options, self.accounting)
        for budget, held in zip(self.collector.budgets, budgets, strict=True):
            budget.resume(held)
        self.collector.resume(state)


def same(one: StrategySample, other: StrategySample) -> None:
    for name in StrategySample.__struct_fields__:
        if name not in {"max_drawdown", "max_drawdown_seconds", "drawdown_seconds"}:  # of what was seen
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9), name


def test_a_late_fill_finds_its_place() -> None:
    """C3 of the faults."""
    desk = Desk()
    desk.take(fill(1, Side.BUY, 1, 100), fill(3, Side.BUY, 1, 120))
    desk.take(fill(2, Side.SELL, 1, 110), fill(4, Side.SELL, 1, 115))
    sample = desk.sample()
    assert (sample.trades, sample.win_rate, sample.streak, sample.realised_pnl) == (2, 0.5, -1, 5.0)


@pytest.mark.parametrize("cost", CostMethod)
@pytest.mark.parametrize("restarts", [False, True])
def test_shuffled_fills_give_the_metrics_of_sorted_ones(cost: CostMethod, restarts: bool) -> None:  # noqa: FBT001 - a parameter
    random = Random(5)
    fills, position = [], 0.0
    for number in range(700):
        side = Side.SELL if position > 0 else Side.BUY if position < 0 else random.choice(list(Side))
        quantity = float(random.randint(1, 3))
        position += quantity if side is Side.BUY else -quantity
        price = 100.0 + random.randint(-5, 5)
        # Two in each nanosecond.
        fills.append(fill(number // 2, side, quantity, price, fee=0.1, fill_id=str(number), risk=5.0))
    accounting = AccountingSettings(cost=cost)
    in_order, shuffled = Desk(accounting), Desk(accounting)
    in_order.take(*fills)
    order = list(enumerate(fills, start=1))
    random.shuffle(order)
    for count, (sequence, one) in enumerate(order):
        shuffled.collector.on_event(one, T0 + 10**12, ("bot", 1, sequence))
        if count % 50 == 0:
            shuffled.sample()
            if restarts:
                shuffled.restart()
    same(shuffled.sample(), in_order.sample())
    assert in_order.sample().trades > 100


def test_executions_sent_again_are_recognised_however_many() -> None:
    """C4 of the faults."""
    desk = Desk()
    fills = [fill(n, (Side.BUY, Side.SELL)[n % 2], 1, 100 + n % 7) for n in range(12_000)]
    desk.take(*fills)
    before = desk.sample()
    desk.restart()
    desk.take(*fills, epoch=2)
    after = desk.sample()
    assert (after.trades, after.fills, after.realised_pnl) == (6_000, 12_000, before.realised_pnl)
    assert after.duplicate_fills == 12_000


def test_ids_that_begin_again_swallow_no_execution() -> None:
    """C5 of the faults."""
    desk = Desk()
    desk.take(fill(1, Side.BUY, 1, 100, fill_id="17-1"))
    desk.take(fill(2, Side.SELL, 1, 110, fill_id="17-1"), epoch=2)
    sample = desk.sample()
    assert (sample.trades, sample.realised_pnl, sample.conflicting_fills, sample.fills) == (1, 10.0, 1, 2)
    assert sample.duplicate_fills == 0


def test_busts_and_corrections_change_what_was_counted() -> None:
    desk = Desk()
    opened, closed = fill(1, Side.BUY, 1, 100), fill(3, Side.SELL, 1, 112)
    desk.take(opened, closed)
    assert desk.sample().realised_pnl == 12.0
    correction = msgspec.structs.replace(closed, price=111.0, kind=FillKind.CORRECTION, time_ns=T0 + 9)
    desk.take(correction, correction)
    sample = desk.sample()
    assert (sample.realised_pnl, sample.trades, sample.fills, sample.duplicate_fills) == (11.0, 1, 2, 1)
    desk.take(msgspec.structs.replace(closed, kind=FillKind.BUST, time_ns=T0 + 10))
    sample = desk.sample()
    assert (sample.realised_pnl, sample.trades, sample.open_positions) == (0.0, 0, 1)
    assert sample.win_rate is None


def test_a_bust_that_overtakes_its_fill_annuls_it() -> None:
    desk = Desk()
    desk.take(fill(9, Side.BUY, 1, 100, fill_id="1", kind=FillKind.BUST), fill(1, Side.BUY, 1, 100))
    assert desk.sample().open_positions == 0


def test_a_fill_later_than_all_that_is_kept_counts_and_is_told() -> None:
    desk = Desk(kept_fills=16)
    desk.take(*(fill(10 * n, Side.BUY, 1, 100) for n in range(1, 200)))
    desk.take(fill(5, Side.SELL, 1, 100))
    sample = desk.sample()
    assert sample.misplaced_fills == 1
    (position,) = desk.collector.positions(T0 + 10**12)
    assert position.quantity == 198


def test_a_late_fill_costs_what_is_late_and_not_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """C14 of the faults: a position that was never flat."""
    desk = Desk()
    count = 20_000
    desk.take(*(fill(10 * n, Side.BUY, 1.0 + n % 2, 100) for n in range(count)))
    (holding,) = desk.collector._states["s"].holdings.values()
    assert len(holding.log.kept) < 1_100
    booked = []
    book = OpenRoundTrip.book

    def counted(self: OpenRoundTrip, one: Fill, cost: CostMethod) -> Any:  # noqa: ANN401 - as the method
        booked.append(one)
        return book(self, one, cost)

    monkeypatch.setattr(OpenRoundTrip, "book", counted)
    desk.take(fill(10 * count - 55, Side.SELL, 0.5, 101))
    desk.sample()
    assert len(booked) < 80


def test_the_results_that_a_late_fill_changes_move_the_curve_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found with C14 of the faults: each of them went through the newest values and blocked the loop."""
    desk = Desk()
    desk.take(
        *(fill(10**9 * n, (Side.BUY, Side.SELL)[n % 2], 2.0 - n % 2, 100.0 + n % 7) for n in range(800))
    )
    later_ns = T0 + 1_100 * 10**9
    quote = Quote(venue="v", instrument="i", time_ns=later_ns, bid=99.0, ask=101.0)
    desk.collector.on_event(quote, later_ns)
    desk.collector.sample(later_ns)  # long after the newest fill: the curve has its value
    moved: list[EquityCurve] = []
    refold = EquityCurve._refold

    def counted(curve: EquityCurve) -> None:
        moved.append(curve)
        refold(curve)

    monkeypatch.setattr(EquityCurve, "_refold", counted)
    desk.take(fill(10**9 * 100 + 1, Side.SELL, 0.5, 101.0))
    desk.sample()
    assert len(moved) == 1


def test_a_late_fill_in_a_long_past_makes_no_list_that_grows_with_the_past() -> None:
    """Found by the chaos suite: a past with a clock that stepped back took minutes to replay."""
    desk, sorted_desk = Desk(), Desk()
    fills = [fill(10 * n, Side.BUY, 1.0 + n % 2, 100) for n in range(5_000)]
    sorted_desk.take(*fills)
    fills[50], fills[52] = fills[52], fills[50]
    desk.take(*fills)  # and nothing asks for a sample in between
    (holding,) = desk.collector._states["s"].holdings.values()
    assert len(holding.log.kept) < 1_100
    same(desk.sample(), sorted_desk.sample())


def test_the_worst_and_best_pnl_of_an_open_round_trip() -> None:
    desk = Desk()
    desk.take(fill(1, Side.BUY, 2, 100, fee=1))
    for mid in (101, 97, 104, 103):
        quote = Quote(time_ns=T0 + mid, venue="v", instrument="i", bid=mid - 1, ask=mid + 1)
        desk.collector.on_event(msgspec.structs.replace(quote, time_ns=T0 + 10**12), T0 + 10**12)
        desk.sample()
    desk.restart()
    (position,) = desk.collector.positions(T0 + 10**12)
    assert (position.mae, position.mfe) == (-7.0, 7.0)
    desk.take(fill(2, Side.SELL, 2, 103), fill(3, Side.SELL, 1, 100))
    (position,) = desk.collector.positions(T0 + 10**12)
    assert (position.mae, position.mfe) == (None, None)
    desk.sample()
    (position,) = desk.collector.positions(T0 + 10**12)
    assert (position.mae, position.mfe) == (-3.0, -3.0)
