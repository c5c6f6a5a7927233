"""What parts say of themselves; the API and the status line show it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Health(StrEnum):
    """How a part is."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works with a loss that it says (retrying, behind, a feed down)."""
    FAILED = "failed"
    """It does not do its work."""


class ComponentStatus(Struct, frozen=True, kw_only=True):
    """One part of the process."""

    name: str
    health: Health
    detail: str = ""
    """One line for a person; empty when all is well."""


class Component(Protocol):
    """A part with a state of health."""

    def status(self) -> ComponentStatus:
        """How it is now; cheap."""
        ...


class RunState(StrEnum):
    """Where a plugin stands in its life."""

    RUNNING = "running"
    DISABLED = "disabled"
    FAILED = "failed"
    """It could not be loaded or started, or (a feed) is waiting to be started again."""
    FINISHED = "finished"
    """A feed whose source ended."""


class CollectorStatus(Struct, frozen=True, kw_only=True):
    """One collector, as its host sees it. Durations in seconds."""

    name: str
    state: RunState
    every: int = 1
    """Sampled on every this many-th tick of the 10 Hz grid."""
    keys: int = 0
    """Samples in the newest batch."""
    samples: int = 0
    """Samples returned since the start."""
    events: int = 0
    """Events delivered since the start."""
    errors: int = 0
    skipped: int = 0
    """Ticks on which it was not sampled although it was due (over budget, failing)."""
    last_error: str | None = None
    last_sample_ns: int | None = None
    duration_last_seconds: float | None = None
    duration_max_seconds: float | None = None


class FeedStatus(Struct, frozen=True, kw_only=True):
    """One feed, as its host sees it."""

    name: str
    state: RunState
    events: int = 0
    restarts: int = 0
    last_error: str | None = None
    last_event_ns: int | None = None
    counters: dict[str, int] = {}
