"""Which events of each emitter are stored, and what emitters say they lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import NS_PER_SECOND
from decahertz.event import EventBatch
from decahertz.ingest import FORGET_NS, EmitterId
from decahertz.sequences import SequenceSet

if TYPE_CHECKING:
    from storage.database import AnyConnection, Database

_LOCK = """
INSERT INTO emitters (source, epoch) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (source, epoch) DO UPDATE SET source = excluded.source
RETURNING source, epoch, sequences
"""
_SAVE = "UPDATE emitters SET sequences = $3, updated_at = now() WHERE source = $1 AND epoch = $2"
_RECENT = "SELECT source, epoch, sequences FROM emitters WHERE updated_at > now() - make_interval(secs => $1)"
_ONE = "SELECT sequences FROM emitters WHERE source = $1 AND epoch = $2"
_DROPS = """
INSERT INTO emitter_drops (source, epoch, reason, events)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
ON CONFLICT (source, epoch, reason)
DO UPDATE SET events = greatest(emitter_drops.events, excluded.events)
"""


async def load_emitters(connection: AnyConnection) -> dict[EmitterId, SequenceSet]:
    """The stored sequences of all emitters."""
    rows = await connection.fetch("SELECT source, epoch, sequences FROM emitters")
    return {(row["source"], row["epoch"]): _sequences(row["sequences"]) for row in rows}


async def stored_events(database: Database) -> dict[EmitterId, SequenceSet]:
    """Which events of the emitters heard of lately are in the database.

    Of the others the database itself knows it. Raises ``DatabaseUnavailableError``.
    """
    async with database.query() as connection:
        rows = await connection.fetch(_RECENT, FORGET_NS / NS_PER_SECOND)
    return {(row["source"], row["epoch"]): _sequences(row["sequences"]) for row in rows}


async def stored_of(connection: AnyConnection, emitter: EmitterId) -> SequenceSet:
    """Which events of one emitter are in the database."""
    return _sequences(await connection.fetchval(_ONE, *emitter) or ())


async def lock_emitters(
    connection: AnyConnection, emitters: Iterable[EmitterId]
) -> dict[EmitterId, SequenceSet]:
    """The stored sequences of these emitters, which nobody else changes until the transaction ends."""
    wanted = sorted(set(emitters))  # sorted, so that two writers lock in the same order
    sources, epochs = [source for source, _ in wanted], [epoch for _, epoch in wanted]
    rows = await connection.fetch(_LOCK, sources, epochs)
    return {(row["source"], row["epoch"]): _sequences(row["sequences"]) for row in rows}


async def save_emitters(connection: AnyConnection, stored: Mapping[EmitterId, SequenceSet]) -> None:
    """Write down what is stored now."""
    await connection.executemany(
        _SAVE,
        [
            (source, epoch, [asyncpg.Range(low, high + 1) for low, high in sequences])
            for (source, epoch), sequences in stored.items()
        ],
    )


async def save_drops(connection: AnyConnection, batches: Iterable[EventBatch]) -> None:
    """Keep the highest count that each emitter has named for each reason."""
    drops: dict[tuple[str, int, str], int] = {}
    for batch in batches:
        for reason, count in batch.dropped.items():
            key = (batch.source, batch.epoch, reason)
            drops[key] = max(count, drops.get(key, 0))
    if drops:
        rows = [(*key, drops[key]) for key in sorted(drops)]
        await connection.execute(_DROPS, *map(list, zip(*rows, strict=True)))


def _sequences(ranges: Iterable[asyncpg.Range[int]]) -> SequenceSet:
    found = SequenceSet()
    for piece in ranges:
        assert piece.lower is not None  # noqa: S101 - we never write an open range
        assert piece.upper is not None  # noqa: S101 - see above
        found.add(piece.lower, piece.upper - 1)  # PostgreSQL writes [low, high + 1)
    return found
