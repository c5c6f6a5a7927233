"""The feed verdict and its reason, case by case: a script of events, and what is said when."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from collectors.market.cadence import MIN_SILENCES, Cadence
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.market.sample import MarketSample
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import ConnectionState, Heartbeat, Quote, Tick
from tests.collectors.parts import ns


@dataclass
class Script:
    """Events of a market, in order of their times in seconds; played ten times a second."""

    events: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    def ticks(
        self, start: float, end: float, every: float, instrument: str = "A", emitter: str = "feed"
    ) -> Script:
        count = round((end - start) / every)
        at = (start + n * every for n in range(count))
        self.events += [(time, emitter, {"instrument": instrument}) for time in at]
        return self

    def heartbeats(
        self,
        start: float,
        end: float,
        connection: ConnectionState = ConnectionState.OPEN,
        emitter: str = "feed",
        instrument: str | None = None,
    ) -> Script:
        at = (start + n for n in range(round(end - start)))
        self.events += [(time, emitter, {"connection": connection, "instrument": instrument}) for time in at]
        return self

    def tick(self, at: float, instrument: str = "A", **more: Any) -> Script:  # noqa: ANN401 - any field
        self.events.append((at, "feed", {"instrument": instrument, **more}))
        return self

    def said(self, end: float, instrument: str = "A", **options: Any) -> list[tuple[float, str, str]]:  # noqa: ANN401 - any option
        """Every change of verdict and reason of an instrument, with its time."""
        collector = MarketCollector(SystemClock(), MarketOptions(**options))
        changes: list[tuple[float, str, str]] = []
        waiting = sorted(self.events, key=lambda one: one[0])
        place = 0
        for cycle in range(1, round(end * 10) + 1):
            now = cycle / 10
            while place < len(waiting) and waiting[place][0] <= now:
                at, emitter, values = waiting[place]
                place += 1
                for budget in collector.budgets:
                    budget.emitter = emitter
                common = {"venue": "v", "time_ns": ns(at), **values}
                event = (
                    Heartbeat(component=emitter, **common)
                    if "connection" in values
                    else Tick(price=1.0, size=1.0, **common)
                )
                collector.on_event(event, ns(at))
            for sample in collector.sample(ns(now)):
                assert isinstance(sample, MarketSample)
                if sample.instrument == instrument:
                    said = (sample.verdict.value, sample.verdict_reason.value)
                    if not changes or changes[-1][1:] != said:
                        changes.append((now, *said))
        return changes


LIVE = ("live", "messages_arrive")
SILENT = ("mute", "feed_silent")
LOST, CLOSED = ConnectionState.DISCONNECTED, ConnectionState.CLOSED

CASES: dict[str, tuple[Script, list[tuple[float, str, str]]]] = {
    "C16: heartbeats without data after ten ticks a second": (
        Script().heartbeats(0, 60).ticks(1, 11, 0.1),
        [(1.0, *LIVE), (13.9, *SILENT)],
    ),
    "a slow market is mute after three times its cadence, and not before": (
        Script().heartbeats(0, 200).ticks(1, 101, 10),
        [(1.0, *LIVE)]
        + [
            change
            for n in range(9)
            for change in ([(6.0 + 10 * n, "quiet", "unknown"), (11.0 + 10 * n, *LIVE)])
        ]
        + [(96.0, "quiet", "unknown")],  # nine silences: not known yet
    ),
    "it is live again with the first message": (
        Script().heartbeats(0, 60).ticks(1, 11, 0.1).ticks(30, 31, 0.1),
        [(1.0, *LIVE), (13.9, *SILENT), (30.0, *LIVE), (33.9, *SILENT)],
    ),
    "without heartbeats a silence proves nothing": (
        Script().ticks(1, 11, 0.1),
        [(1.0, *LIVE), (15.9, "quiet", "unknown"), (25.9, "stale", "no_sign_of_life")],
    ),
    "heartbeats of another feed prove nothing about this one": (
        Script().ticks(1, 11, 0.1).heartbeats(0, 60, emitter="other"),
        [(1.0, *LIVE), (15.9, "quiet", "unknown")],
    ),
    "a sibling that another feed delivers does not speak for this one": (
        Script().heartbeats(0, 60).ticks(1, 11, 0.1).ticks(1, 60, 0.1, "B", emitter="other"),
        [(1.0, *LIVE), (13.9, *SILENT)],
    ),
    "a lost connection is stale, whatever the cadence": (
        Script().heartbeats(0, 12).ticks(1, 11, 0.1).heartbeats(12, 60, LOST),
        [(1.0, *LIVE), (12.0, "stale", "disconnected")],
    ),
    "a closed market is closed, and not mute": (
        Script().heartbeats(0, 12).ticks(1, 11, 0.1).heartbeats(12, 60, CLOSED),
        [(1.0, *LIVE), (12.0, "closed", "reported")],
    ),
    "a feed that connects and never delivers": (
        Script().heartbeats(0, 60, instrument="A"),
        [(0.1, "quiet", "no_message"), (15.0, "mute", "nothing_since_open")],
    ),
    "an instrument of a long cadence has the time of its cadence after a reconnect": (
        Script().heartbeats(0, 240).ticks(1, 221, 20).heartbeats(230, 231, LOST).heartbeats(231, 400),
        [(1.0, *LIVE)]
        + [
            change
            for n in range(10)
            for change in ([(6.0 + 20 * n, "quiet", "unknown"), (21.0 + 20 * n, *LIVE)])
        ]
        + [
            (206.0, "quiet", "usual"),
            (230.0, "stale", "disconnected"),
            (231.0, "quiet", "usual"),
            (291.0, "mute", "nothing_since_open"),
        ],
    ),
    "missed messages": (
        Script().heartbeats(0, 30).ticks(1, 5, 0.1).tick(5, missed=3).ticks(5.1, 30, 0.1),
        [(1.0, *LIVE), (5.0, "gap", "messages_missed"), (15.0, *LIVE)],
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_verdict_and_its_reason(case: str) -> None:
    script, expected = CASES[case]
    assert script.said(end=max(expected[-1][0] + 5, 30)) == expected


def test_a_quiet_instrument_among_live_siblings_is_quiet_for_an_hour() -> None:
    script = Script().heartbeats(0, 3660).ticks(1, 60, 0.1).ticks(1, 3660, 0.5, "B")
    assert script.said(end=3655) == [
        (1.0, *LIVE),
        (64.9, "quiet", "siblings_speak"),
    ]


def test_a_feed_of_two_is_mute_when_both_are_silent() -> None:
    script = Script().heartbeats(0, 200).ticks(1, 61, 0.1).ticks(1, 61, 1, "B")
    assert script.said(end=100)[-1] == (63.9, *SILENT)
    assert script.said(end=100, instrument="B")[-1] == (63.9, *SILENT)


def test_random_arrivals_are_never_mute() -> None:
    random, at = Random(12), 0.0
    script = Script().heartbeats(0, 3600)
    while at < 3590:
        at += random.expovariate(0.5)
        script.tick(at)
    assert "mute" not in {verdict for _, verdict, _ in script.said(end=3590)}


# The learned cadence.


def learned(*silences: float) -> Cadence:
    cadence = Cadence()
    at = NS_PER_SECOND
    for silence in (0.0, *silences):
        at += round(silence * NS_PER_SECOND)
        cadence.observe(at)
    return cadence


def test_a_cadence_is_known_after_ten_silences() -> None:
    assert not learned(*[1.0] * (MIN_SILENCES - 1)).is_known
    cadence = learned(*[1.0] * MIN_SILENCES)
    assert (cadence.is_known, cadence.ns) == (True, NS_PER_SECOND)


def test_a_burst_does_not_shorten_it() -> None:
    cadence = learned(*[10.0] * 20, *[0.1] * 1000, 10.0)
    assert cadence.ns == 10 * NS_PER_SECOND
    assert learned(*[10.0] * 20, *[0.1] * 1000).ns == pytest.approx(8.6e9, rel=0.03)


def test_one_outage_at_most_doubles_it() -> None:
    assert learned(*[1.0] * 20, 3600.0).ns == 2 * NS_PER_SECOND


def test_it_follows_a_market_that_gets_slower_and_faster() -> None:
    assert learned(*[0.1] * 100, *[20.0] * 8).ns == 20 * NS_PER_SECOND
    assert learned(*[20.0] * 20, *[0.1] * 36_000).ns < 2 * NS_PER_SECOND


def test_a_silence_with_a_reconnect_in_it_teaches_nothing() -> None:
    cadence = learned(*[1.0] * 20)
    at = 21 * NS_PER_SECOND
    cadence.observe(at + 2 * NS_PER_SECOND, opened_ns=at + NS_PER_SECOND)
    assert cadence.ns == NS_PER_SECOND


def test_a_clock_that_steps_back_teaches_nothing() -> None:
    cadence = learned(*[1.0] * 20)
    cadence.observe(5)
    assert cadence.ns == NS_PER_SECOND
    cadence.observe(5 + NS_PER_SECOND)
    assert cadence.ns == NS_PER_SECOND


def test_quotes_count_as_messages() -> None:
    collector = MarketCollector(SystemClock(), MarketOptions())
    for n in range(20):
        collector.on_event(Quote(time_ns=ns(n), venue="v", instrument="A"), ns(n))
        (sample,) = collector.sample(ns(n))
    assert isinstance(sample, MarketSample)
    assert sample.cadence_seconds == 1.0


@pytest.mark.parametrize("seconds", [4.0, 600.0])
def test_a_stall_of_the_recorder_is_no_silence_of_the_venue(seconds: float) -> None:
    """A blocked process, a suspended machine, a restart: the venue has its time to speak after it."""
    collector = MarketCollector(SystemClock(), MarketOptions(stale_seconds=4, mute_seconds=4))
    said = play(collector, 0.1, 10.0, is_alive=True)
    assert said == {LIVE}
    restarted = MarketCollector(SystemClock(), MarketOptions(stale_seconds=4, mute_seconds=4))
    restarted.resume(collector.checkpoint())
    end = 10.0 + seconds
    said = play(restarted, end, end + 3.8, is_alive=False)
    assert not {verdict for verdict, _ in said} & {"stale", "mute"}
    assert play(restarted, end + 3.9, end + 5, is_alive=False) >= {("stale", "no_sign_of_life")}


def test_a_feed_that_was_silent_before_a_stall_gets_only_the_time_of_the_stall() -> None:
    collector = MarketCollector(SystemClock(), MarketOptions(stale_seconds=4))
    play(collector, 0.1, 10.0, is_alive=True)
    play(collector, 10.1, 12.0, is_alive=False)
    said = play(collector, 20.0, 21.8, is_alive=False)
    assert "stale" not in {verdict for verdict, _ in said}
    assert ("stale", "no_sign_of_life") in play(collector, 21.9, 22.2, is_alive=False)


def test_stalls_teach_nothing_about_the_cadence() -> None:
    collector = MarketCollector(SystemClock(), MarketOptions())
    play(collector, 0.1, 10.0, is_alive=True)
    play(collector, 15.0, 16.0, is_alive=True)
    (sample,) = collector.sample(ns(16.1))
    assert isinstance(sample, MarketSample)
    assert sample.cadence_seconds == pytest.approx(0.1)


def play(collector: MarketCollector, start: float, end: float, *, is_alive: bool) -> set[tuple[str, str]]:
    """The verdicts and reasons of all cycles, with a tick and a heartbeat just before each if it is alive."""
    said = set()
    for cycle in range(round(start * 10), round(end * 10) + 1):
        at = ns(cycle / 10)
        if is_alive:
            collector.on_event(Heartbeat(time_ns=at, component="feed", venue="v"), at)
            collector.on_event(Tick(time_ns=at, venue="v", instrument="A", price=1.0, size=1.0), at)
        for sample in collector.sample(at):
            assert isinstance(sample, MarketSample)
            said.add((sample.verdict.value, sample.verdict_reason.value))
    return said
