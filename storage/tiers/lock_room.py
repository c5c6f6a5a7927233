"""Whether PostgreSQL has room for the locks of all partitions and their indexes.

A backup locks every table, and a question about all time every partition of a table with its indexes. The
room is a setting that PostgreSQL reads at its start; what needs more fails with "out of shared memory".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from storage.database import AnyConnection

_ROOM: Final = """
SELECT current_setting('max_locks_per_transaction')::bigint AS locks,
    current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint
        AS transactions,
    (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'i', 'I') AND relnamespace IN (
        SELECT oid FROM pg_namespace WHERE nspname IN (current_schema(), '_timescaledb_internal')
    )) AS relations
"""
_STEP: Final = 64


async def lock_shortage(connection: AnyConnection) -> list[str]:
    """The problem, in words, if the database has more tables and indexes than the server has locks."""
    row = await connection.fetchrow(_ROOM)
    assert row is not None  # noqa: S101 - the statement always returns one row
    return shortage(row["relations"], row["locks"], row["transactions"])


def shortage(relations: int, locks: int, transactions: int) -> list[str]:
    """The problem of a server with room for ``locks`` in each of so many ``transactions``."""
    room = locks * transactions
    if relations <= room:
        return []
    wanted = -(-2 * relations // transactions // _STEP) * _STEP
    text = (
        f"PostgreSQL has room for {room:,} locks, fewer than its {relations:,} tables and indexes: set"
        f" max_locks_per_transaction to {wanted} and restart it (the embedded one sets it at its start)"
    )
    return [text]
