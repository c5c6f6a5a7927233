"""Trading sessions: what exchange-calendars says, and the verdict on an instrument that has a calendar."""

from __future__ import annotations

import time

import msgspec
import pytest

from collectors.common.checkpoints import decode, encode
from collectors.market.collector import MarketCheckpoint, MarketCollector, MarketOptions
from collectors.market.sample import MarketSample
from collectors.market.sessions import Calendars, Sessions, load_sessions
from decahertz.clock import SystemClock, parse_time
from decahertz.event import Heartbeat, Instrument, InstrumentKind, Quote, Tick
from tests.collectors.parts import ns

pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")

NOON = parse_time("2026-01-02T17:00:00Z")
HOUR = 3600.0


def sessions_of(*hours: tuple[float, float]) -> Sessions:
    """Sessions by hours after the start."""
    return Sessions(
        ns(-HOUR), ns(1000 * HOUR), [ns(a * HOUR) for a, _ in hours], [ns(b * HOUR) for _, b in hours]
    )


@pytest.mark.filterwarnings("ignore")  # those of pandas; the recorder loads in a process of its own
@pytest.mark.parametrize(
    ("calendar", "time", "opened"),
    [
        ("XNYS", "2026-01-02T14:29:59Z", None),
        ("XNYS", "2026-01-02T14:30:00Z", "2026-01-02T14:30:00Z"),
        ("XNYS", "2026-01-02T20:59:59Z", "2026-01-02T14:30:00Z"),
        ("XNYS", "2026-01-02T21:00:00Z", None),
        ("XNYS", "2026-01-01T17:00:00Z", None),  # a holiday
        ("XNYS", "2026-01-03T17:00:00Z", None),  # a Saturday
        ("XNYS", "2025-12-24T18:30:00Z", None),  # closes early
        ("XHKG", "2026-01-05T03:59:59Z", "2026-01-05T01:30:00Z"),
        ("XHKG", "2026-01-05T04:30:00Z", None),  # lunch
        ("XHKG", "2026-01-05T05:00:00Z", "2026-01-05T05:00:00Z"),
        ("XNYS", "2027-01-05T05:00:00Z", 0),  # beyond what is loaded: it counts as open
    ],
)
def test_sessions(calendar: str, time: str, opened: str | int | None) -> None:
    found = load_sessions(calendar, NOON).opened_ns(parse_time(time))
    assert found == (parse_time(opened) if isinstance(opened, str) else opened)


def test_a_calendar_is_loaded_by_a_thread_and_until_then_the_instrument_is_open() -> None:
    calendars = Calendars(10)
    calendars.define("v", "A", "XNYS")
    calendars.define("v", "B", "no such calendar")
    holiday = parse_time("2026-01-01T17:00:00Z")
    calendars.advance()
    before, used = time.monotonic(), time.thread_time()
    assert calendars.opened_ns("v", "A", holiday) == 0
    assert calendars.opened_ns("v", "B", holiday) == 0
    assert calendars.opened_ns("v", "C", holiday) == 0
    assert time.thread_time() - used < 0.2  # of this thread, whatever else the machine does
    while calendars.opened_ns("v", "A", holiday) == 0:
        assert time.monotonic() - before < 30
        time.sleep(0.01)
        calendars.advance()
    assert calendars.opened_ns("v", "A", holiday) is None
    assert calendars.opened_ns("v", "B", holiday) == 0
    assert calendars.opened_ns("w", "A", holiday) == 0
    calendars.define("v", "A", None)
    assert calendars.opened_ns("v", "A", holiday) == 0


def test_instruments_beyond_the_limit_count_as_open() -> None:
    calendars = Calendars(1)
    calendars.define("v", "A", "XNYS")
    calendars.define("v", "B", "XNYS")
    assert calendars.state.names == {"v": {"A": "XNYS"}}


class Desk:
    """A market collector with an instrument of a calendar, and a feed that sends heartbeats."""

    def __init__(self) -> None:
        self.collector = MarketCollector(SystemClock(), MarketOptions())
        definition = Instrument(
            time_ns=ns(0), venue="v", instrument="A", kind=InstrumentKind.FUTURE, calendar="DAY"
        )
        self.collector.on_event(definition, ns(0))
        self.collector._calendars.state.sessions["DAY"] = sessions_of((1, 2), (25, 26))

    def said(self, at: float) -> tuple[str, str]:
        (sample,) = self.collector.sample(ns(at))
        assert isinstance(sample, MarketSample)
        return sample.verdict.value, sample.verdict_reason.value

    def play(self, start: float, end: float, *, is_trading: bool) -> None:
        """Heartbeats every second and, if it trades, ticks; a cycle each second."""
        for second in range(round(start), round(end)):
            self.collector.on_event(Heartbeat(time_ns=ns(second), component="f", venue="v"), ns(second))
            if is_trading:
                tick = Tick(time_ns=ns(second), venue="v", instrument="A", price=1.0, size=1.0)
                self.collector.on_event(tick, ns(second))
            self.collector.sample(ns(second))


def test_a_closed_session_is_closed_and_not_mute_or_stale() -> None:
    desk = Desk()
    desk.play(HOUR, 2 * HOUR, is_trading=True)
    assert desk.said(2 * HOUR) == ("live", "messages_arrive")
    assert desk.said(2 * HOUR + 5) == ("closed", "out_of_session")
    desk.play(2 * HOUR, 2 * HOUR + 60, is_trading=False)
    assert desk.said(2 * HOUR + 60) == ("closed", "out_of_session")
    assert desk.said(2 * HOUR + 600) == ("closed", "out_of_session")  # nobody sends heartbeats at night
    # In the morning the silence begins with the session, and the feed has the time that it usually takes.
    desk.play(25 * HOUR - 60, 25 * HOUR + 3, is_trading=False)
    assert desk.said(25 * HOUR + 2.9) == ("live", "messages_arrive")
    assert desk.said(25 * HOUR + 3.1) == ("mute", "feed_silent")
    desk.play(25 * HOUR + 4, 25 * HOUR + 60, is_trading=True)
    assert desk.said(25 * HOUR + 60) == ("live", "messages_arrive")


def test_messages_out_of_session_are_live() -> None:
    desk = Desk()
    desk.play(HOUR, 2 * HOUR, is_trading=True)
    desk.collector.on_event(Quote(time_ns=ns(3 * HOUR), venue="v", instrument="A"), ns(3 * HOUR))
    assert desk.said(3 * HOUR) == ("live", "messages_arrive")
    assert desk.said(3 * HOUR + 5) == ("closed", "out_of_session")


def test_the_night_does_not_make_the_cadence_longer() -> None:
    desk = Desk()
    desk.play(HOUR, HOUR + 60, is_trading=True)
    desk.play(25 * HOUR, 25 * HOUR + 2, is_trading=True)
    (sample,) = desk.collector.sample(ns(25 * HOUR + 2))
    assert isinstance(sample, MarketSample)
    assert sample.cadence_seconds == 1.0


def test_sessions_survive_a_restart() -> None:
    desk = Desk()
    desk.play(HOUR, HOUR + 60, is_trading=True)
    state, _ = decode(encode(desk.collector.checkpoint()), MarketCheckpoint)
    after = MarketCollector(SystemClock(), MarketOptions())
    after.resume(state)
    for at in (HOUR + 61, 2 * HOUR + 10, 2 * HOUR + 20):
        assert list(map(msgspec.to_builtins, after.sample(ns(at)))) == list(
            map(msgspec.to_builtins, desk.collector.sample(ns(at)))
        )
