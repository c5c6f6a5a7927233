"""The recorder's end of the connection to one API process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from api.processes.messages import (
    READ_AHEAD_BYTES,
    TO_RECORDER,
    Attach,
    Listening,
    ReadSpool,
    Report,
    SpoolPage,
    framed,
    prefixed,
    read_frame,
)
from storage.spool.errors import SpoolError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from api.processes.feed import LiveFeed
    from storage.query.event_log import WaitingEvents

_MAX_STATE_BYTES: Final = 4 * 1024 * 1024
"""Written and not read by the process: it gets no states until it has caught up."""
_MAX_UNREAD_BYTES: Final = 64 * 1024 * 1024
"""Written and not read by the process: it is cut off. A snapshot fits in several times."""


class ProcessLink:
    """Sends a process the feed, and reads what it reports and asks for."""

    def __init__(self, feed: LiveFeed, spool: WaitingEvents, start: Callable[[], bytes]) -> None:
        """``start`` makes the first message: what the process needs before the snapshot."""
        self.listening = asyncio.Event()
        """Set once the process accepts connections."""
        self.report: Report | None = None
        self.reported_at = 0.0
        """Time of the event loop."""
        self._feed = feed
        self._spool = spool
        self._start = start
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(part="api")

    async def run(self, connection: socket.socket) -> None:
        """Serves the process until it ends or is cut off."""
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=READ_AHEAD_BYTES)
        self._writer = writer
        try:
            while True:
                self._take(TO_RECORDER.decode(await read_frame(reader)))
        except (EOFError, OSError):
            pass  # it has ended
        except msgspec.MsgspecError as error:
            self._log.error("api_process_misunderstood", reason=str(error))
        finally:
            self._feed.detach(self)
            for task in self._tasks:
                task.cancel()
            writer.transport.abort()

    def write_state(self, frame: bytes) -> None:
        """Writes a frame of samples, or leaves it out while the process is behind."""
        writer = self._writer
        if writer is not None and writer.transport.get_write_buffer_size() <= _MAX_STATE_BYTES:
            self.write(frame)

    def write(self, frame: bytes) -> None:
        """Writes a frame; cuts the process off if it does not read."""
        writer = self._writer
        if writer is None or writer.transport.is_closing():
            return
        writer.write(frame)
        if writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self._log.warning("api_process_cut_off", reason="it does not read the feed")
            self._feed.detach(self)
            writer.transport.abort()

    def _take(self, message: Attach | Listening | ReadSpool | Report) -> None:
        match message:
            case Attach():
                self._feed.flush()  # the start and the snapshot are of the same moment
                self.write(prefixed(self._start()))
                self._feed.attach(self)
            case Listening():
                self.listening.set()
            case Report():
                self.report = message
                self.reported_at = asyncio.get_running_loop().time()
            case ReadSpool():
                task = asyncio.get_running_loop().create_task(self._read_spool(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _read_spool(self, wanted: ReadSpool) -> None:
        try:
            arrivals, continue_at = await self._spool.read_arrivals(wanted.after_id)
            page = SpoolPage(wanted.request, arrivals, continue_at)
        except SpoolError as error:
            page = SpoolPage(wanted.request, [], None, str(error) or type(error).__name__)
        self.write(framed(page))
