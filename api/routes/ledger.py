"""The loss ledger: where everything that was emitted is now."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import Call, Route, Scope
from decahertz.ledger import StreamLedger


class LedgerReport(Struct, frozen=True, kw_only=True):
    """All streams at one moment."""

    time_ns: int
    balanced: bool
    """Whether every stream adds up; where one does not, the program has an error."""
    streams: list[StreamLedger]


async def ledger(call: Call[NoQuery, None]) -> LedgerReport:
    """What was emitted, and what became of it: `emitted = stored + spooled + dropped`, for each stream.

    A stream is `events:{source}` or `samples:{collector}`. The counts are rows, one event or one sample each,
    since the spool was made; they survive restarts. What an emitter lost itself is counted as
    `client_{reason}`.
    """
    streams = call.parts.ledger()
    return LedgerReport(
        time_ns=call.parts.clock.time_ns(),
        balanced=all(stream.imbalance == 0 for stream in streams),
        streams=streams,
    )


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/ledger",
        summary="The loss ledger",
        handler=ledger,
        response=LedgerReport,
        scope=Scope.READ,
    ),
)
