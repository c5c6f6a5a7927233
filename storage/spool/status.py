"""What waits in the spool, seen from outside: read and never written, whether a process uses it or not."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND
from storage.spool.recovery import FILE_NAME

_BUSY_SECONDS = 5.0
_STREAMS = """
SELECT stream, sum(rows), count(*), min(spooled_ns) FROM entries GROUP BY stream ORDER BY stream
"""


class WaitingStream(Struct, frozen=True, kw_only=True):
    """What waits of one stream of the loss ledger."""

    stream: str
    rows: int
    batches: int
    oldest_age_seconds: float


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """What :func:`spool_status` found."""

    path: str
    bytes: int
    """On the disk, with what SQLite keeps beside the file."""
    rows: int = 0
    oldest_age_seconds: float | None = None
    """``None``: nothing waits."""
    streams: list[WaitingStream] = []
    set_aside: list[str] = []
    """Damaged files that were set aside."""
    problem: str = ""
    """Why the file cannot be read, if so."""


async def spool_status(folder: Path, now_ns: int) -> SpoolStatus | None:
    """What waits in the spool of this folder; ``None`` where there is none."""
    return await asyncio.to_thread(_status, folder, now_ns)


def _status(folder: Path, now_ns: int) -> SpoolStatus | None:
    path = folder / FILE_NAME
    if not path.exists():
        return None
    endings = {"", "-wal", "-shm"}
    beside = [file for file in folder.glob(f"{FILE_NAME}*") if file.is_file()]
    size = sum(file.stat().st_size for file in beside if file.name.removeprefix(FILE_NAME) in endings)
    aside = sorted(
        file.name for file in beside if "damaged" in file.name and not file.name.endswith(("-wal", "-shm"))
    )
    try:
        streams = _read(path, now_ns)
    except sqlite3.Error as error:
        return SpoolStatus(path=str(path), bytes=size, set_aside=aside, problem=str(error))
    return SpoolStatus(
        path=str(path),
        bytes=size,
        rows=sum(stream.rows for stream in streams),
        oldest_age_seconds=max((stream.oldest_age_seconds for stream in streams), default=None),
        streams=streams,
        set_aside=aside,
    )


def _read(path: Path, now_ns: int) -> list[WaitingStream]:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    try:
        return [
            WaitingStream(
                stream=stream,
                rows=rows,
                batches=batches,
                oldest_age_seconds=round(max(0, now_ns - oldest_ns) / NS_PER_SECOND, 3),
            )
            for stream, rows, batches, oldest_ns in connection.execute(_STREAMS)
        ]
    finally:
        connection.close()
