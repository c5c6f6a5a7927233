"""How large the database is, how fast it grows, and when its disk is full."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.clock import to_datetime

if TYPE_CHECKING:
    from storage.database import AnyConnection

DAY_SECONDS = 86_400.0
_SIZE = "SELECT pg_database_size(current_database())"
# Retention drops a day at a time: over three days, that hides a ninth of the growth at most.
_REMEMBER = """
INSERT INTO database_sizes (time, bytes) SELECT $1, $2
WHERE NOT EXISTS (SELECT FROM database_sizes WHERE time > $1::timestamptz - INTERVAL '10 minutes')
ON CONFLICT DO NOTHING
"""
_FORGET = "DELETE FROM database_sizes WHERE time < $1::timestamptz - INTERVAL '3 days'"
_GROWTH = """
SELECT regr_slope(bytes, extract(epoch FROM time - $1::timestamptz)) FROM database_sizes
WHERE time > $1::timestamptz - INTERVAL '3 days'
HAVING max(time) - min(time) >= INTERVAL '1 hour'
"""
# The server is on this machine if both ends of the connection are: the same address, or a socket.
_FOLDER = """
SELECT setting, inet_server_addr() IS NOT DISTINCT FROM inet_client_addr() AS is_local
FROM (SELECT 1) AS one LEFT JOIN pg_settings ON name = 'data_directory'
"""


class DiskForecast(Struct, frozen=True, kw_only=True):
    """The size of the database, and when its disk is full at the pace of the last three days."""

    bytes: int
    """Of the database, with indexes."""
    max_bytes: int
    """The setting ``storage.max_bytes``; 0: no limit."""
    growth_bytes_per_day: float | None = None
    """``None`` before an hour of readings; negative if it shrinks."""
    free_bytes: int | None = None
    """Free space of its disk; ``None`` where the database is not on this machine."""
    full_seconds: float | None = None
    """Time until the disk is full; ``None`` if that is unknown or will not happen, see ``reason``."""
    reason: str = ""
    """Why ``full_seconds`` is null."""


async def remember_size(connection: AnyConnection, now_ns: int) -> None:
    """Stores the size of the database, at most every ten minutes."""
    now = to_datetime(now_ns)
    await connection.execute(_REMEMBER, now, await connection.fetchval(_SIZE))
    await connection.execute(_FORGET, now)


async def disk_forecast(connection: AnyConnection, max_bytes: int, now_ns: int) -> DiskForecast:
    """Reads the sizes and the free space of the disk."""
    size: int = await connection.fetchval(_SIZE)
    slope: float | None = await connection.fetchval(_GROWTH, to_datetime(now_ns))
    free, missing = await _free_bytes(connection)
    return forecast(size, max_bytes, None if slope is None else float(slope), free, missing)


def forecast(
    size: int, max_bytes: int, bytes_per_second: float | None, free_bytes: int | None, missing: str = ""
) -> DiskForecast:
    """Computes when the disk is full; ``missing`` says why its free space is unknown."""
    full = None
    if free_bytes is None:
        reason = missing
    elif max_bytes and size + free_bytes > max_bytes:
        reason = "storage.max_bytes is reached before the disk is full"
    elif bytes_per_second is None:
        reason = "the growth is known after an hour"
    elif bytes_per_second <= 0:
        reason = "the database does not grow"
    else:
        full, reason = free_bytes / bytes_per_second, ""
    return DiskForecast(
        bytes=size,
        max_bytes=max_bytes,
        growth_bytes_per_day=None if bytes_per_second is None else bytes_per_second * DAY_SECONDS,
        free_bytes=free_bytes,
        full_seconds=full,
        reason=reason,
    )


async def _free_bytes(connection: AnyConnection) -> tuple[int | None, str]:
    """Free bytes of the disk with the database's files, or the reason why they are unknown."""
    row = await connection.fetchrow(_FOLDER)
    assert row is not None  # noqa: S101 - the query always has one row
    if not row["is_local"]:
        return None, "the database is on another machine"
    if row["setting"] is None:
        return None, "the database does not tell this role where its files are (pg_read_all_settings)"
    try:
        return (await asyncio.to_thread(shutil.disk_usage, Path(row["setting"]))).free, ""
    except OSError:
        return None, "the database's files are not on this machine"
