"""Queue of jobs for the spool's thread."""

from __future__ import annotations

import queue
import threading

from decahertz.clock import NS_PER_SECOND, Clock
from storage.spool.errors import SpoolError
from storage.spool.jobs import Job

_BATCH_ROWS = 20_000
_IDLE_SECONDS = 1.0


class SpoolQueue:
    """Jobs in their order. Each is collected, or refused once the queue is closed."""

    def __init__(self, clock: Clock, commit_seconds: float) -> None:
        """``commit_seconds`` is how long a job that is not urgent may wait to share a commit with others."""
        self._clock = clock
        self._commit_seconds = commit_seconds
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed: SpoolError | None = None

    def put(self, job: Job) -> None:
        """Add a job; returns at once."""
        with self._lock:
            if self._closed is None:
                self._jobs.put(job)
                return
        job.refuse(self._closed)

    def close(self, error: SpoolError) -> None:
        """Refuse the jobs that wait, and every later one."""
        with self._lock:
            self._closed = error
        while not self._jobs.empty():
            self._jobs.get_nowait().refuse(error)

    def collect(self, *, has_unsaved: bool) -> list[Job]:
        """Return the jobs of the next commit: until one is urgent, the commit is large, or time is up.

        Returns an empty list after a second without a job, with unsaved changes after ``commit_seconds``.
        """
        try:
            jobs = [self._jobs.get(timeout=self._commit_seconds if has_unsaved else _IDLE_SECONDS)]
        except queue.Empty:
            return []
        deadline_ns = self._clock.monotonic_ns() + round(self._commit_seconds * NS_PER_SECOND)
        rows, is_urgent = jobs[0].rows, jobs[0].is_urgent
        while rows < _BATCH_ROWS:
            left = 0 if is_urgent else (deadline_ns - self._clock.monotonic_ns()) / NS_PER_SECOND
            try:
                job = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            jobs.append(job)
            rows += job.rows
            is_urgent = is_urgent or job.is_urgent
        return jobs
