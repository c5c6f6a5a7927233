"""``decahertz import``: stores a recording in the database under its original times."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from collectors.feeds.recordings.captures import Recording, import_source, open_recording
from collectors.feeds.recordings.errors import RecordingError
from decahertz.app.database import open_database
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock
from decahertz.event import AnyEvent, Arrival, EventBatch
from storage.database import DatabaseUnavailableError
from storage.write.bulk_import import DirectWriter

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

_BATCH = 2_000
_GROUP = 500
_ATTEMPT_SECONDS = 60.0


async def run_import(settings: Settings, file: Path) -> int:
    """Store a recording. Importing the same content again stores nothing.

    Raises :class:`~decahertz.app.start_error.StartError` for an unreadable file or an unusable database.
    """
    try:
        source, epoch = import_source(file)
        recording = open_recording(file)
    except (OSError, RecordingError) as error:
        raise StartError(f"{file}: {error}") from error
    stored = known = refused = 0
    async with open_database(settings, share=True) as (database, _):
        writer = DirectWriter(database, settings.recorder, SystemClock())
        try:
            with Progress(console=Console(stderr=True)) as bars:
                task = bars.add_task(file.name, total=recording.total_bytes)
                arrivals = _arrivals(recording, source, epoch)
                while group := list(islice(arrivals, _GROUP)):
                    outcome = await writer.store([arrival for arrival, _ in group], _ATTEMPT_SECONDS)
                    stored += outcome.stored
                    known += outcome.duplicates
                    refused += outcome.dead_letters
                    bars.update(task, completed=group[-1][1])
                bars.update(task, completed=recording.total_bytes)
            await writer.close()
        except DatabaseUnavailableError as error:
            raise StartError(f"{error}; run the import again to resume it") from error
    refusals = f", {refused:,} refused (see decahertz dead-letters)" if refused else ""
    sys.stdout.write(f"{file.name}: {stored:,} events stored, {known:,} were stored before{refusals}\n")
    return 0


def _arrivals(recording: Recording, source: str, epoch: int) -> Iterator[tuple[Arrival, int]]:
    """Yield batches, each with the file offset that it reaches.

    A batch ends when the time of receipt changes, so that time is exact for every event.
    """
    sequence = 1
    events: list[AnyEvent] = []
    received_ns = offset = 0
    for record in recording.records():
        if events and (record.received_ns != received_ns or len(events) >= _BATCH):
            yield _arrival(source, epoch, sequence, events, received_ns), offset
            sequence += len(events)
            events = []
        events += record.events
        received_ns, offset = record.received_ns, record.offset
    if events:
        yield _arrival(source, epoch, sequence, events, received_ns), offset


def _arrival(source: str, epoch: int, first: int, events: list[AnyEvent], received_ns: int) -> Arrival:
    batch = EventBatch(source=source, epoch=epoch, first_sequence=first, events=tuple(events))
    return Arrival(batch=batch, received_ns=received_ns)
