"""Records which events of each emitter are stored, and which events emitters report as dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import asyncpg

from decahertz.event import EventBatch
from decahertz.ingest import EmitterId
from decahertz.sequences import SequenceSet
from storage.schema.emitters import emitters_of

if TYPE_CHECKING:
    from storage.database import AnyConnection

_LOCK = """
INSERT INTO emitters (source, epoch) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (source, epoch) DO UPDATE SET source = excluded.source
RETURNING source, epoch, sequences
"""
_SAVE = "UPDATE emitters SET sequences = $3, time = now() WHERE source = $1 AND epoch = $2"
_DROPS = """
INSERT INTO emitter_drops (source, epoch, reason, events)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
ON CONFLICT (source, epoch, reason)
DO UPDATE SET events = excluded.events, time = now() WHERE excluded.events > emitter_drops.events
"""


async def lock_emitters(
    connection: AnyConnection, emitters: Iterable[EmitterId]
) -> dict[EmitterId, SequenceSet]:
    """Locks these emitters until the transaction ends, and returns their stored sequences."""
    wanted = sorted(set(emitters))  # sorted, so that two writers lock in the same order
    sources, epochs = [source for source, _ in wanted], [epoch for _, epoch in wanted]
    rows = await connection.fetch(_LOCK, sources, epochs)
    return emitters_of(rows)


async def save_emitters(connection: AnyConnection, stored: Mapping[EmitterId, SequenceSet]) -> None:
    """Records the sequences that are stored now."""
    await connection.executemany(
        _SAVE,
        [
            (source, epoch, [asyncpg.Range(low, high + 1) for low, high in sequences])
            for (source, epoch), sequences in stored.items()
        ],
    )


async def save_drops(connection: AnyConnection, batches: Iterable[EventBatch]) -> None:
    """Keeps the highest count that each emitter has reported for each reason."""
    drops: dict[tuple[str, int, str], int] = {}
    for batch in batches:
        for reason, count in batch.dropped.items():
            key = (batch.source, batch.epoch, reason)
            drops[key] = max(count, drops.get(key, 0))
    if drops:
        rows = [(*key, drops[key]) for key in sorted(drops)]
        await connection.execute(_DROPS, *map(list, zip(*rows, strict=True)))
