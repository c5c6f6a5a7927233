"""What waits in memory for the database, newest first, bounded by rows.

Nearly all of it is on disk too. Where there is no place, what is on disk goes from memory and is read back
later; only what the disk did not take is lost then: samples first, and the oldest of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from decahertz.sample import SampleBatch
from storage.entry import Entry

FULL_ROWS = 20_000
"""Rows that make a transaction worth its while: about 50 ms."""


class MemoryQueue:
    """The queue between the spool and the writer. Belongs to one event loop."""

    def __init__(
        self,
        max_rows: int,
        on_released: Callable[[Sequence[Entry]], None],
        on_lost: Callable[[Sequence[Entry]], None],
        full_rows: int = FULL_ROWS,
    ) -> None:
        """``on_released`` is told of what is on disk only, ``on_lost`` of what is nowhere any more."""
        self._max_rows = max_rows
        self._full_rows = full_rows
        self._on_released = on_released
        self._on_lost = on_lost
        self._spooled: deque[tuple[int, Entry]] = deque()
        self._unspooled: deque[tuple[int, Entry]] = deque()
        self._order = 0
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._hurrying = False
        self._since = 0.0
        self.rows = 0
        """Samples and events that wait."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, not even a batch without events."""
        return not self._spooled and not self._unspooled

    def unspooled(self) -> list[Entry]:
        """What is in memory only."""
        return [entry for _, entry in self._unspooled]

    def put(self, entries: Iterable[Entry]) -> None:
        """Take what came in."""
        if self.is_empty:
            self._since = asyncio.get_running_loop().time()
        for entry in entries:
            self._order += 1
            (self._spooled if entry.id else self._unspooled).append((self._order, entry))
            self.rows += entry.rows
        self._shed()
        self._announce()

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Take back what could not be stored now. What is on disk waits there: newer entries came since."""
        spooled = [entry for entry in entries if entry.id]
        for entry in reversed([entry for entry in entries if not entry.id]):
            self._unspooled.appendleft((0, entry))
            self.rows += entry.rows
        if spooled:
            self._on_released(spooled)
        self._shed()
        self._announce()

    def take(self) -> list[Entry]:
        """The newest, as much as makes a transaction worth its while, in the order in which they came."""
        taken: list[Entry] = []
        rows = 0
        while not self.is_empty and rows < self._full_rows:
            last = max((q for q in (self._spooled, self._unspooled) if q), key=lambda q: q[-1][0])
            _, entry = last.pop()
            rows += entry.rows
            taken.append(entry)
        self.rows -= rows
        self._since = asyncio.get_running_loop().time()
        self._announce()
        taken.reverse()
        return taken

    async def wait_due(self, patience_seconds: float, limit_seconds: float) -> bool:
        """Wait for something to store, and then for more to share its transaction with.

        ``False`` when nothing was due within ``limit_seconds``.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + limit_seconds
        while True:
            due = deadline + 1 if self.is_empty else self._since + patience_seconds
            now = clock()
            if self._urgent.is_set() or now >= due:
                return True
            if now >= deadline:
                return False
            awaited = self._something if self.is_empty else self._urgent
            with suppress(TimeoutError):
                async with asyncio.timeout(min(due, deadline) - now):
                    await awaited.wait()

    def hurry(self) -> None:
        """End every :meth:`wait_due`, now and from now on."""
        self._hurrying = True
        self._announce()

    def _shed(self) -> None:
        released: list[Entry] = []
        while self._spooled and self.rows > self._max_rows:
            released.append(self._remove_first(self._spooled))
        if released:
            self._on_released(released)
        if self.rows > self._max_rows and self._unspooled:
            self._lose()

    def _lose(self) -> None:
        lost: list[Entry] = []
        kept: deque[tuple[int, Entry]] = deque()
        excess = self.rows - self._max_rows
        for order, entry in self._unspooled:  # samples first
            if excess > 0 and isinstance(entry.content, SampleBatch):
                lost.append(entry)
                excess -= entry.rows
            else:
                kept.append((order, entry))
        self._unspooled = kept
        self.rows -= sum(entry.rows for entry in lost)
        while self.rows > self._max_rows and len(self._unspooled) > 1:
            lost.append(self._remove_first(self._unspooled))
        if lost:
            self._on_lost(lost)

    def _remove_first(self, queue: deque[tuple[int, Entry]]) -> Entry:
        _, entry = queue.popleft()
        self.rows -= entry.rows
        return entry

    def _announce(self) -> None:
        _switch(self._urgent, on=self._hurrying or self.rows >= self._full_rows)
        _switch(self._something, on=self._hurrying or not self.is_empty)


def _switch(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
