"""The feed verdict: a connected socket is not a live feed.

The first of these rules that holds is the verdict, and it is the reason. All times are times of receipt by
this machine's clock; a message is a quote or a tick of the instrument, late ones included. The feed of an
instrument is the emitter of its newest message; its siblings are the other instruments of that feed and
venue. A silence is *unusual* if it is longer than ``mute_cadences`` times the learned cadence
(:mod:`collectors.market.cadence`) and than ``mute_floor_seconds``. The verdicts
``stale`` and ``mute`` count only the time in which the recorder ran (:mod:`collectors.market.watch`).

``closed``
    ``reported``: the newest heartbeats about the instrument, or about its venue, report it closed: those of
    every component that sent one within ``stale_seconds``. A heartbeat that reports the instrument itself
    open overrides an earlier one that closed the venue. Only a heartbeat reopens, a message does not.
    ``out_of_session``: the trading calendar of the instrument has no session now, and no message has arrived
    for ``quiet_seconds``. A silence begins with the session, and with the connection, at the earliest.
``mute``
    ``nothing_since_open``: heartbeats have reported the link open for ``mute_seconds``, and no message has
    arrived since it was (re)opened; of an instrument with a longer cadence only once its silence is unusual.
``stale``
    ``disconnected``: the feed lost its connection after the newest message.
    ``no_sign_of_life``: for ``stale_seconds`` neither a message of any instrument of the venue came, nor a
    heartbeat of a connected feed.
``mute``
    ``feed_silent``: heartbeats prove the connection of the feed, but its silence and that of the instrument
    are unusual: no sibling speaks either.
``gap``
    ``messages_missed``: sequence numbers were missed within the last ``gap_seconds``.
``quiet``
    No message of the instrument for ``quiet_seconds``, or none yet. ``no_message``: none yet.
    ``usual``: the silence is not unusual. ``siblings_speak``: it is, but messages of siblings arrive.
    ``unknown``: too few messages to know the cadence, or a feed without heartbeats.
``live``
    ``messages_arrive``: otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from collectors.market.cadence import Cadence
from collectors.market.instrument import InstrumentState
from collectors.market.sample import Verdict, VerdictReason
from collectors.market.watch import Watch


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The times in the rules, in nanoseconds."""

    mute_ns: int
    mute_floor_ns: int
    mute_cadences: float
    stale_ns: int
    gap_ns: int
    quiet_ns: int

    @property
    def live_ns(self) -> int:
        """Silence up to which a live instrument stays live, whatever its cadence."""
        return min(self.mute_ns, self.mute_floor_ns, self.stale_ns, self.quiet_ns)

    def unusual_ns(self, cadence: Cadence) -> int:
        """Returns how long a silence must be to be unusual."""
        return max(self.mute_floor_ns, int(self.mute_cadences * cadence.ns))


Finding: TypeAlias = tuple[Verdict, VerdictReason]
# Class attributes of an enumeration are slow to read, and there is one for each instrument and cycle.
LIVE: Finding = (Verdict.LIVE, VerdictReason.MESSAGES_ARRIVE)
_REPORTED: Finding = (Verdict.CLOSED, VerdictReason.REPORTED)
_OUT_OF_SESSION: Finding = (Verdict.CLOSED, VerdictReason.OUT_OF_SESSION)
_NOTHING_SINCE_OPEN: Finding = (Verdict.MUTE, VerdictReason.NOTHING_SINCE_OPEN)
_FEED_SILENT: Finding = (Verdict.MUTE, VerdictReason.FEED_SILENT)
_DISCONNECTED: Finding = (Verdict.STALE, VerdictReason.DISCONNECTED)
_NO_SIGN_OF_LIFE: Finding = (Verdict.STALE, VerdictReason.NO_SIGN_OF_LIFE)
_MISSED: Finding = (Verdict.GAP, VerdictReason.MESSAGES_MISSED)
_NO_MESSAGE: Finding = (Verdict.QUIET, VerdictReason.NO_MESSAGE)
_USUAL: Finding = (Verdict.QUIET, VerdictReason.USUAL)
_SIBLINGS_SPEAK: Finding = (Verdict.QUIET, VerdictReason.SIBLINGS_SPEAK)
_UNKNOWN: Finding = (Verdict.QUIET, VerdictReason.UNKNOWN)


def judge(  # noqa: C901, PLR0911 - a list of rules
    instrument: InstrumentState, now_ns: int, thresholds: Thresholds, watch: Watch, session_ns: int | None = 0
) -> Finding:
    """Returns the verdict on an instrument at ``now_ns``, and its reason.

    ``session_ns``: when its trading session began; 0: it trades around the clock; ``None``: it has no session
    now.
    """
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
        return _REPORTED
    if session_ns is None:
        return LIVE if now_ns - received_ns < thresholds.quiet_ns else _OUT_OF_SESSION
    opened_ns = max(opened_ns, session_ns) if opened_ns else 0
    cadence = instrument.cadence
    if received_ns < opened_ns <= now_ns - thresholds.mute_ns:
        silence_ns = watch.silence_ns(opened_ns, now_ns)
        if silence_ns >= thresholds.mute_ns and (
            not cadence.is_known or silence_ns >= thresholds.unusual_ns(cadence)
        ):
            return _NOTHING_SINCE_OPEN
    # Before the first message the connection has ``stale_seconds`` to be made.
    if 0 < received_ns <= lost_ns:
        return _DISCONNECTED
    if watch.silence_ns(venue.received_ns, now_ns) >= thresholds.stale_ns:
        return _DISCONNECTED if lost_ns else _NO_SIGN_OF_LIFE
    silence_ns = now_ns - max(received_ns, session_ns)
    found = LIVE
    if silence_ns >= thresholds.mute_floor_ns or silence_ns >= thresholds.quiet_ns:
        found = _silence(instrument, now_ns, thresholds, watch, max(session_ns, opened_ns))
        if found is _FEED_SILENT:
            return found
    if instrument.gap_ns > now_ns - thresholds.gap_ns:
        return _MISSED
    return found if silence_ns >= thresholds.quiet_ns else LIVE


def _silence(
    instrument: InstrumentState, now_ns: int, thresholds: Thresholds, watch: Watch, begin_ns: int
) -> Finding:
    """Returns what the silence of an instrument means; it begins at ``begin_ns`` at the earliest."""
    feed = instrument.feed
    if not instrument.received_ns or feed is None:
        return _NO_MESSAGE
    if not instrument.cadence.is_known:
        return _UNKNOWN
    silence_ns = watch.silence_ns(max(instrument.received_ns, begin_ns), now_ns)
    if silence_ns < thresholds.unusual_ns(instrument.cadence):
        return _USUAL
    silence_ns = watch.silence_ns(max(feed.received_ns, begin_ns), now_ns)
    if silence_ns < thresholds.unusual_ns(feed.cadence):
        return _SIBLINGS_SPEAK
    if feed.heartbeat_ns <= now_ns - thresholds.stale_ns:
        return _UNKNOWN
    return _FEED_SILENT
