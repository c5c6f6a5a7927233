"""Status that parts and plugins report; the API and the status line show it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Health(StrEnum):
    """Health of a part."""

    OK = "ok"
    DEGRADED = "degraded"
    """Works with a limitation (retrying, behind, a feed down)."""
    FAILED = "failed"
    """Does not work."""


class ComponentStatus(Struct, frozen=True, kw_only=True):
    """Status of one part of the process."""

    name: str
    health: Health
    detail: str = ""
    """One line for people; empty when the part is healthy."""


class Component(Protocol):
    """A part that reports its status."""

    def status(self) -> ComponentStatus:
        """Current status; cheap."""
        ...


class ProcessFigures(Struct, frozen=True, kw_only=True):
    """Figures of the whole process since its start. Durations are in seconds."""

    cycles: int = 0
    missed_cycles: int = 0
    lateness_p50_seconds: float | None = None
    """Median lateness of the cycles of the last ten minutes; null before the first cycle."""
    lateness_p99_seconds: float | None = None
    events: int = 0
    """Events received, without duplicates."""
    samples_stored: int = 0
    """Samples stored in the database."""
    dropped: int = 0
    """Rows dropped by the spool."""


class RunState(StrEnum):
    """Run state of a plugin."""

    RUNNING = "running"
    CONNECTING = "connecting"
    """A feed that is not connected to its venue, and tries again."""
    STOPPED = "stopped"
    FAILED = "failed"
    """Could not be loaded or started; for a feed also: waits for its restart."""
    FINISHED = "finished"
    """The source of the feed ended."""


class CollectorStatus(Struct, frozen=True, kw_only=True):
    """Status of a collector. Durations are in seconds."""

    name: str
    state: RunState
    every: int = 1
    """Sampled on every n-th cycle of the 10 Hz grid."""
    keys: int = 0
    """Samples in the newest batch."""
    samples: int = 0
    """Samples returned since the start."""
    events: int = 0
    """Events delivered since the start."""
    errors: int = 0
    skipped: int = 0
    """Cycles on which it was due but not sampled (over budget, failing)."""
    keys_over_budget: int = 0
    """Keys without room in the key budget; their events are stored, and they are not sampled."""
    refused_events: int = 0
    """Events since the start that changed no sample because their key has no room."""
    last_error: str | None = None
    last_sample_ns: int | None = None
    duration_last_seconds: float | None = None
    duration_max_seconds: float | None = None


class FeedStatus(Struct, frozen=True, kw_only=True):
    """Status of a feed."""

    name: str
    state: RunState
    events: int = 0
    restarts: int = 0
    last_error: str | None = None
    last_event_ns: int | None = None
    counters: dict[str, int] = {}
