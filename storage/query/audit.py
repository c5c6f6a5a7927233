"""Queries of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from decahertz.audit import AuditEntry
from storage.query.pagination import KeysetPage

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from storage.database import Reads

AUDIT = KeysetPage("audit", "time_ns", ("time_ns", "id"), item=AuditEntry)
_SINCE = f"""
SELECT {", ".join(AUDIT.names)} FROM audit WHERE time_ns >= $1 AND NOT id = ANY($2::text[])
ORDER BY time_ns, id LIMIT 1000
"""  # noqa: S608 - names of our own


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Selects entries of `[start_ns, end_ns)`; ``None`` does not restrict."""

    recorder: str | None = None
    actor: str | None = None
    key_id: str | None = None
    action: str | None = None
    target: str | None = None
    result: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


async def newest_entries(
    database: Reads, which: AuditFilter, limit: int, cursor: str | None
) -> tuple[list[AuditEntry], str | None]:
    """One page of entries, newest first, and the cursor of the next page.

    Raises :class:`~storage.query.pagination.CursorError`.
    """
    statement, values = AUDIT.statement(which, limit, cursor)
    rows = await database.fetch(statement, values)
    next_cursor = AUDIT.cursor_after(rows[limit - 1], which, cursor) if len(rows) > limit else None
    return [_entry(row) for row in rows[:limit]], next_cursor


async def entries_since(database: Reads, time_ns: int, known: Collection[str]) -> list[AuditEntry]:
    """The first 1,000 entries from a time on whose ids are not known, oldest first."""
    return [_entry(row) for row in await database.fetch(_SINCE, [time_ns, list(known)])]


def _entry(row: asyncpg.Record) -> AuditEntry:
    values = dict(zip(AUDIT.names, row, strict=False))
    for name in ("before", "after"):
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name])
    return AuditEntry(**values)
