"""Feed truth: what each instrument's feed has delivered, and the verdict on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.live_state import market_state
from api.routes.records import Text
from collectors.market.collector import JudgedInstrument
from collectors.market.sample import Verdict, VerdictReason
from decahertz.clock import NS_PER_SECOND
from decahertz.quantities import Seconds, TimeNanoseconds


class FeedConnection(StrEnum):
    """State of the connection, as heartbeats report it."""

    OPEN = "open"
    CLOSED = "closed"
    """The feed reports the market closed."""
    DISCONNECTED = "disconnected"
    UNKNOWN = "unknown"
    """No heartbeats of this instrument's feed or venue."""


class FeedsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of feed truth; absent parameters do not filter."""

    venue: Text | None = None
    instrument: Text | None = None
    verdict: Verdict | None = None


class InstrumentFeed(Struct, frozen=True, kw_only=True):
    """The feed of one instrument. Times of receipt are by this machine's clock."""

    venue: str
    instrument: str
    feed: str | None
    """The emitter of its newest message; null before the first one."""
    verdict: Verdict
    reason: VerdictReason
    """The rule that decided the verdict."""
    connection: FeedConnection
    heartbeat_ns: TimeNanoseconds | None
    """Receipt of the newest heartbeat of the feed that reported it open."""
    venue_ns: TimeNanoseconds | None
    """Time of the newest quote or tick, by the venue's clock."""
    received_ns: TimeNanoseconds | None
    """Receipt of the newest quote or tick."""
    changed_ns: TimeNanoseconds | None
    """Receipt of the last change of bid, ask or last price."""
    silence_seconds: Seconds | None
    """Since that receipt."""
    cadence_seconds: Seconds | None
    """Learned cadence: the longest silence that is usual at present; null before ten silences."""
    quote_sequence: int | None
    """The venue's number of the newest quote."""
    tick_sequence: int | None
    """The venue's number of the newest tick."""
    missed: int
    """Messages missed, by the venue's numbers."""
    missed_ns: TimeNanoseconds | None
    """When messages were missed last."""
    late: int
    """Messages that arrived after a newer one of the same type."""
    calendar: str | None
    """Trading calendar; null: around the clock."""
    is_in_session: bool


class InstrumentFeeds(Struct, frozen=True, kw_only=True):
    """The feeds of all instruments."""

    time_ns: TimeNanoseconds
    items: list[InstrumentFeed]


async def market_feeds(request: Request[FeedsQuery, None]) -> InstrumentFeeds:
    """Returns what each instrument's feed has delivered and the verdict on it, with its reason."""
    query, now_ns = request.query, request.parts.clock.time_ns()
    items = [
        _feed(judged, now_ns)
        for judged in market_state(request.parts).judged(now_ns)
        if query.venue in (None, judged.state.venue)
        and query.instrument in (None, judged.state.instrument)
        and query.verdict in (None, judged.verdict)
    ]
    if not items:
        await check_known(request.parts, {"instrument": query.instrument})
    return InstrumentFeeds(time_ns=now_ns, items=items)


def _feed(judged: JudgedInstrument, now_ns: int) -> InstrumentFeed:
    state = judged.state
    quote_sequence, tick_sequence = state.sequences
    received_ns = state.received_ns or None
    return InstrumentFeed(
        venue=state.venue,
        instrument=state.instrument,
        feed=state.feed.emitter if state.feed is not None else None,
        verdict=judged.verdict,
        reason=judged.reason,
        connection=_connection(judged),
        heartbeat_ns=(state.feed.heartbeat_ns or None) if state.feed is not None else None,
        venue_ns=state.venue_ns or None,
        received_ns=received_ns,
        changed_ns=state.changed_ns or None,
        silence_seconds=max(now_ns - received_ns, 0) / NS_PER_SECOND if received_ns else None,
        cadence_seconds=state.cadence.ns / NS_PER_SECOND if state.cadence.is_known else None,
        quote_sequence=quote_sequence,
        tick_sequence=tick_sequence,
        missed=state.gaps,
        missed_ns=state.gap_ns or None,
        late=state.late,
        calendar=judged.calendar,
        is_in_session=judged.is_in_session,
    )


def _connection(judged: JudgedInstrument) -> FeedConnection:
    state = judged.state
    link = state.link if state.link is not None else state.venue_state.link
    if judged.reason is VerdictReason.REPORTED:
        return FeedConnection.CLOSED
    if link.lost_ns:
        return FeedConnection.DISCONNECTED
    return (
        FeedConnection.OPEN
        if max(link.opened_ns, state.venue_state.link.opened_ns)
        else FeedConnection.UNKNOWN
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/market/feeds",
        summary="Feed truth",
        handler=market_feeds,
        query=FeedsQuery,
        response=InstrumentFeeds,
        problems=("not-enabled", "database-unavailable", "unknown-name"),
    ),
)
