"""Analytics, as the API answers them."""

from __future__ import annotations

import math

import pytest

from decahertz.event import Side, Tick
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Stack

DAY_NS = 86_400 * 10**9
MINUTE_NS = 60 * 10**9


def tick(minute: float, price: float, size: float = 1.0, side: Side | None = None) -> Tick:
    """A tick so many minutes after 2026-01-01T00:00Z."""
    time_ns = START_NS + round(minute * MINUTE_NS)
    return Tick(time_ns=time_ns, venue="SIM", instrument="EUR/USD", price=price, size=size, side=side)


async def send(stack: Stack, *ticks: Tick) -> None:
    await stack.emit(*ticks)
    await stack.all_stored()


async def test_days_have_changes_ranges_and_volatility(stored: Stack, stored_caller: Caller) -> None:
    prices = [(0, 100.0), (3, 104.0), (7, 98.0), (1440, 101.0), (1500, 110.0), (2000, 99.0)]
    await send(stored, *(tick(minute, price) for minute, price in prices))
    report = (await stored_caller.get("analytics/daily/EUR/USD")).body
    assert (report["timezone"], report["day_start"], report["next_cursor"]) == ("UTC", "00:00", None)
    second, first = report["items"]
    assert first["time_ns"] == START_NS
    assert (first["open"], first["high"], first["low"], first["close"]) == (100.0, 104.0, 98.0, 98.0)
    assert (first["range"], first["true_range"], first["change"]) == (6.0, None, None)
    assert first["reasons"]["change"] == "there is no day with ticks before"
    variance = math.log(104 / 100) ** 2 + math.log(98 / 104) ** 2
    assert first["realised_volatility"] == pytest.approx(math.sqrt(variance))
    assert first["returns"] == 2
    assert (second["end_ns"], second["previous_close"]) == (START_NS + 2 * DAY_NS, 98.0)
    assert second["gap"] == pytest.approx(101 / 98 - 1)
    assert second["change"] == pytest.approx(99 / 98 - 1)
    assert (second["range"], second["true_range"]) == (11.0, 12.0)
    assert second["is_complete"]
    summary = report["summary"]
    assert (summary["n"], summary["up"], summary["down"]) == (2, 1, 0)
    assert (summary["mean_range"], summary["mean_true_range"], summary["mean_volume"]) == (8.5, 12.0, 3.0)
    assert summary["change_deviation"] is None
    assert "fewer than two" in summary["reasons"]["change_deviation"]


async def test_days_start_where_they_are_wanted_and_come_in_pages(
    stored: Stack, stored_caller: Caller
) -> None:
    await send(stored, *(tick(60 * hour, float(hour + 1)) for hour in range(72)))
    path = "analytics/daily/EUR/USD?timezone=America/New_York&day_start=17:00"
    pages = await stored_caller.pages(f"{path}&limit=2")
    days = [day for page in pages for day in page]
    assert [(day["time_ns"] - START_NS) // (60 * MINUTE_NS) for day in days] == [70, 46, 22, -2]
    assert [day["trades"] for day in days] == [2, 24, 24, 22]
    assert [day["previous_close"] for day in days] == [70.0, 46.0, 22.0, None]


async def test_a_breakout_has_direction_extension_and_follow_through(
    stored: Stack, stored_caller: Caller
) -> None:
    up = [(0, 100.0), (10, 104.0), (20, 105.0), (30, 110.0), (40, 99.0), (50, 106.0)]
    down = [(0, 100.0), (10, 104.0), (20, 98.0), (30, 104.0), (40, 101.0)]
    inside = [(0, 100.0), (10, 104.0), (20, 103.0)]
    days = [up, down, inside]
    await send(
        stored,
        *(tick(1440 * day + minute, price) for day, found in enumerate(days) for minute, price in found),
    )
    report = (await stored_caller.get("analytics/orb/EUR/USD?range=15m&session_length=8h")).body
    assert (report["range_seconds"], report["session_start"]) == (900.0, "00:00")
    third, second, first = report["items"]
    assert (first["high"], first["low"], first["width"], first["range_trades"]) == (104.0, 100.0, 4.0, 2)
    assert (first["direction"], first["breakout_price"], first["broke_both"]) == (1, 105.0, True)
    assert first["breakout_ns"] == START_NS + 20 * MINUTE_NS
    assert (first["extension"], first["follow_through"]) == (1.5, 0.5)
    assert (second["direction"], second["extension"], second["follow_through"]) == (-1, 0.5, -0.25)
    assert (third["direction"], third["breakout_ns"], third["extension"]) == (0, None, None)
    assert third["reasons"]["extension"] == "the price did not leave the opening range"
    assert third["end_ns"] - third["time_ns"] == 8 * 60 * MINUTE_NS
    summary = report["summary"]
    assert [summary[name] for name in ("n", "breakouts", "up", "down", "broke_both")] == [3, 2, 1, 1, 1]
    assert summary["breakout_ratio"] == pytest.approx(2 / 3)
    assert (summary["follow_through_ratio"], summary["mean_extension"]) == (0.5, 1.0)
    assert (summary["mean_follow_through"], summary["mean_width"]) == (0.125, 4.0)


async def test_a_session_starts_in_its_zone(stored: Stack, stored_caller: Caller) -> None:
    await send(stored, *(tick(minute, float(minute)) for minute in range(0, 1440, 10)))
    path = "analytics/orb/EUR/USD?timezone=America/New_York&session_start=09:30&session_length=390m&range=30m"
    (session,) = (await stored_caller.get(path)).body["items"]
    assert session["time_ns"] == START_NS + 870 * MINUTE_NS
    assert (session["low"], session["high"], session["close"]) == (870.0, 890.0, 1250.0)


async def test_a_session_may_start_at_any_hour(stored: Stack, stored_caller: Caller) -> None:
    await send(stored, *(tick(minute, float(minute)) for minute in range(0, 1440, 10)))
    for hour in range(24):
        answer = await stored_caller.get(f"analytics/orb/EUR/USD?range=12h&session_start={hour:02}:00")
        assert answer.status == 200
        assert answer.body["items"]


async def test_a_profile_names_point_of_control_and_value_area(stored: Stack, stored_caller: Caller) -> None:
    sizes = {1.0: 1.0, 2.0: 2.0, 3.0: 10.0, 4.0: 4.0, 5.0: 3.0}
    sides = [Side.BUY, Side.SELL, None]
    await send(stored, *(tick(n, price, size, sides[n % 3]) for n, (price, size) in enumerate(sizes.items())))
    answer = await stored_caller.get(f"analytics/volume-profile/EUR/USD?start={START_NS}&bin_size=1")
    report = answer.body
    assert [(one["low"], one["volume"]) for one in report["bins"]] == list(sizes.items())
    assert (report["bins"][0]["bought"], report["bins"][0]["sold"]) == (1.0, 0.0)
    assert (report["bins"][1]["bought"], report["bins"][1]["sold"]) == (0.0, 2.0)
    assert (report["point_of_control"], report["volume"], report["trades"]) == (3.5, 20.0, 5)
    assert (report["value_area_low"], report["value_area_high"]) == (3.0, 6.0)
    assert (report["value_area_volume"], report["reasons"]) == (17.0, {})
    equal = (await stored_caller.get(f"analytics/volume-profile/EUR/USD?start={START_NS}&bins=2")).body
    assert [one["volume"] for one in equal["bins"]] == [3.0, 17.0]
    assert equal["bin_width"] == 2.0


async def test_an_empty_range_is_told_from_an_unknown_instrument(
    stored: Stack, stored_caller: Caller
) -> None:
    await send(stored, tick(0, 1.0))
    later = f"start={START_NS + 9 * DAY_NS}&end={START_NS + 10 * DAY_NS}"
    for route in ("daily", "orb"):
        report = (await stored_caller.get(f"analytics/{route}/EUR/USD?{later}")).body
        assert (report["items"], report["summary"]["n"]) == ([], 0)
    report = (await stored_caller.get(f"analytics/volume-profile/EUR/USD?{later}")).body
    assert (report["trades"], report["bins"], report["point_of_control"]) == (0, [], None)
    assert report["reasons"]["point_of_control"] == "there are no ticks in the range"
    for route in ("daily", "orb", "volume-profile"):
        problem = (await stored_caller.get(f"analytics/{route}/EUR-USD?{later}")).problem("unknown-name")
        assert "EUR/USD" in problem["detail"]


async def test_by_default_a_profile_is_of_the_day_so_far(stored: Stack, stored_caller: Caller) -> None:
    now_ns = stored.clock.time_ns()
    await send(
        stored, Tick(time_ns=now_ns - 2 * DAY_NS, venue="SIM", instrument="A", price=9.0, size=1.0),
        Tick(time_ns=now_ns, venue="SIM", instrument="A", price=5.0, size=1.0),
    )  # fmt: skip
    report = (await stored_caller.get("analytics/volume-profile/A")).body
    assert report["trades"] == 1
    assert report["start_ns"] % DAY_NS == 0


@pytest.mark.parametrize(
    ("path", "parameter", "reason"),
    [
        ("daily/A?timezone=Mars", "timezone", "not a time zone"),
        ("daily/A?day_start=25:00", "day_start", "written 09:30"),
        ("daily/A?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z", "start", "later than end"),
        ("daily/A?limit=0", "limit", "1 or more"),
        ("orb/A?range=0m", "range", "duration"),
        ("orb/A?range=2h&session_length=1h", "range", "not shorter than the session"),
        ("orb/A?session_length=25h", "session_length", "longer than 24h"),
        ("orb/A?session_start=9:30", "session_start", "written 09:30"),
        ("volume-profile/A?bins=1001", "bins", "1000 or less"),
        ("volume-profile/A?bin_size=0", "bin_size", "more than 0"),
        ("volume-profile/A?bin_size=nan", "bin_size", ""),
        ("volume-profile/A?bin_size=inf", "bin_size", ""),
        ("volume-profile/A?value_area=1.5", "value_area", "1 or less"),
        ("volume-profile/A?width=5", "width", "unknown parameter"),
    ],
)
async def test_what_makes_no_sense_is_refused(caller: Caller, path: str, parameter: str, reason: str) -> None:
    (error,) = (await caller.get(f"analytics/{path}")).problem("invalid-parameter")["errors"]
    assert error["field"] == parameter
    assert reason in error["reason"]


async def test_a_bin_that_is_too_small_is_refused(stored: Stack, stored_caller: Caller) -> None:
    await send(stored, tick(0, 1.0), tick(1, 1e9))
    answer = await stored_caller.get(f"analytics/volume-profile/EUR/USD?start={START_NS}&bin_size=0.01")
    (error,) = answer.problem("invalid-parameter")["errors"]
    assert error["field"] == "bin_size"
    assert "more than 1000 bins" in error["reason"]
