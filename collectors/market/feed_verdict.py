"""The feed verdict: a connected socket is not a live feed.

The first of these rules that holds is the verdict. All times are times of receipt by this machine's clock;
a message is a quote or a tick of the instrument, late ones included.

``closed``
    The newest heartbeats about the instrument, or about its venue, report it closed: those of every component
    that sent one within ``stale_seconds``. A heartbeat that reports the instrument itself open overrides an
    earlier one that closed the venue. Only a heartbeat reopens, a message does not.
``mute``
    Heartbeats have reported the link open for ``mute_seconds``, and no message has arrived since it was
    (re)opened.
``stale``
    The feed lost its connection after the newest message; or for ``stale_seconds`` neither a message of any
    instrument of the venue came, nor a heartbeat of a connected feed.
``gap``
    Sequence numbers were missed within the last ``gap_seconds``.
``quiet``
    No message of the instrument for ``quiet_seconds``, or none yet.
``live``
    Otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from collectors.market.instrument import InstrumentState
from collectors.market.sample import Verdict


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The times in the rules, in nanoseconds."""

    mute_ns: int
    stale_ns: int
    gap_ns: int
    quiet_ns: int


def judge(instrument: InstrumentState, now_ns: int, thresholds: Thresholds) -> Verdict:
    """Returns the verdict on an instrument at ``now_ns``."""
    venue = instrument.venue_state
    link = instrument.link
    opened_ns = venue.link.opened_ns
    is_closed, lost_ns = venue.link.is_closed, venue.link.lost_ns
    if link is not None:
        opened_ns = max(opened_ns, link.opened_ns)
        lost_ns = link.lost_ns
        is_closed = link.is_closed or (is_closed and link.last_open_ns <= venue.link.closed_ns)
    received_ns = instrument.received_ns
    if is_closed:
        return Verdict.CLOSED
    if received_ns < opened_ns <= now_ns - thresholds.mute_ns:
        return Verdict.MUTE
    # Before the first message the connection has ``stale_seconds`` to be made.
    if venue.received_ns <= now_ns - thresholds.stale_ns or 0 < received_ns <= lost_ns:
        return Verdict.STALE
    if instrument.gap_ns > now_ns - thresholds.gap_ns:
        return Verdict.GAP
    if received_ns <= now_ns - thresholds.quiet_ns:
        return Verdict.QUIET
    return Verdict.LIVE
