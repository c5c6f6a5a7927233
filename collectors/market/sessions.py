"""Trading sessions of instruments that do not trade around the clock, from the package exchange-calendars.

The package is optional (`decahertz[calendars]`), large, and takes a second to load a calendar, so a child
process does it; until then, and for a calendar that does not exist, an instrument counts as open around the
clock.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from bisect import bisect_right
from datetime import UTC, datetime
from queue import SimpleQueue

import msgspec
import structlog
from msgspec import Struct

from decahertz.clock import NS_PER_SECOND

_DAY_NS = 86_400 * NS_PER_SECOND
_BEFORE_NS, _AFTER_NS = 14 * _DAY_NS, 60 * _DAY_NS
_RENEW_NS = 30 * _DAY_NS
"""Sessions are loaded again when they are known for less than this ahead."""
_RETRY_NS = _DAY_NS
_LOAD_SECONDS = 60.0


class Sessions(Struct):
    """The sessions of one calendar between ``from_ns`` and ``until_ns``; an interval of trading each."""

    from_ns: int
    until_ns: int
    opens_ns: list[int]
    closes_ns: list[int]

    def opened_ns(self, now_ns: int) -> int | None:
        """Returns when the session began that goes on at ``now_ns``; ``None`` if there is none.

        0 if ``now_ns`` is outside of the known sessions: it counts as open.
        """
        if not self.from_ns <= now_ns < self.until_ns:
            return 0
        place = bisect_right(self.opens_ns, now_ns) - 1
        if place < 0 or now_ns >= self.closes_ns[place]:
            return None
        return self.opens_ns[place]


class SessionsCheckpoint(Struct):
    """The state of :class:`Calendars`."""

    names: dict[str, dict[str, str]] = {}
    """Calendar by venue and instrument."""
    sessions: dict[str, Sessions] = {}


class Calendars:
    """The calendars of instruments, and their sessions at present."""

    def __init__(self, limit: int) -> None:
        """``limit``: instruments with a calendar; those beyond it count as open around the clock."""
        self.state = SessionsCheckpoint()
        self._limit = limit
        self._count = 0
        self._opened_ns: dict[str, int | None] = {}
        self._asked_ns: dict[str, int] = {}
        self._loaded: SimpleQueue[tuple[str, Sessions]] = SimpleQueue()
        self._log = structlog.get_logger(part="calendars")

    def resume(self, state: SessionsCheckpoint) -> None:
        """Continues from a state."""
        self.state = state
        self._count = sum(map(len, state.names.values()))

    def define(self, venue: str, instrument: str, calendar: str | None) -> None:
        """Sets the calendar of an instrument; ``None``: it trades around the clock."""
        names = self.state.names.get(venue, {})
        if calendar is None:
            if names.pop(instrument, None) is not None:
                self._count -= 1
            return
        if instrument not in names:
            if self._count >= self._limit:
                return
            self._count += 1
        self.state.names.setdefault(venue, {})[instrument] = calendar

    def name(self, venue: str, instrument: str) -> str | None:
        """Returns the name of an instrument's calendar."""
        return self.state.names.get(venue, {}).get(instrument)

    def advance(self) -> None:
        """Takes what was loaded, and forgets the answers of the previous cycle."""
        if not self._count:
            return
        while not self._loaded.empty():
            name, sessions = self._loaded.get_nowait()
            self.state.sessions[name] = sessions
        self._opened_ns.clear()

    def opened_ns(self, venue: str, instrument: str, now_ns: int) -> int | None:
        """Returns when the present session of an instrument began; ``None`` if it has none.

        0 for one that trades around the clock.
        """
        if not self._count:
            return 0
        name = self.name(venue, instrument)
        if name is None:
            return 0
        if name not in self._opened_ns:
            sessions = self.state.sessions.get(name)
            if sessions is None or now_ns > sessions.until_ns - _RENEW_NS:
                self._load(name, now_ns)
            self._opened_ns[name] = 0 if sessions is None else sessions.opened_ns(now_ns)
        return self._opened_ns[name]

    def _load(self, name: str, now_ns: int) -> None:
        asked_ns = self._asked_ns.get(name)
        if asked_ns is not None and abs(now_ns - asked_ns) < _RETRY_NS:
            return
        self._asked_ns[name] = now_ns
        threading.Thread(target=self._load_in_thread, args=(name, now_ns), daemon=True).start()

    def _load_in_thread(self, name: str, now_ns: int) -> None:
        command = [sys.executable, "-P", "-m", __name__, name, str(now_ns)]
        try:
            done = subprocess.run(  # noqa: S603 - this module; a name is an argument, and no shell reads it
                command, capture_output=True, check=False, timeout=_LOAD_SECONDS
            )
            if done.returncode:
                reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                self._log.warning("calendar_load_failed", calendar=name, reason=reason)
                return
            self._loaded.put((name, msgspec.json.decode(done.stdout, type=Sessions)))
        except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
            self._log.warning("calendar_load_failed", calendar=name, reason=str(error))


def load_sessions(name: str, now_ns: int) -> Sessions:
    """Loads the sessions of a calendar around ``now_ns``; takes a second.

    Raises ``ImportError`` without exchange-calendars, and its ``InvalidCalendarName``.
    """
    import exchange_calendars  # noqa: PLC0415 - optional, and slow to import

    first_ns, last_ns = (ns // _DAY_NS * _DAY_NS for ns in (now_ns - _BEFORE_NS, now_ns + _AFTER_NS))
    first, last = (datetime.fromtimestamp(ns / NS_PER_SECOND, UTC).date() for ns in (first_ns, last_ns))
    calendar = exchange_calendars.get_calendar(name, start=first.isoformat(), end=last.isoformat())
    sessions = Sessions(first_ns, last_ns, [], [])
    for opened, closed, begins, ends in zip(
        calendar.opens_nanos,
        calendar.closes_nanos,
        calendar.break_starts_nanos,
        calendar.break_ends_nanos,
        strict=True,
    ):
        parts = [(opened, closed)]
        if opened < begins < ends < closed:  # a lunch break; its times are negative if there is none
            parts = [(opened, begins), (ends, closed)]
        for part_opened, part_closed in parts:
            sessions.opens_ns.append(int(part_opened))
            sessions.closes_ns.append(int(part_closed))
    return sessions


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(load_sessions(sys.argv[1], int(sys.argv[2]))))
