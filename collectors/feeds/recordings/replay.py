"""The feed ``replay``: replays a recording as if it happened now.

Events keep the pace of their receipt (or a multiple of it) and their age on receipt; their times are moved
to the present. During the replay a heartbeat a second reports the venue as connected; at the end one reports
it as closed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from collectors.feeds.pulse import Pulse
from collectors.feeds.recordings.captures import Record, Recording, open_recording
from collectors.feeds.recordings.errors import RecordingError
from collectors.feeds.recordings.pacing import Pacer, Shifter
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import AnyEvent
from decahertz.feed import BaseFeed, Emit, Progress
from decahertz.settings import SettingsError

_CHUNK = 256
"""Records that a thread reads ahead at a time."""


class ReplayOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[feeds.replay]`` of the settings."""

    file: Annotated[Path, Meta(description="The recording: a WebSocket capture, or CSV.")]
    speed: Annotated[
        str,
        Meta(
            pattern=r"^(?:original|max|0*[1-9][0-9]{0,5}(?:\.[0-9]{1,6})?|0+\.0{0,3}[1-9][0-9]{0,5})$(?!\n)",
            description="original, a number (4: four times as fast), or max.",
        ),
    ] = "original"
    venue: Annotated[
        str,
        Meta(description="Venue of a CSV recording; empty: derived from its columns."),
    ] = ""
    instrument: Annotated[
        str,
        Meta(description="Instrument of a CSV recording; empty: derived from the file name."),
    ] = ""


def speed_of(text: str) -> float:
    """Returns the speed as a multiple of the recorded one; infinity for ``max``."""
    return {"original": 1.0, "max": math.inf}.get(text) or float(text)


class ReplayFeed(BaseFeed[ReplayOptions]):
    """Replays one recording and finishes.

    After a failure, a restart continues behind the last record that was emitted.
    """

    name: ClassVar[str] = "replay"
    options_type: ClassVar[type[Struct]] = ReplayOptions

    def __init__(self, clock: Clock, options: ReplayOptions) -> None:
        """Raises ``SettingsError`` if the file is missing or not a recording."""
        super().__init__(clock, options)
        try:
            open_recording(options.file, options.venue or None, options.instrument or None)
        except (OSError, RecordingError) as error:
            raise SettingsError("feeds.replay.file", str(error)) from error
        self._recording: Recording | None = None
        self._done_bytes = 0
        self._emitted_records = 0

    @property
    def progress(self) -> Progress | None:
        """Bytes of the file replayed so far; ``None`` until it is opened."""
        if self._recording is None:
            return None
        return Progress(done=self._done_bytes, total=self._recording.total_bytes)

    @property
    def counters(self) -> dict[str, int]:
        """Counts of messages, malformed lines, and those of the venue's decoder."""
        return self._recording.counts if self._recording is not None else {}

    async def run(self, emit: Emit) -> None:
        """Replays to the end. Raises ``RecordingError`` or ``OSError``."""
        options = self.options
        recording = await asyncio.to_thread(
            open_recording,
            options.file,
            options.venue or None,
            options.instrument or None,
        )
        self._recording = recording
        pulse = Pulse(self.clock, f"feed-{self.name}", recording.venue)
        player = _Player(self.clock, Pacer(self.clock, speed_of(options.speed)), pulse, emit)
        records = islice(recording.records(), self._emitted_records, None)
        chunk: asyncio.Task[list[Record]] = asyncio.create_task(_read(records))
        try:
            while read := await asyncio.shield(chunk):
                chunk = asyncio.create_task(_read(records))
                await self._play(player, read)
        finally:
            # The thread must be done with the file before it is closed.
            await asyncio.wait([chunk])
        self._done_bytes = recording.total_bytes
        now_ns = self.clock.time_ns()
        await emit(pulse.closed(now_ns), now_ns)

    async def _play(self, player: _Player, records: list[Record]) -> None:
        pending: list[Record] = []
        for record in records:
            if pending and player.pacer.wait_ns(record.received_ns):
                await self._emit_records(player, pending)
                pending = []
            await player.wait_for(record)
            pending.append(record)
        await self._emit_records(player, pending)

    async def _emit_records(self, player: _Player, records: list[Record]) -> None:
        self._emitted_records += len(records)
        self._done_bytes = records[-1].offset
        await player.emit(records)


class _Player:
    """Waits for records and emits them."""

    def __init__(self, clock: Clock, pacer: Pacer, pulse: Pulse, emit: Emit) -> None:
        self.pacer = pacer
        self._clock = clock
        self._pulse = pulse
        self._emit = emit
        self._shifter = Shifter()

    async def wait_for(self, record: Record) -> None:
        """Returns when the record is due; emits heartbeats meanwhile."""
        while wait_ns := self.pacer.wait_ns(record.received_ns):
            await asyncio.sleep(min(wait_ns, self._pulse.due_ns()) / NS_PER_SECOND)
            now_ns = self._clock.time_ns()
            heartbeats = self._pulse.next(now_ns)
            if heartbeats:
                await self._emit(heartbeats, now_ns)

    async def emit(self, records: list[Record]) -> None:
        """Moves the events to the present and emits them at once."""
        now_ns = self._clock.time_ns()
        events: list[AnyEvent] = [*self._pulse.next(now_ns)]
        for record in records:
            events += self._shifter.shift(record.events, record.received_ns, now_ns)
        if events:
            await self._emit(events, now_ns)


async def _read(records: Iterator[Record]) -> list[Record]:
    return await asyncio.to_thread(lambda: list(islice(records, _CHUNK)))
