"""When schedules are due: cron expressions in a time zone, and the sessions of a calendar."""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_right
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from collectors.market.sessions import Sessions
from control.validation import InvalidRequestError
from decahertz.clock import NS_PER_SECOND
from decahertz.decode_errors import InvalidField

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.order_templates import Schedule

_FIELDS: Final = 5
_LOAD_SECONDS: Final = 60.0
_RENEW_NS: Final = 30 * 86_400 * NS_PER_SECOND
"""Sessions are loaded again when they are known for less than this ahead."""
_RETRY_NS: Final = 60 * NS_PER_SECOND
_MOST_STEPS: Final = 1_000
_MOST_CLOSED: Final = 7
"""Times in a row, each outside of the sessions, after which a schedule counts as one that has none inside."""
_MOST_FAILED: Final = 100
_MISSING: Final = "No module named 'exchange_calendars'"
_UNKNOWN: Final = "InvalidCalendarName"


class Schedules:
    """Computes the times of schedules.

    Cron expressions are those of Debian's cron, also where clocks change: a time that a change skips comes
    right after it, one that comes twice counts once.
    """

    def __init__(self, clock: Clock, timezone: str) -> None:
        """``timezone`` is that of schedules that name none."""
        self._clock = clock
        self._timezone = timezone
        self._sessions: dict[str, Sessions] = {}
        self._failed: dict[str, tuple[int, str]] = {}
        """Until when a calendar is not loaded again, by the monotonic clock, and why it was not."""

    async def check(self, schedule: Schedule) -> None:
        """Raises :class:`~control.validation.InvalidRequestError` for one that has no times."""
        problems = []
        try:
            zone = self._zone(schedule)
        except (KeyError, ValueError, OSError):
            problems.append(InvalidField("schedule.timezone", "is not a time zone; Europe/Berlin is one"))
            zone = ZoneInfo("UTC")
        reason = _cron_problem(schedule.cron, zone)
        if reason:
            problems.append(InvalidField("schedule.cron", reason))
        if schedule.calendar is not None:
            try:
                sessions = await self._known(schedule.calendar)
            except CalendarError as error:
                problems.append(InvalidField("schedule.calendar", str(error)))
            else:
                if not problems and self._is_never_open(schedule, sessions):
                    reason = f"none of its times lies in a session of {schedule.calendar}"
                    problems.append(InvalidField("schedule.cron", reason))
        if problems:
            raise InvalidRequestError(problems)

    def _is_never_open(self, schedule: Schedule, sessions: Sessions) -> bool:
        """Whether several times are known to lie outside of the sessions, and none inside."""
        after_ns = self._clock.time_ns()
        for _ in range(_MOST_CLOSED):
            at_ns = round(next(self._cron(schedule, after_ns)).timestamp()) * NS_PER_SECOND
            if sessions.opened_ns(at_ns) is not None:  # 0 after the sessions that are known
                return False
            after_ns = _next_open(sessions, at_ns) - NS_PER_SECOND
        return True

    async def next_ns(self, schedule: Schedule | None, after_ns: int) -> int | None:
        """The first time after another; ``None``: there is none. Raises :class:`CalendarError`."""
        async for at_ns in self.times(schedule, after_ns):
            return at_ns
        return None

    async def times(self, schedule: Schedule | None, after_ns: int) -> AsyncIterator[int]:
        """The times after another, ascending. Raises :class:`CalendarError`."""
        if schedule is None or not schedule.enabled:
            return
        sessions = None if schedule.calendar is None else await self._known(schedule.calendar)
        times = self._cron(schedule, after_ns)
        for _ in range(_MOST_STEPS):
            at = next(times, None)
            if at is None:
                return
            at_ns = round(at.timestamp()) * NS_PER_SECOND
            if sessions is None or sessions.opened_ns(at_ns) is not None:
                yield at_ns
            else:
                times = self._cron(schedule, _next_open(sessions, at_ns) - NS_PER_SECOND)

    async def is_open(self, schedule: Schedule, at_ns: int) -> bool:
        """Whether a time lies in a session of the calendar, if it has one. Raises :class:`CalendarError`."""
        if schedule.calendar is None:
            return True
        return (await self._known(schedule.calendar)).opened_ns(at_ns) is not None

    def _cron(self, schedule: Schedule, after_ns: int) -> CronSim:
        return CronSim(schedule.cron, datetime.fromtimestamp(after_ns // NS_PER_SECOND, self._zone(schedule)))

    def _zone(self, schedule: Schedule) -> ZoneInfo:
        return ZoneInfo(schedule.timezone or self._timezone)

    async def _known(self, name: str) -> Sessions:
        now_ns, monotonic_ns = self._clock.time_ns(), self._clock.monotonic_ns()
        known = self._sessions.get(name)
        if known is not None and known.from_ns <= now_ns < known.until_ns - _RENEW_NS:
            return known
        failed = self._failed.get(name)
        if failed is not None and monotonic_ns < failed[0]:
            raise CalendarError(failed[1])
        try:
            known = self._sessions[name] = await _load(name, now_ns)
        except CalendarError as error:
            if len(self._failed) >= _MOST_FAILED:
                self._failed.clear()
            self._failed[name] = monotonic_ns + _RETRY_NS, str(error)
            raise
        return known


class CalendarError(Exception):
    """Raised when the sessions of a calendar cannot be loaded; the text says why."""


async def _load(name: str, now_ns: int) -> Sessions:
    """Loads sessions in a child process: the package is large, and takes a second."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        Sessions.__module__,
        name,
        str(now_ns),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LOAD_SECONDS):
            out, errors = await child.communicate()
    except TimeoutError as error:
        child.kill()
        raise CalendarError(f"its sessions were not loaded within {_LOAD_SECONDS:g} s") from error
    if child.returncode:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2]
        if _MISSING in reason:
            raise CalendarError("calendars need the extra: pip install 'decahertz[calendars]'")
        if _UNKNOWN in reason:
            raise CalendarError(f"there is no calendar {name!r} of exchange-calendars; XNYS is one")
        raise CalendarError(f"its sessions were not loaded: {reason[:256]}")
    return msgspec.json.decode(out, type=Sessions)


def _cron_problem(expression: str, zone: ZoneInfo) -> str:
    """Why a cron expression has no times; empty: it has."""
    if len(expression.split()) != _FIELDS:
        return f"has {_FIELDS} fields: minute, hour, day, month, day of the week"
    try:
        next(CronSim(expression, datetime.fromtimestamp(0, zone)))
    except (CronSimError, StopIteration) as error:
        reason = str(error) or "No day fits"
        return reason[:1].lower() + reason[1:]
    return ""


def _next_open(sessions: Sessions, at_ns: int) -> int:
    place = bisect_right(sessions.opens_ns, at_ns)
    return sessions.opens_ns[place] if place < len(sessions.opens_ns) else sessions.until_ns
