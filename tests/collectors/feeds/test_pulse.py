from __future__ import annotations

from collectors.feeds.pulse import Pulse
from decahertz.clock import NS_PER_SECOND
from decahertz.event import ConnectionState, Heartbeat
from decahertz.testing import ManualClock

OPEN, CLOSED, DISCONNECTED = ConnectionState.OPEN, ConnectionState.CLOSED, ConnectionState.DISCONNECTED


def test_heartbeats_come_at_once_then_once_a_second_and_at_once_after_a_closing_one() -> None:
    clock = ManualClock()
    pulse = Pulse(clock, "feed-x", "coinbase")
    first = Heartbeat(time_ns=clock.time_ns(), component="feed-x", venue="coinbase")
    assert pulse.next(clock.time_ns()) == [first]
    assert pulse.due_ns() == NS_PER_SECOND
    clock.advance(NS_PER_SECOND - 1)
    assert pulse.next(clock.time_ns()) == []
    clock.advance(1)
    assert len(pulse.next(clock.time_ns())) == 1
    assert [beat.connection for beat in pulse.closed(clock.time_ns())] == [CLOSED]
    assert len(pulse.next(clock.time_ns())) == 1


def test_a_change_of_the_connection_is_told_of_every_instrument() -> None:
    clock = ManualClock()
    pulse = Pulse(clock, "feed-x", "coinbase", ["A", "B"])
    now_ns = clock.time_ns()

    def told(beats: list[Heartbeat]) -> list[tuple[str | None, ConnectionState]]:
        return [(beat.instrument, beat.connection) for beat in beats]

    lost = [(None, DISCONNECTED), ("A", DISCONNECTED), ("B", DISCONNECTED)]
    assert told(pulse.disconnected(now_ns)) == lost
    assert told(pulse.next(now_ns)) == [(None, OPEN), ("A", OPEN), ("B", OPEN)]
    clock.advance(NS_PER_SECOND)
    assert told(pulse.next(now_ns)) == [(None, OPEN)]
    assert told(pulse.disconnected(now_ns)) == lost
