"""Queue of jobs for the spool's thread."""

from __future__ import annotations

import queue
import threading

from decahertz.clock import NS_PER_SECOND, Clock
from storage.spool.errors import SpoolError
from storage.spool.jobs import Job

_BATCH_ROWS = 20_000
_IDLE_SECONDS = 1.0
_QUIET_AFTER_NS = 10 * NS_PER_SECOND
"""After this time without an event, only the state of the machine is being recorded."""
_QUIET_COMMIT_SECONDS = 1.0
"""How long jobs may wait then: a commit costs a processor as much as ten cycles of the sampler."""


class SpoolQueue:
    """Jobs in their order. Each is collected, or refused once the queue is closed."""

    def __init__(self, clock: Clock, commit_seconds: float) -> None:
        """``commit_seconds`` is how long a job that is not urgent may wait to share a commit with others."""
        self._clock = clock
        self._commit_seconds = commit_seconds
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed: SpoolError | None = None
        self._event_ns = clock.monotonic_ns()
        """When the last event was collected, or the start."""

    def put(self, job: Job) -> None:
        """Adds a job; returns at once."""
        with self._lock:
            if self._closed is None:
                self._jobs.put(job)
                return
        job.refuse(self._closed)

    def close(self, error: SpoolError) -> None:
        """Refuses the jobs that wait, and every later one."""
        with self._lock:
            self._closed = error
        while not self._jobs.empty():
            self._jobs.get_nowait().refuse(error)

    def collect(self, *, has_unsaved: bool) -> list[Job]:
        """Returns the jobs of the next commit: until one is urgent, the commit is large, or time is up.

        Time is up ``commit_seconds`` after the first job, or a second if no event arrived for ten. Returns an
        empty list after a second without a job, and after the same time with unsaved changes.
        """
        try:
            job = self._jobs.get(timeout=self._patience_seconds() if has_unsaved else _IDLE_SECONDS)
        except queue.Empty:
            return []
        first_ns = self._clock.monotonic_ns()
        jobs: list[Job] = []
        rows, is_urgent = 0, False
        while True:
            jobs.append(job)
            rows += job.rows
            is_urgent = is_urgent or job.is_urgent
            now_ns = self._clock.monotonic_ns()
            if job.has_events:
                self._event_ns = now_ns
            if rows >= _BATCH_ROWS:
                return jobs
            left = 0 if is_urgent else self._patience_seconds() - (now_ns - first_ns) / NS_PER_SECOND
            try:
                job = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
            except queue.Empty:
                return jobs

    def _patience_seconds(self) -> float:
        """How long a job that is not urgent may wait now."""
        is_quiet = self._clock.monotonic_ns() - self._event_ns > _QUIET_AFTER_NS
        return _QUIET_COMMIT_SECONDS if is_quiet else self._commit_seconds
