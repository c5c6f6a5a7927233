"""Signals that the recorder generates, over HTTP and on a schedule, from ticks that it has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from collectors.feeds.recordings.captures import recorded_events
from control.signals.schedule import SignalSchedules, check_schedule
from control.signals.service import Evaluation, SignalService
from control.signals.settings import ScheduleSettings, SignalsSettings
from decahertz.app.settings import load
from decahertz.clock import parse_time
from decahertz.event import Tick
from decahertz.settings import SettingsError
from storage.query.queries import Queries
from tests.api.checked import Caller, Reply
from tests.api.helpers import Stack, reader, wait_for
from tests.control.test_generators import breakout_by_pandas, cross_by_pandas, reversion_by_pandas
from tests.pipeline.running import ROOT

TRADES = ROOT.parent / "shared" / "data" / "btcusdt-trades-20210108.csv"
MS = 1_000_000
WIDTH_NS = 4 * 3600 * 10**9
CROSS = {
    "generator": "moving_average_cross",
    "venue": "SIM",
    "instrument": "A",
    "timeframe": "4h",
    "parameters": {"fast": 1, "slow": 2},
}
TREND = Evaluation(
    generator="moving_average_cross",
    venue="SIM",
    instrument="A",
    timeframe="4h",
    strategy="trend",
    parameters={"fast": 1, "slow": 2},
)


def tick(time_ns: int, price: float) -> Tick:
    return Tick(time_ns=time_ns, venue="SIM", instrument="A", price=price, size=1.0)


async def record_cross(stack: Stack) -> int:
    """Ticks of four bars, the last of which has just ended; the average is crossed in it. Returns its end."""
    end_ns = stack.clock.time_ns() // WIDTH_NS * WIDTH_NS
    prices = (5.0, 4.0, 3.0, 10.0)
    times = range(end_ns - 4 * WIDTH_NS, end_ns, WIDTH_NS)
    await stack.emit(*(tick(at, price) for at, price in zip(times, prices, strict=True)))
    await stack.all_stored()
    return end_ns


async def generate(caller: Caller, **fields: object) -> Reply:
    return await caller.post("signals/generate", json=CROSS | fields)


@pytest.mark.recordings
@pytest.mark.skipif(not TRADES.exists(), reason="no recordings next to the checkout")
async def test_signals_from_stored_ticks_are_those_of_pandas(stored: Stack) -> None:
    recorded = (event for _, events in recorded_events(TRADES) for event in events)
    events = [event for event in recorded if isinstance(event, Tick)]
    assert len(events) == 2001
    for start in range(0, len(events), 500):
        await stored.emit(*events[start : start + 500])
    await stored.all_stored()
    trades = pd.read_csv(TRADES, index_col="timestamp", parse_dates=True)
    bars = trades.price.resample("500ms").ohlc().dropna()
    bars = bars.set_index(bars.index.as_unit("ns"))
    cases: list[tuple[str, dict[str, object], Any]] = [
        ("moving_average_cross", {"fast": 2, "slow": 5}, cross_by_pandas(bars, 2, 5)),
        ("z_score_reversion", {"window": 8, "entry": 1.5}, reversion_by_pandas(bars, 8, 1.5, 0.0)),
        ("opening_range_breakout", {"range": "3s"}, breakout_by_pandas(bars, "00:00", 0.05, 24)),
    ]
    venue, instrument = events[0].venue, events[0].instrument
    for name, parameters, wanted in cases:
        evaluation = Evaluation(
            generator=name,
            venue=venue,
            instrument=instrument,
            timeframe="500ms",
            strategy="x",
            parameters=parameters,
        )
        if name == "opening_range_breakout":  # of all bars of a day, too many
            evaluation = replace(evaluation, parameters={**parameters, "session_length": "40m"})
        found = []
        for at in bars.index.astype("int64"):
            outcome = await stored.signals.generate(evaluation, int(at) + 500 * MS)
            assert not outcome.is_new
            if outcome.signal is not None:
                assert outcome.signal.price == bars.close[pd.Timestamp(at, tz="UTC")]
                found.append((int(at), outcome.signal.direction.value))
        assert wanted
        assert found == wanted, name


async def test_a_signal_is_stored_once_told_at_once_and_is_no_order(
    stored: Stack, stored_caller: Caller
) -> None:
    end_ns = await record_cross(stored)
    async with reader(stored) as live:
        await live.subscribe("signals", "orders")
        made = await generate(stored_caller, strategy="trend")
        heard = await live.hear()
    signal = made.body["signal"]
    assert (made.status, made.body["is_stored"], made.body["bars"]) == (201, True, 3)
    assert (signal["direction"], signal["price"], signal["time_ns"]) == ("buy", 10.0, end_ns)
    assert signal["strength"] == pytest.approx(10.0 / 6.5 - 1)
    assert made.body["values"] == {"fast": 10.0, "slow": 6.5}
    assert (heard["type"], heard["topic"], heard["data"]["signal_id"]) == (
        "event",
        "signals",
        signal["signal_id"],
    )
    again = await generate(stored_caller, strategy="trend")
    assert (again.status, again.body["signal"], again.body["is_stored"]) == (200, signal, False)
    await stored.all_stored()
    (listed,) = (await stored_caller.get("signals")).body["items"]
    assert {name: listed[name] for name in signal} == signal
    assert listed["source"] == "recorder-signals"
    assert (await stored_caller.get("orders")).body["items"] == []
    next_run = SignalService(
        Queries(stored.database),
        stored.ingest,
        stored.clock,
        stored.signals.generators,
        CollectorRegistry(),
        settle_seconds=0.001,
        behind_seconds=lambda: 0.0,
    )
    assert not (await next_run.generate(TREND)).is_new
    other = await generate(stored_caller)
    assert (other.status, other.body["signal"]["strategy"]) == (201, "moving_average_cross")


async def test_no_signal_has_its_reason(stored: Stack, stored_caller: Caller) -> None:
    end_ns = await record_cross(stored)
    quiet = await generate(stored_caller, timeframe="1h")
    assert (quiet.status, quiet.body["signal"]) == (200, None)
    assert "no tick in the bar that ended at" in quiet.body["reason"]
    few = await generate(stored_caller, parameters={})
    assert few.body["reason"] == "there are 4 bars, and 31 are needed"
    before = await generate(stored_caller, at=end_ns - 1)
    assert (before.body["bar_end_ns"], before.body["signal"]) == (end_ns - WIDTH_NS, None)
    then = await generate(stored_caller, at=str(end_ns))
    assert (then.status, then.body["signal"]["direction"], then.body["is_stored"]) == (200, "buy", False)
    assert (await stored_caller.get("signals")).body["items"] == []
    (await generate(stored_caller, instrument="B")).problem("unknown-name")
    stored.behind_seconds = 1e6
    stored.signals._wait_ns = 0
    behind = (await generate(stored_caller)).problem("database-unavailable")
    assert "lacks the newest 1000000 s" in behind["detail"]


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"generator": "crystal_ball"}, "generator", "known: moving_average_cross, opening_range_breakout"),
        ({"parameters": {"fast": 3, "slow": 2}}, "parameters", "fast: 3 is not below slow, 2"),
        ({"parameters": {"quick": 3}}, "parameters.quick", "there is no field quick"),
        ({"parameters": {"fast": "many"}}, "parameters.fast", "must be a whole number, not a text"),
        ({"parameters": {"fast": 0}}, "parameters.fast", "must be 1 or more"),
        ({"timeframe": "often"}, "timeframe", "duration"),
        ({"timeframe": "400d"}, "timeframe", "longer than 366d"),
        ({"at": "tomorrow"}, "at", "neither integer nanoseconds"),
        ({"instrument": ""}, "instrument", ""),
        ({"quantity": 1}, "quantity", "no field"),
    ],
)
async def test_a_refused_evaluation_names_the_field(
    caller: Caller, fields: dict[str, object], field: str, reason: str
) -> None:
    (error,) = (await generate(caller, **fields)).problem("invalid-body")["errors"]
    assert error["field"] == field
    assert reason in error["reason"]


async def test_the_generators_say_what_they_do_and_take(caller: Caller) -> None:
    listed = (await caller.get("signals/generators")).body
    assert [one["name"] for one in listed["items"]] == [
        "moving_average_cross",
        "opening_range_breakout",
        "z_score_reversion",
    ]
    cross = listed["items"][0]
    assert cross["meaning"].startswith("Buys when the fast average of the closes crosses above the slow one")
    (definition,) = cross["parameters"]["$defs"].values()
    assert definition["properties"]["fast"]["default"] == 10


async def test_a_schedule_evaluates_every_bar_and_reports_failures(
    stored: Stack, stored_caller: Caller
) -> None:
    start_ns = stored.clock.time_ns() // (200 * MS) * 200 * MS
    ahead = (tick(start_ns + n * 200 * MS, 1.0 + n % 2) for n in range(290))
    await stored.emit(*ahead)
    await stored.all_stored()
    schedule = ScheduleSettings(
        generator="moving_average_cross",
        venue="SIM",
        instrument="A",
        timeframe="200ms",
        parameters=("fast=1", "slow=2"),
    )
    settings = SignalsSettings(settle_seconds=0.001, schedules={"zigzag": schedule})
    schedules = SignalSchedules(stored.signals, stored.clock, settings)
    await schedules.start()
    try:
        await wait_for(lambda: schedules.schedules[0].signals >= 3, "three signals")
        assert schedules.status().detail == ""
        stored.behind_seconds, stored.signals._wait_ns = 1e6, 0
        await wait_for(lambda: schedules.status().detail, "a failure is shown")
        assert schedules.status().detail.startswith("zigzag: the database lacks")
        stored.behind_seconds = 0.0
        stored.signals._wait_ns = 10**10
        await wait_for(lambda: not schedules.status().detail, "the failure is over")
    finally:
        await schedules.stop()
    (status,) = schedules.schedules
    assert status.failures
    labels = {"generator": "moving_average_cross"}
    for outcome, count in (("signal", status.signals), ("failed", status.failures)):
        shown = stored.registry.get_sample_value(
            "decahertz_signal_evaluations_total", labels | {"outcome": outcome}
        )
        assert shown == count
    late = [
        stored.registry.get_sample_value(f"decahertz_signal_lateness_seconds_{name}", labels) or 0.0
        for name in ("count", "sum")
    ]
    assert late[0] == status.signals
    assert late[1] > 0
    assert status.next_ns is not None
    assert status.next_ns % (200 * MS) == 0
    await stored.all_stored()
    items = (await stored_caller.get("signals?strategy=zigzag")).body["items"]
    assert len(items) == status.signals
    assert len({one["time_ns"] for one in items}) == len(items)
    for one in items:
        bar = (one["time_ns"] - start_ns) // (200 * MS) - 1
        assert one["direction"] == ("buy" if bar % 2 else "sell")


def test_schedules_come_from_the_settings(tmp_path: Path, stack: Stack) -> None:
    file = tmp_path / "decahertz.toml"
    file.write_text(
        '[signals.schedules.trend]\ngenerator = "moving_average_cross"\nvenue = "coinbase"\ninstrument = '
        '"BTC-USD"\nparameters = ["fast=5", "slow=20"]\ncron = "*/5 9-17 * * MON-FRI"\n'
    )
    (trend,) = load(file=file, environ={}).signals.schedules.values()
    schedules = SignalSchedules(stack.signals, stack.clock, SignalsSettings(schedules={"trend": trend}))
    after = schedules._schedules[0]._after
    friday, monday = parse_time("2026-01-02T16:57:00Z"), parse_time("2026-01-05T09:00:00Z")
    assert after(friday + 1) == parse_time("2026-01-02T17:00:00Z")
    assert after(parse_time("2026-01-02T17:55:00Z")) == monday
    wrong = {"cron": "whenever", "parameters": ("slow=1",), "generator": "none"}
    for field, value in wrong.items():
        with pytest.raises(SettingsError) as raised:
            check_schedule("trend", replace(trend, **{field: value}), stack.signals.generators)
        assert raised.value.key == f"signals.schedules.trend.{field}"
