"""Trading days and the bars that are made of them, against the calendar."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND, format_time, parse_time
from decahertz.settings import SettingsError
from decahertz.trading_days import DAY_NS, Timeframe, TradingDays

HOUR_NS = 3600 * NS_PER_SECOND


def days(timezone: str = "UTC", day_start: str = "00:00", week_start: int = 0) -> TradingDays:
    return TradingDays(AccountingSettings(timezone=timezone, day_start=day_start, week_start=week_start))


def start(calendar: TradingDays, count: int, at: str) -> str:
    """Start of the bar of so many days, to the minute."""
    return format_time(Timeframe(count * DAY_NS, calendar).start_of(parse_time(at)))[:16]


@pytest.mark.parametrize(
    ("week_start", "expected"), [(0, "2026-11-23"), (5, "2026-11-28"), (6, "2026-11-29"), (3, "2026-11-26")]
)
def test_a_week_starts_on_monday_or_on_the_day_of_the_settings(week_start: int, expected: str) -> None:
    # 2026-11-29 is a Sunday. Multiples of seven days since 1970 are Thursdays.
    assert start(days(week_start=week_start), 7, "2026-11-29T12:00:00Z") == f"{expected}T00:00"


def test_a_day_starts_in_its_zone_at_its_time() -> None:
    new_york = days("America/New_York", "17:00")
    assert start(new_york, 1, "2026-07-01T20:59:59Z") == "2026-06-30T21:00"
    assert start(new_york, 1, "2026-07-01T21:00:00Z") == "2026-07-01T21:00"
    assert start(new_york, 1, "2026-12-01T21:59:59Z") == "2026-11-30T22:00"
    # The week of a foreign exchange desk: Sunday 17:00 in New York.
    forex = days("America/New_York", "17:00", week_start=6)
    assert start(forex, 7, "2026-07-01T12:00:00Z") == "2026-06-28T21:00"


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Sao_Paulo", "2018-11-04", 23),  # this day has no midnight
        ("UTC", "2026-03-08", 24),
    ],
)
def test_days_of_a_change_of_the_clocks_are_shorter_or_longer(zone: str, day: str, hours: float) -> None:
    calendar = days(zone)
    number = (date.fromisoformat(day) - date(1970, 1, 1)).days
    begin, end = calendar.start_ns(number), calendar.start_ns(number + 1)
    assert (end - begin) / HOUR_NS == hours
    assert calendar.day_of(begin) == calendar.day_of(end - 1) == number
    assert calendar.day_of(end) == number + 1
    one = Timeframe(DAY_NS, calendar)
    assert (one.start_of(end - 1), one.end_of(begin)) == (begin, end)


def test_a_start_that_a_change_skips_or_repeats_comes_once() -> None:
    calendar = days("America/New_York", "02:30")
    assert start(calendar, 1, "2026-03-08T12:00:00Z") == "2026-03-08T07:30"  # 03:30 in summer time
    calendar = days("America/New_York", "01:30")
    assert start(calendar, 1, "2026-11-01T12:00:00Z") == "2026-11-01T05:30"  # the first 01:30
    samoa = days("Pacific/Apia")  # had no 2011-12-30
    frame = Timeframe(DAY_NS, samoa)
    starts = frame.starts(parse_time("2011-12-28T12:00:00Z"), parse_time("2012-01-02T00:00:00Z"))
    assert starts == sorted(set(starts))


def test_bars_that_are_not_of_days_start_at_multiples_of_their_width() -> None:
    frame = Timeframe(4 * HOUR_NS, days("America/New_York", "17:00"))
    assert frame.is_regular
    at_ns = parse_time("2026-11-29T21:59:59Z")
    assert format_time(frame.start_of(at_ns)) == "2026-11-29T20:00:00.000000000Z"
    assert frame.end_of(at_ns) == frame.start_of(at_ns) + 4 * HOUR_NS
    assert len(frame.starts(at_ns, at_ns + 8 * HOUR_NS)) == 3


@given(
    st.sampled_from(["UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.integers(0, 23),
    st.integers(0, 6),
    st.integers(0, 2_000_000_000),
    st.sampled_from([1, 2, 7, 10, 14]),
)
def test_bars_follow_each_other_without_gap_or_overlap(
    zone: str, hour: int, week_start: int, seconds: int, count: int
) -> None:
    calendar = days(zone, f"{hour:02}:00", week_start)
    frame, time_ns = Timeframe(count * DAY_NS, calendar), seconds * NS_PER_SECOND
    begin, end = frame.start_of(time_ns), frame.end_of(time_ns)
    assert begin <= time_ns < end
    assert frame.start_of(begin) == frame.start_of(end - 1) == begin
    assert frame.start_of(end) == end
    assert abs(end - begin - count * DAY_NS) <= HOUR_NS
    local = datetime.fromtimestamp(begin // NS_PER_SECOND, ZoneInfo(zone))
    assert local.hour in (hour, (hour + 1) % 24)
    if count == 7:
        assert local.weekday() == week_start
    assert frame.starts(time_ns, end + 1) == [begin, end]


def test_an_unknown_zone_is_refused_by_the_name_of_the_setting() -> None:
    with pytest.raises(SettingsError, match=r"accounting\.timezone.*'Mars/Olympus' is not a time zone"):
        days("Mars/Olympus")
