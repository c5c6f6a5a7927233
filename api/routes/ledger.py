"""The loss ledger: accounts for every emitted event and sample."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.parts import Request
from decahertz.ledger import StreamLedger


class LedgerReport(Struct, frozen=True, kw_only=True):
    """A consistent reading of all streams of this recorder."""

    recorder: str
    """Name of this recorder."""
    time_ns: int
    balanced: bool
    """Whether every stream adds up. An imbalance is a bug in this program."""
    streams: list[StreamLedger]


async def ledger(request: Request[NoQuery, None]) -> LedgerReport:
    """Returns the account of each stream: `emitted = stored + spooled + dropped`.

    A stream is `events:{source}` or `samples:{collector}`. The counts are rows (one event or one sample each)
    since the spool was created; they survive restarts. Losses reported by an emitter count as
    `client_{reason}`.
    """
    streams = request.parts.ledger()
    return LedgerReport(
        recorder=request.parts.recorder,
        time_ns=request.parts.clock.time_ns(),
        balanced=all(stream.imbalance == 0 for stream in streams),
        streams=streams,
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/ledger",
        summary="The loss ledger",
        handler=ledger,
        response=LedgerReport,
    ),
)
