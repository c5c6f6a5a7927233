from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from freezegun import freeze_time
from hypothesis import assume, given
from hypothesis import strategies as st

from decahertz.clock import (
    CYCLE_NS,
    NS_PER_SECOND,
    Grid,
    SystemClock,
    TimeFormatError,
    format_time,
    from_datetime,
    other_unit,
    parse_time,
    to_datetime,
)

times = st.integers(-(2**62), 2**63 - 1)
_DIVISORS = [n for n in range(1, 2000) if NS_PER_SECOND % n == 0]
intervals = st.sampled_from([*_DIVISORS, *(NS_PER_SECOND // n for n in _DIVISORS)])


@given(intervals, times)
def test_a_time_lies_between_two_cycles_which_the_index_counts(interval: int, now: int) -> None:
    grid = Grid(interval)
    floor, after = grid.floor(now), grid.after(now)
    assert floor % interval == after % interval == 0
    assert floor <= now < floor + interval
    assert after - interval <= now < after
    assert grid.floor(after) == after
    assert grid.after(after) == after + interval
    assert grid.index(now) * interval == floor
    assert grid.index(after) == grid.index(now) + 1


def test_the_grid_of_ten_hertz_falls_on_tenths_of_utc_seconds() -> None:
    grid = Grid()
    assert grid.interval_ns == CYCLE_NS == 100_000_000
    assert format_time(grid.after(parse_time("2026-01-02T03:04:05.678Z"))) == "2026-01-02T03:04:05.700000000Z"


@pytest.mark.parametrize("interval", [0, -1, 3, 300_000_000, 2 * NS_PER_SECOND])
def test_an_interval_that_does_not_divide_a_second_is_refused(interval: int) -> None:
    with pytest.raises(ValueError, match="second"):
        Grid(interval)


@given(times)
def test_a_time_is_written_and_read_back_to_the_nanosecond(time_ns: int) -> None:
    assert parse_time(format_time(time_ns)) == time_ns
    assume(other_unit(time_ns) is None)
    assert parse_time(str(time_ns)) == time_ns


@given(times)
def test_a_datetime_holds_whole_microseconds_rounded_down(time_ns: int) -> None:
    moment = to_datetime(time_ns)
    assert moment.tzinfo is UTC
    assert from_datetime(moment) == time_ns - time_ns % 1000


@given(
    st.datetimes(
        datetime(1000, 1, 2),  # noqa: DTZ001 - the zone is drawn below
        datetime(9999, 12, 30),  # noqa: DTZ001 - see above
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    ),
)
def test_iso_formats_of_python_are_parsed_in_any_zone(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == from_datetime(moment)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("0", 0),
        ("-5", -5),
        (" 1700000000000000001 ", 1_700_000_000_000_000_001),
        ("1970-01-01T00:00:01Z", NS_PER_SECOND),
        ("1970-01-01t00:00:01z", NS_PER_SECOND),
        ("1970-01-01 00:00:01+00:00", NS_PER_SECOND),
        ("1970-01-01T01:00:01+01:00", NS_PER_SECOND),
        ("1970-01-01T01:00:01+0100", NS_PER_SECOND),
        ("1970-01-01T01:00:01+01", NS_PER_SECOND),
        ("1970-01-01T00:00:00.1Z", NS_PER_SECOND // 10),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.123456789-00:30", 1_800_123_456_789),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_examples_of_times(text: str, time_ns: int) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "--5",
        "5-",
        "1e9",
        "٣",
        "9" * 20,
        "9" * 5000,
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.5",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05.1234567890Z",
        "2026-01-02T03:04:05+00:00:00.5",
        "2026-01-02T03:04:05 UTC",
        "2026-02-30T03:04:05Z",
        "2026-01-02T24:00:01Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05+25:00",
        "0000-01-02T03:04:05Z",
        "20260102T030405Z",
        "2026-W01-5T03:04:05Z",
    ],
)
def test_an_invalid_time_raises_a_time_format_error(text: str) -> None:
    with pytest.raises(TimeFormatError):
        parse_time(text)


@given(st.text(st.sampled_from("0123456789-+:.,TtZz ٣e"), max_size=35) | st.text(max_size=20))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parsed = parse_time(text)
    except TimeFormatError:
        return
    assert isinstance(parsed, int)


def test_a_datetime_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        from_datetime(datetime(2026, 1, 2))  # noqa: DTZ001 - on purpose


def test_early_years_are_written_with_four_digits() -> None:
    assert format_time(-(10**9) * 40_000_000_000).startswith("0702-")


def test_the_system_clock_is_the_systems() -> None:
    clock = SystemClock()
    assert time.time_ns() <= clock.time_ns() <= time.time_ns()
    assert time.monotonic_ns() <= clock.monotonic_ns() <= time.monotonic_ns()


async def test_a_frozen_wall_clock_is_followed_and_times_are_still_made_right() -> None:
    with freeze_time("2026-01-02T03:04:05", real_asyncio=True):
        frozen = SystemClock().time_ns()
        assert format_time(frozen) == "2026-01-02T03:04:05.000000000Z"
        assert from_datetime(to_datetime(frozen)) == frozen
        assert from_datetime(datetime.now(UTC)) == frozen
        await asyncio.sleep(0.001)
        assert SystemClock().time_ns() == frozen
