"""Queue of the newest entries in memory, newest first, bounded by rows.

Nearly all entries are on disk too. A full queue first evicts the oldest of these, which are read back later
as backlog; then it drops entries that exist in memory only: samples first, the oldest first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from decahertz.sample import SampleBatch
from storage.entry import Entry

FULL_ROWS = 20_000
"""Rows of a full transaction of the writer: about 50 ms of work."""


class MemoryQueue:
    """Queue between the spool and the writer. Belongs to one event loop."""

    def __init__(
        self,
        max_rows: int,
        on_evicted: Callable[[Sequence[Entry]], None],
        on_dropped: Callable[[Sequence[Entry]], None],
        full_rows: int = FULL_ROWS,
    ) -> None:
        """``on_evicted`` receives entries that remain on disk, ``on_dropped`` those that are lost."""
        self._max_rows = max_rows
        self._full_rows = full_rows
        self._on_evicted = on_evicted
        self._on_dropped = on_dropped
        self._spooled: deque[tuple[int, Entry]] = deque()
        self._unspooled: deque[tuple[int, Entry]] = deque()
        self._order = 0
        self._not_empty = asyncio.Event()
        self._full = asyncio.Event()
        self._is_closing = False
        self._waiting_since = 0.0
        self.rows = 0
        """Samples and events in the queue."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no entry, not even one without rows."""
        return not self._spooled and not self._unspooled

    def put(self, entries: Iterable[Entry]) -> None:
        """Adds new entries."""
        if self.is_empty:
            self._waiting_since = asyncio.get_running_loop().time()
        for entry in entries:
            self._order += 1
            (self._spooled if entry.id else self._unspooled).append((self._order, entry))
            self.rows += entry.rows
        self._shrink()
        self._notify()

    @property
    def unspooled_rows(self) -> int:
        """Rows that exist in memory only."""
        return sum(entry.rows for _, entry in self._unspooled)

    def take_unspooled(self, max_rows: int) -> list[Entry]:
        """Takes the oldest entries that are in memory only, about ``max_rows`` rows."""
        taken: list[Entry] = []
        limit = self.rows - max_rows
        while self._unspooled and self.rows > limit:
            taken.append(self._remove_first(self._unspooled))
        self._notify()
        return taken

    def release(self, entries: Sequence[Entry]) -> None:
        """Takes back entries that could not be stored. Those on disk join the backlog."""
        spooled = [entry for entry in entries if entry.id]
        for entry in reversed([entry for entry in entries if not entry.id]):
            self._unspooled.appendleft((0, entry))
            self.rows += entry.rows
        if spooled:
            self._on_evicted(spooled)
        self._shrink()
        self._notify()

    def take(self) -> list[Entry]:
        """Takes the newest entries, enough for a full transaction, in their order."""
        taken: list[Entry] = []
        rows = 0
        while not self.is_empty and rows < self._full_rows:
            last = max((q for q in (self._spooled, self._unspooled) if q), key=lambda q: q[-1][0])
            _, entry = last.pop()
            rows += entry.rows
            taken.append(entry)
        self.rows -= rows
        self._waiting_since = asyncio.get_running_loop().time()
        self._notify()
        taken.reverse()
        return taken

    async def wait_due(self, patience_seconds: float, limit_seconds: float) -> bool:
        """Waits for an entry, and then up to ``patience_seconds`` for more to share a transaction with.

        Returns ``False`` if none was due within ``limit_seconds``.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + limit_seconds
        while True:
            due = deadline + 1 if self.is_empty else self._waiting_since + patience_seconds
            now = clock()
            if self._full.is_set() or now >= due:
                return True
            if now >= deadline:
                return False
            awaited = self._not_empty if self.is_empty else self._full
            with suppress(TimeoutError):
                async with asyncio.timeout(min(due, deadline) - now):
                    await awaited.wait()

    def close(self) -> None:
        """Ends :meth:`wait_due` at once, now and from now on."""
        self._is_closing = True
        self._notify()

    def _shrink(self) -> None:
        evicted: list[Entry] = []
        while self._spooled and self.rows > self._max_rows:
            evicted.append(self._remove_first(self._spooled))
        if evicted:
            self._on_evicted(evicted)
        if self.rows > self._max_rows and self._unspooled:
            self._drop()

    def _drop(self) -> None:
        dropped: list[Entry] = []
        rest: deque[tuple[int, Entry]] = deque()
        excess = self.rows - self._max_rows
        for order, entry in self._unspooled:  # samples first
            if excess > 0 and isinstance(entry.content, SampleBatch):
                dropped.append(entry)
                excess -= entry.rows
            else:
                rest.append((order, entry))
        self._unspooled = rest
        self.rows -= sum(entry.rows for entry in dropped)
        while self.rows > self._max_rows and len(self._unspooled) > 1:
            dropped.append(self._remove_first(self._unspooled))
        if dropped:
            self._on_dropped(dropped)

    def _remove_first(self, queue: deque[tuple[int, Entry]]) -> Entry:
        _, entry = queue.popleft()
        self.rows -= entry.rows
        return entry

    def _notify(self) -> None:
        _switch(self._full, on=self._is_closing or self.rows >= self._full_rows)
        _switch(self._not_empty, on=self._is_closing or not self.is_empty)


def _switch(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
