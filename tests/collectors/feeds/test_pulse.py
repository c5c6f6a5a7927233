from __future__ import annotations

from collectors.feeds.pulse import Pulse
from decahertz.clock import NS_PER_SECOND
from decahertz.event import ConnectionState, Heartbeat
from decahertz.testing import ManualClock


def test_heartbeats_come_at_once_then_once_a_second_and_at_once_after_a_closing_one() -> None:
    clock = ManualClock()
    pulse = Pulse(clock, "feed-x", "coinbase")
    first = Heartbeat(time_ns=clock.time_ns(), component="feed-x", venue="coinbase")
    assert pulse.next(clock.time_ns()) == first
    assert pulse.due_ns() == NS_PER_SECOND
    clock.advance(NS_PER_SECOND - 1)
    assert pulse.next(clock.time_ns()) is None
    clock.advance(1)
    assert pulse.next(clock.time_ns()) is not None
    assert pulse.closed(clock.time_ns()).connection is ConnectionState.CLOSED
    assert pulse.next(clock.time_ns()) is not None
