"""The verdict on a feed: a connected socket is not a live feed.

Of the states that hold, the first of this list is the verdict. All times are those of receipt, by this
machine's clock; "message" means a quote or a print of the instrument, late ones included.

``closed``
    The newest heartbeats about the instrument, or about its venue, say ``closed``: of every component that
    spoke for it in the ``stale_seconds`` before. A heartbeat that opens the instrument itself outweighs an
    earlier one that closed the venue. Messages do not reopen what was closed; only a heartbeat does.
``mute``
    Heartbeats say that the connection is open, since ``mute_seconds`` or longer, and no message came since it
    was opened (or opened again).
``stale``
    Neither a message nor a heartbeat from anything of the venue for ``stale_seconds``.
``gap``
    Numbered messages were missed within the last ``gap_seconds``.
``quiet``
    No message for ``quiet_seconds``, or none yet.
``live``
    Otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from collectors.market.instrument import Instrument
from collectors.market.sample import Verdict


@dataclass(frozen=True, slots=True)
class Limits:
    """The times of the rules, in nanoseconds."""

    mute_ns: int
    stale_ns: int
    gap_ns: int
    quiet_ns: int


def judge(instrument: Instrument, now_ns: int, limits: Limits) -> Verdict:
    """The verdict on an instrument at ``now_ns``, by the rules above."""
    venue = instrument.venue_state
    line = instrument.line
    opened_ns = venue.line.opened_ns
    is_closed = venue.line.is_closed
    if line is not None:
        opened_ns = max(opened_ns, line.opened_ns)
        is_closed = line.is_closed or (is_closed and line.open_word_ns <= venue.line.closed_ns)
    received_ns = instrument.received_ns
    if is_closed:
        return Verdict.CLOSED
    if received_ns < opened_ns <= now_ns - limits.mute_ns:
        return Verdict.MUTE
    if venue.received_ns <= now_ns - limits.stale_ns:
        return Verdict.STALE
    if instrument.gap_ns > now_ns - limits.gap_ns:
        return Verdict.GAP
    if received_ns <= now_ns - limits.quiet_ns:
        return Verdict.QUIET
    return Verdict.LIVE
