"""Keeps the database within ``storage.max_bytes``: drops the oldest raw rows before their retention.

Raw samples, quotes and ticks go first, a day (TimescaleDB: a chunk) of all of them at a time, down to the day
that is being written; then the ``1s`` tier, then ``1m``. The raw rows are counted in ``expired_rows``, in the
transaction that drops them; the ledger shows these counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from storage.schema.events import BULK_EVENTS
from storage.tiers.names import Tier

if TYPE_CHECKING:
    from storage.database import AnyConnection

Counts: TypeAlias = Mapping[tuple[str, str], int]
"""Rows by recorder and stream of the ledger."""

RAW_EVENTS = frozenset(event.table for event in BULK_EVENTS if event.follows_raw)
"""Tables of events that are dropped with the raw samples of their time."""
TIERS = (Tier.RAW, Tier.S1, Tier.M1)
"""Tiers whose rows are dropped, in this order; hours are kept."""
_SIZE = "SELECT pg_database_size(current_database())"
_RECORD = """
INSERT INTO expired_rows (recorder, stream, rows)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (recorder, stream) DO UPDATE SET rows = expired_rows.rows + EXCLUDED.rows, time = now()
"""
_EXPIRED = "SELECT stream, rows FROM expired_rows WHERE recorder = $1"


@dataclass(slots=True)
class Expiry:
    """Result of one step."""

    tier: Tier
    horizon: datetime
    """All older rows of the tier are dropped, and with raw samples quotes and ticks."""
    rows: int = 0
    """Raw samples and events among them."""
    problems: list[str] = field(default_factory=list)
    """Reasons why a table keeps its rows, in words."""


class Expires(Protocol):
    """The part of :class:`storage.tiers.engine.Engine` that is used here."""

    async def expire_oldest(self, connection: AnyConnection, tier: Tier, now_ns: int) -> Expiry | None:
        """See :meth:`storage.tiers.engine.Engine.expire_oldest`."""
        ...


class SizeLimit:
    """The limit of a database, in bytes; 0: none."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept_from: dict[Tier, datetime] = {}
        self._log = structlog.get_logger(part="tiers")

    @property
    def note(self) -> str:
        """Rows that the limit has dropped since the start, in words for the health; empty: none."""
        kept = ", ".join(f"{tier} from {start:%Y-%m-%d %H:%M} on" for tier, start in self._kept_from.items())
        return f"storage.max_bytes has dropped older rows: {kept}" if kept else ""

    async def keep(self, connection: AnyConnection, engine: Expires, now_ns: int) -> list[str]:
        """Drops the oldest rows until the database is within its limit; returns the problems, in words."""
        if not self._max_bytes:
            return []
        size: int = await connection.fetchval(_SIZE)
        for tier in TIERS:
            while size > self._max_bytes:
                expiry = await engine.expire_oldest(connection, tier, now_ns)
                if expiry is None:
                    break
                if expiry.problems:  # the next round tries again
                    return expiry.problems
                before, size = size, await connection.fetchval(_SIZE)
                self._kept_from[tier] = expiry.horizon
                self._log.warning(
                    "rows_expired",
                    tier=str(tier),
                    until=expiry.horizon.isoformat(),
                    rows=expiry.rows,
                    freed_bytes=before - size,
                )
        if size <= self._max_bytes:
            return []
        problem = (
            f"the database takes {size:,} bytes, more than storage.max_bytes ({self._max_bytes:,}), and"
            " nothing older is left to drop: raise the limit, or keep less"
        )
        return [problem]


async def record_expired(connection: AnyConnection, counts: Counts) -> int:
    """Adds to the counts of expired rows, in the transaction that drops them; returns the number of rows."""
    if counts:
        recorders, streams = zip(*counts, strict=True)
        await connection.execute(_RECORD, recorders, streams, list(counts.values()))
    return sum(counts.values())


async def expired_rows(connection: AnyConnection, recorder: str) -> dict[str, int]:
    """Rows of a recorder that have expired since the database was created, by stream of the ledger."""
    return {row["stream"]: row["rows"] for row in await connection.fetch(_EXPIRED, recorder)}
