"""What waits for the spool's thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from decahertz.clock import NS_PER_SECOND, Clock
from storage.spool.jobs import Job, is_urgent, rows_of

_GROUP_ROWS = 20_000
_IDLE_SECONDS = 1.0


class Inbox:
    """Jobs in their order. Every one is collected, or refused once nobody collects them any more."""

    def __init__(self, clock: Clock, patience_seconds: float, refuse: Callable[[Job], None]) -> None:
        """``patience_seconds`` is how long samples wait for company."""
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._refuse = refuse
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False

    def put(self, job: Job) -> None:
        """Have something done; returns at once."""
        with self._lock:
            if not self._is_closed:
                self._jobs.put(job)
                return
        self._refuse(job)

    def close(self) -> None:
        """Refuse what waits, and what comes from now on."""
        with self._lock:
            self._is_closed = True
        while not self._jobs.empty():
            self._refuse(self._jobs.get_nowait())

    def collect(self, in_a_hurry: bool) -> list[Job]:  # noqa: FBT001 - it is said once
        """The jobs of the next transaction: until it is urgent, or large, or late."""
        patience = self._patience_seconds
        try:
            jobs = [self._jobs.get(timeout=patience if in_a_hurry else _IDLE_SECONDS)]
        except queue.Empty:
            return []
        deadline_ns = self._clock.monotonic_ns() + round(patience * NS_PER_SECOND)
        rows = rows_of(jobs[0])
        urgent = is_urgent(jobs[0])
        while rows < _GROUP_ROWS:
            left = 0 if urgent else (deadline_ns - self._clock.monotonic_ns()) / NS_PER_SECOND
            try:
                job = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            jobs.append(job)
            rows += rows_of(job)
            urgent = urgent or is_urgent(job)
        return jobs
