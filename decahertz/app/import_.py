"""``decahertz import``: stores a recording in the database under its original times."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from collectors.feeds.recordings.captures import Record, Recording, open_recording
from collectors.feeds.recordings.errors import RecordingError
from collectors.feeds.recordings.times import zone_of
from decahertz.app.database import open_database
from decahertz.app.import_report import ImportReport
from decahertz.app.start_error import StartError
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock, format_time
from decahertz.event import AnyEvent, Arrival, EventBatch
from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.entry import Ack
from storage.maintenance.imports import ImportUndoneError, begin_import, hold_import, source_of, update_import
from storage.write.bulk_import import DirectWriter, import_connection, patiently
from storage.write.known_events import FILE_EVENTS, KnownEvents

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from storage.database import AnyConnection

_EVENTS_AT_ONCE = 5_000
_BATCH = 2_000
_ATTEMPT_SECONDS = 60.0
_NOTE_SECONDS = 2.0
_LATEST_NS = 86_400 * NS_PER_SECOND
"""Events further in the future than this are refused: their times are in another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The options of the command."""

    venue: str | None = None
    instrument: str | None = None
    zone: tzinfo | None = None
    is_strict: bool = False
    is_dry_run: bool = False
    refused: Path | None = None
    """File for the refused lines."""


def timezone_option(text: str) -> tzinfo | None:
    """The zone that ``--timezone`` names. Raises :class:`~decahertz.app.start_error.StartError`."""
    try:
        return zone_of(text) if text else None
    except ValueError as error:
        raise StartError(f"--timezone {error}") from error


async def run_import(settings: Settings, file: Path, options: ImportOptions) -> int:
    """Stores the events of a recording that the database does not have yet, from whatever source.

    Returns 1 if ``options.is_strict`` and a line was refused. Raises
    :class:`~decahertz.app.start_error.StartError` for an unreadable file or an unusable database.
    """
    with ImportReport(file, options.refused) as report:
        try:
            recording = _opened(file, options, report)
            report.reading = recording.reading
            if options.is_strict and _refuses(file, options, report):
                sys.stdout.write(report.strict_text())
                return 1
            async with open_database(settings, share=True) as (database, _):
                importer = _Importer(database, settings.recorder, report, options)
                try:
                    await importer.run(file, recording)
                except BaseException:
                    report.count_lines(recording.lines, recording.without_events)
                    sys.stdout.write(report.stopped_text())
                    sys.stdout.flush()
                    await importer.note()
                    raise
        except RecordingError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            raise StartError(f"{file}: {error.strerror or error}") from error
        except ImportUndoneError as error:
            raise StartError(str(error)) from error
        except DatabaseUnavailableError as error:
            raise StartError(f"{error}; run the import again to resume it") from error
        sys.stdout.write(report.text(is_dry_run=options.is_dry_run))
        if not report.has_events:
            raise StartError(f"{file}: it contains no event")
        return 1 if options.is_strict and report.refused else 0


def _opened(file: Path, options: ImportOptions, report: ImportReport) -> Recording:
    recording = open_recording(file, options.venue, options.instrument, options.zone)
    recording.on_refused = lambda refused: report.refuse(refused.line, refused.reason, refused.content)
    return recording


def _refuses(file: Path, options: ImportOptions, report: ImportReport) -> bool:
    """Whether a line of the file is refused; reads all of it."""
    latest_ns = SystemClock().time_ns() + _LATEST_NS
    recording = _opened(file, options, report)
    for record in recording.records():
        _check_times(record, latest_ns, report)
    report.lines = recording.lines
    return report.refused > 0


def _check_times(record: Record, latest_ns: int, report: ImportReport) -> bool:
    """Whether the times of a record can be true; refuses its line if not."""
    newest_ns = max((event.time_ns for event in record.events), default=0)
    if newest_ns <= latest_ns:
        return True
    report.refuse(record.line, f"time {format_time(newest_ns)} is in the future", record.content)
    return False


class _Importer:
    """Stores the events of one file, part by part."""

    def __init__(
        self, database: Database, recorder: str, report: ImportReport, options: ImportOptions
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._report = report
        self._is_dry_run = options.is_dry_run
        self._clock: Clock = SystemClock()
        self._epoch = self._clock.time_ns()
        self._writer = DirectWriter(database, recorder, self._clock, self._hold)
        self._sequence = 1

    async def run(self, file: Path, recording: Recording) -> None:
        """Stores the whole file."""
        report = self._report
        if not self._is_dry_run:
            report.import_id = await self._begin(file, recording)
        known = KnownEvents(source_of(report.import_id), is_dry_run=self._is_dry_run)
        with Progress(console=Console(stderr=True)) as bars:
            task = bars.add_task(file.name, total=recording.total_bytes)
            for part in self._parts(recording):
                await self._take(part, known)
                report.count_lines(recording.lines, recording.without_events)
                bars.update(task, completed=part[-1].offset)
            bars.update(task, completed=recording.total_bytes)
        report.count_lines(recording.lines, recording.without_events)
        if not self._is_dry_run:
            await self._writer.close()
            await self._update((), is_finished=True)

    async def note(self) -> None:
        """Enters the counts of an import that has stopped, if the database takes them at once."""
        if self._report.import_id:
            with suppress(DatabaseError, TimeoutError):
                async with asyncio.timeout(_NOTE_SECONDS):
                    await self._writer.close()
                    await self._enter((), is_finished=False)

    async def _begin(self, file: Path, recording: Recording) -> int:
        async with import_connection(self._database) as connection:
            return await begin_import(connection, self._recorder, self._epoch, str(file), recording.reading)

    async def _hold(self, connection: AnyConnection) -> None:
        await hold_import(connection, self._report.import_id)

    async def _update(self, times: Sequence[int], *, is_finished: bool = False) -> None:
        await patiently(lambda: self._enter(times, is_finished=is_finished), _ATTEMPT_SECONDS)

    async def _enter(self, times: Sequence[int], *, is_finished: bool) -> None:
        async with import_connection(self._database) as connection:
            await update_import(
                connection, self._report.import_id, self._report.counts, times, is_finished=is_finished
            )

    def _parts(self, recording: Recording) -> Iterator[list[Record]]:
        """Yields the records that have events, some thousands of events at a time."""
        latest_ns = self._clock.time_ns() + _LATEST_NS
        part: list[Record] = []
        events = 0
        for record in recording.records():
            if not record.events:
                self._report.count_without_events(is_repeated=record.is_repeated)
            elif _check_times(record, latest_ns, self._report):
                part.append(record)
                events += len(record.events)
            if events >= _EVENTS_AT_ONCE:
                yield part
                part, events = [], 0
        if part:
            yield part

    async def _take(self, part: list[Record], known_events: KnownEvents) -> None:
        """Stores the events of a part that the database does not have."""
        events = [event for record in part for event in record.events if isinstance(event, FILE_EVENTS)]

        async def find() -> list[bool]:
            async with import_connection(self._database) as connection:
                return await known_events.find(connection, events)

        known = iter(await patiently(find, _ATTEMPT_SECONDS))
        new: list[tuple[Record, list[AnyEvent]]] = []
        for record in part:
            left = [event for event in record.events if not next(known)]
            if left:
                new.append((record, left))
            else:
                self._report.already_there += 1
        if self._is_dry_run:
            self._report.stored += len(new)
            self._report.events += sum(len(left) for _, left in new)
            return
        if not new:
            return
        await self._update([event.time_ns for _, left in new for event in left])
        batches = list(_batches(new))

        def stored(place: int, ack: Ack) -> None:
            self._report.count_stored([record.line for record, _ in batches[place]], ack)

        await self._writer.store([self._arrival(batch) for batch in batches], _ATTEMPT_SECONDS, stored)

    def _arrival(self, batch: list[tuple[Record, list[AnyEvent]]]) -> Arrival:
        events = tuple(event for _, left in batch for event in left)
        first, self._sequence = self._sequence, self._sequence + len(events)
        source = source_of(self._report.import_id)
        return Arrival(
            batch=EventBatch(source=source, epoch=self._epoch, first_sequence=first, events=events),
            received_ns=batch[0][0].received_ns,
        )


def _batches(
    records: Sequence[tuple[Record, list[AnyEvent]]],
) -> Iterator[list[tuple[Record, list[AnyEvent]]]]:
    """Groups records: of one time of receipt, exact then, and of one event each if there are several.

    So the counts of a batch tell what became of its lines.
    """
    batch: list[tuple[Record, list[AnyEvent]]] = []
    for record, left in records:
        if batch:
            first, first_left = batch[0]
            fits = len(left) == len(first_left) == 1 and len(batch) < _BATCH
            if not fits or record.received_ns != first.received_ns:
                yield batch
                batch = []
        batch.append((record, left))
    if batch:
        yield batch
