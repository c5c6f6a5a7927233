"""Work in the background that somebody asked for, and its progress."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from decahertz.clock import Clock

MOST_JOBS: Final = 100
"""Jobs that are remembered; the oldest ended ones are forgotten first."""
_MOST_ERRORS: Final = 100


class JobState(StrEnum):
    """States of a job."""

    RUNNING = "running"
    DONE = "done"
    """Every item was tried."""
    CANCELLED = "cancelled"
    """The recorder stopped it."""


class ItemError(Struct, frozen=True):
    """An item that failed."""

    item: str
    reason: str


class Job(Struct, kw_only=True):
    """Work in the background. Jobs are in memory: a restart forgets them."""

    job_id: str
    kind: str
    """Kind of work: `warm-cache`."""
    target: str
    """The provider that it works on."""
    state: JobState = JobState.RUNNING
    requested_by: str
    """Name of the API key, or `local`."""
    created_ns: int
    ended_ns: int | None = None
    items: int
    """Number of symbols."""
    done: int = 0
    failed: int = 0
    errors: list[ItemError] = []
    """The first hundred failures."""

    def succeed(self) -> None:
        """Counts an item that is done."""
        self.done += 1

    def fail(self, item: str, reason: str) -> None:
        """Counts an item that failed."""
        self.failed += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(ItemError(item, reason))


class Jobs:
    """The newest jobs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    @property
    def running(self) -> int:
        """Jobs under way."""
        return sum(job.state is JobState.RUNNING for job in self._jobs.values())

    def begin(self, kind: str, target: str, requested_by: str, items: int) -> Job:
        """Makes a job."""
        job = Job(
            job_id=f"j-{uuid.uuid4().hex}",
            kind=kind,
            target=target,
            requested_by=requested_by,
            created_ns=self._clock.time_ns(),
            items=items,
        )
        self._jobs[job.job_id] = job
        for job_id in [key for key, one in self._jobs.items() if one.state is not JobState.RUNNING]:
            if len(self._jobs) <= MOST_JOBS:
                break
            del self._jobs[job_id]
        return job

    def end(self, job: Job, state: JobState) -> None:
        """Notes that a job has ended."""
        job.state, job.ended_ns = state, self._clock.time_ns()

    def find(self, job_id: str) -> Job | None:
        """A job; ``None``: there is none, or it was long ago."""
        return self._jobs.get(job_id)
