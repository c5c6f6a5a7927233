"""Read-only status of a spool file; safe while a recorder uses it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND
from storage.spool.commit_counter import open_read_only
from storage.spool.file import FILE_SUFFIXES
from storage.spool.recovery import FILE_NAME

_STREAMS = """
SELECT stream, sum(rows), count(*), min(spooled_ns) FROM entries GROUP BY stream ORDER BY stream
"""


class WaitingStream(Struct, frozen=True, kw_only=True):
    """Entries of one stream of the loss ledger that wait for the database."""

    stream: str
    rows: int
    batches: int
    oldest_age_seconds: float


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """Size of a spool file, and the rows that wait in it."""

    path: str
    bytes: int
    """On disk, including the write-ahead log."""
    rows: int = 0
    oldest_age_seconds: float | None = None
    """``None`` if nothing waits."""
    streams: list[WaitingStream] = []
    set_aside: list[str] = []
    """Names of damaged files."""
    problem: str = ""
    """Why the file cannot be read; empty if it can."""


async def spool_status(folder: Path, now_ns: int) -> SpoolStatus | None:
    """Returns the status of the spool in a folder; ``None`` if there is none."""
    return await asyncio.to_thread(_status, folder, now_ns)


def _status(folder: Path, now_ns: int) -> SpoolStatus | None:
    path = folder / FILE_NAME
    if not path.exists():
        return None
    files = [file for file in folder.glob(f"{FILE_NAME}*") if file.is_file()]
    size = sum(file.stat().st_size for file in files if file.name.removeprefix(FILE_NAME) in FILE_SUFFIXES)
    damaged = sorted(f.name for f in files if "damaged" in f.name and not f.name.endswith(FILE_SUFFIXES[1:]))
    try:
        streams = _read(path, now_ns)
    except sqlite3.Error as error:
        return SpoolStatus(path=str(path), bytes=size, set_aside=damaged, problem=str(error))
    return SpoolStatus(
        path=str(path),
        bytes=size,
        rows=sum(stream.rows for stream in streams),
        oldest_age_seconds=max((stream.oldest_age_seconds for stream in streams), default=None),
        streams=streams,
        set_aside=damaged,
    )


def _read(path: Path, now_ns: int) -> list[WaitingStream]:
    with closing(open_read_only(path)) as connection:
        return [
            WaitingStream(
                stream=stream,
                rows=rows,
                batches=batches,
                oldest_age_seconds=round(max(0, now_ns - oldest_ns) / NS_PER_SECOND, 3),
            )
            for stream, rows, batches, oldest_ns in connection.execute(_STREAMS)
        ]
