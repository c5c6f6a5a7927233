"""Adds entries to the audit log, in the transaction of the change: neither exists without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from decahertz.clock import to_datetime

if TYPE_CHECKING:
    from decahertz.audit import AuditEntry
    from storage.database import AnyConnection, Database

_INSERT = """
INSERT INTO audit (
    time, id, time_ns, recorder, actor, key_id, address, action, target, result, before, after, request_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""


async def add_entry(connection: AnyConnection, entry: AuditEntry) -> None:
    """Adds an entry within the transaction of a connection."""
    await connection.execute(
        _INSERT,
        to_datetime(entry.time_ns),
        entry.id,
        entry.time_ns,
        entry.recorder,
        entry.actor,
        entry.key_id,
        entry.address,
        entry.action,
        entry.target,
        entry.result,
        _json(entry.before),
        _json(entry.after),
        entry.request_id,
    )


class AuditStore:
    """Adds entries that belong to no change, such as a refused call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        """Adds an entry. Raises :class:`~storage.database.DatabaseUnavailableError`."""
        async with self._database.query() as connection:
            await add_entry(connection, entry)


def _json(values: dict[str, Any] | None) -> str | None:
    # PostgreSQL has no NUL in a text; names and comments are checked for it, ids of others are not.
    return None if values is None else msgspec.json.encode(values).decode().replace("\\u0000", "\\ufffd")
