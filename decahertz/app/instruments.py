"""The user's file of instruments: its definitions become events, again whenever the file changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from decahertz.clock import Clock
from decahertz.event import EventBatch, Instrument
from decahertz.health import ComponentStatus, Health
from decahertz.instruments_file import InstrumentsFileError, read_instruments
from decahertz.supervision import supervise

if TYPE_CHECKING:
    from decahertz.contracts import Contracts
    from decahertz.ingest import Ingest

SOURCE = "instruments-file"
"""The emitter of the definitions."""
_POLL_SECONDS = 1.0


class InstrumentsFile:
    """Reads the file at the start, and again when it has changed. With ``Path()`` there is no file.

    A file that cannot be used leaves the definitions as they are; health says what is wrong with it.
    """

    def __init__(self, path: Path, ingest: Ingest, contracts: Contracts, clock: Clock) -> None:
        self._path = path
        self._ingest = ingest
        self._contracts = contracts
        self._clock = clock
        self._read: tuple[int, int, int] | None = None
        """Time, size and inode of the file as it was read."""
        self._known: dict[tuple[str, str], Instrument] = {}
        self._epoch = clock.time_ns()
        self._next_sequence = 1
        self._problem = ""
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="instruments")

    async def start(self) -> None:
        """Reads the file, and looks at it every second from now on."""
        if self._path != Path():
            await self._look()
            self._task = supervise(self._watch, "instruments-file")

    async def stop(self) -> None:
        """Stops looking at it. Safe without :meth:`start`, and twice."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def status(self) -> ComponentStatus:
        """Degraded while the file cannot be used."""
        health = Health.DEGRADED if self._problem else Health.OK
        detail = f"{self._problem}; the definitions of before count" if self._problem else ""
        return ComponentStatus(name="instruments file", health=health, detail=detail)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Reads the file if it has changed."""
        state = await asyncio.to_thread(_state_of, self._path)
        if state == self._read and (state is not None or self._problem):
            return
        self._read = state
        now_ns = self._clock.time_ns()
        try:
            found = await asyncio.to_thread(read_instruments, self._path, now_ns)
        except InstrumentsFileError as error:
            self._problem = str(error)
            self._log.error("instruments_file_refused", reason=self._problem)
            return
        self._problem = ""
        await self._take(found, now_ns)

    async def _take(self, found: list[Instrument], now_ns: int) -> None:
        """Emits the definitions that are new or have changed."""
        self._contracts.pin(found)
        new = tuple(one for one in found if not _is_same(one, self._known.get((one.venue, one.instrument))))
        self._known = {(one.venue, one.instrument): one for one in found}
        if not new:
            return
        batch = EventBatch(source=SOURCE, epoch=self._epoch, first_sequence=self._next_sequence, events=new)
        self._next_sequence += len(new)
        await self._ingest.take(batch, now_ns)
        self._log.info("instruments_file_read", defined=len(found), changed=len(new))


def _is_same(one: Instrument, other: Instrument | None) -> bool:
    return other is not None and replace(other, time_ns=one.time_ns) == one


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
