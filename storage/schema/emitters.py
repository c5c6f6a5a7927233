"""Reads which events of each emitter are stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND
from decahertz.ingest import FORGET_NS, EmitterId
from decahertz.sequences import SequenceSet

if TYPE_CHECKING:
    import asyncpg

    from storage.database import AnyConnection, Database

_ALL = "SELECT source, epoch, sequences FROM emitters"
_RECENT = f"{_ALL} WHERE time > now() - make_interval(secs => $1)"
_ONE = "SELECT sequences FROM emitters WHERE source = $1 AND epoch = $2"


async def stored_events(connection: AnyConnection) -> dict[EmitterId, SequenceSet]:
    """The stored sequences of all emitters."""
    return emitters_of(await connection.fetch(_ALL))


async def recently_stored_events(database: Database) -> dict[EmitterId, SequenceSet]:
    """The stored sequences of the emitters that were active lately.

    PostgreSQL still rejects duplicates of the others. Raises ``DatabaseUnavailableError``.
    """
    async with database.query() as connection:
        return emitters_of(await connection.fetch(_RECENT, FORGET_NS / NS_PER_SECOND))


async def stored_of(connection: AnyConnection, emitter: EmitterId) -> SequenceSet:
    """The stored sequences of one emitter."""
    return _sequences(await connection.fetchval(_ONE, *emitter) or ())


def emitters_of(rows: Iterable[asyncpg.Record]) -> dict[EmitterId, SequenceSet]:
    """The stored sequences by emitter, from rows of ``emitters``."""
    return {(row["source"], row["epoch"]): _sequences(row["sequences"]) for row in rows}


def _sequences(ranges: Iterable[asyncpg.Range[int]]) -> SequenceSet:
    found = SequenceSet()
    for piece in ranges:
        assert piece.lower is not None  # noqa: S101 - the writer stores no open range
        assert piece.upper is not None  # noqa: S101 - see above
        found.add(piece.lower, piece.upper - 1)  # PostgreSQL stores [low, high + 1)
    return found
