"""Times of schedules: cron in a time zone, over changes of the clocks, in the sessions of a calendar."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from control.schedules import Schedules
from control.validation import InvalidRequestError
from decahertz.clock import NS_PER_SECOND, parse_time
from decahertz.fakes import ManualClock
from decahertz.order_templates import Schedule


async def times(schedule: Schedule, after: str, until: str) -> list[str]:
    """The times between two others, as the clocks of the zone show them."""
    clock = ManualClock(parse_time(after))
    found, end_ns = [], parse_time(until)
    async for at_ns in Schedules(clock, "America/New_York").times(schedule, parse_time(after)):
        if at_ns >= end_ns:
            break
        at = datetime.fromtimestamp(at_ns // NS_PER_SECOND, ZoneInfo(schedule.timezone or "America/New_York"))
        found.append(at.strftime("%a %d %H:%M %z"))
    return found


async def test_a_schedule_has_the_zone_of_the_account_or_its_own() -> None:
    start, end = "2026-07-03T00:00:00Z", "2026-07-07T00:00:00Z"
    assert await times(Schedule(cron="55 15 * * 1-5"), start, end) == [
        "Fri 03 15:55 -0400",
        "Mon 06 15:55 -0400",
    ]
    tokyo = Schedule(cron="0 9 * * MON", timezone="Asia/Tokyo")
    assert await times(tokyo, start, end) == ["Mon 06 09:00 +0900"]
    assert await times(Schedule(cron="0 9 * * *", enabled=False), start, end) == []


async def test_clocks_that_change_neither_skip_a_time_nor_repeat_it() -> None:
    daily = Schedule(cron="30 2 * * *")
    assert await times(daily, "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z") == [
        "Sun 08 03:00 -0400",  # there is no 02:30
        "Mon 09 02:30 -0400",
    ]
    daily = Schedule(cron="30 1 * * *")
    assert await times(daily, "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z") == [
        "Sun 01 01:30 -0400",  # 01:30 comes twice
        "Mon 02 01:30 -0500",
    ]


@pytest.mark.timeout(180)  # two processes that load a large package
async def test_times_outside_the_sessions_of_a_calendar_are_left_out() -> None:
    pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    hourly = Schedule(cron="0 * * * *", calendar="XNYS")
    # Thanksgiving, and the day after, which ends at 13:00.
    assert await times(hourly, "2026-11-25T20:00:00Z", "2026-11-30T16:00:00Z") == [
        "Fri 27 10:00 -0500",
        "Fri 27 11:00 -0500",
        "Fri 27 12:00 -0500",
        "Mon 30 10:00 -0500",
    ]
    schedules = Schedules(ManualClock(parse_time("2026-11-25T20:00:00Z")), "UTC")
    with pytest.raises(InvalidRequestError, match="there is no calendar 'NONE'"):
        await schedules.check(Schedule(cron="0 * * * *", calendar="NONE"))
    # 05:05 UTC is night in New York, and Saturdays have no session; some month ends do.
    for cron in ("5 5 * * *", "0 15 * * SAT"):
        with pytest.raises(InvalidRequestError, match=r"cron: none of its times lies in a session of XNYS"):
            await schedules.check(Schedule(cron=cron, calendar="XNYS"))
    for cron in ("0 15 28 * *", "0 15 1 1 *", "0 0 * * *"):
        await schedules.check(
            Schedule(cron=cron, calendar="XNYS", timezone="Asia/Tokyo" if cron[2] == "0" else None)
        )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron": "0 9 * *"}, "schedule.cron"),
        ({"cron": "0 0 9 * * *"}, "schedule.cron"),
        ({"cron": "61 9 * * *"}, "schedule.cron"),
        ({"cron": "0 9 31 2 *"}, "schedule.cron"),
        ({"cron": "0 9 * * *", "timezone": "Mars/Base"}, "schedule.timezone"),
        ({"cron": "0 9 * * *", "timezone": "../etc/passwd"}, "schedule.timezone"),
    ],
)
async def test_a_schedule_without_times_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        await Schedules(ManualClock(), "UTC").check(Schedule(**fields))
    assert [name for name, _ in raised.value.fields] == [field]
