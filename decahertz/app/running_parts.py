"""The parts that most other parts of the process share, and the parts that run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from decahertz.health import Component

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.app.settings import Settings
    from decahertz.bus import Bus
    from decahertz.clock import Clock
    from decahertz.latest import LatestAlerts, LatestSamples
    from decahertz.sample import SampleSchema
    from storage.database import Database


class Stoppable(Component, Protocol):
    """A part of the process with an end of its own."""

    async def stop(self) -> None:
        """Stops; safe without a start, and twice."""
        ...


class Part(Stoppable, Protocol):
    """A part of the process with a life of its own."""

    async def start(self) -> None:
        """Starts; called once."""
        ...


StoppableT = TypeVar("StoppableT", bound=Stoppable)
PartT = TypeVar("PartT", bound=Part)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonParts:
    """Parts and settings that most other parts get."""

    settings: Settings
    clock: Clock
    registry: CollectorRegistry
    bus: Bus
    latest: LatestSamples
    alerts: LatestAlerts
    schemas: tuple[SampleSchema, ...]
    database: Database
    reads: Database
    """For queries of the API: a replica, or the database itself."""


class RunningParts:
    """The started parts, in the order of their start; they stop in reverse."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        """Closes everything at the stop."""
        self.components: list[Component] = []
        """The parts whose health is shown."""
        self.started = False
        """Whether all parts have started."""

    def add(self, part: StoppableT) -> StoppableT:
        """Adds a part that is started elsewhere, and stopped at the end; returns it."""
        self.stack.push_async_callback(part.stop)
        self.components.append(part)
        return part

    async def run(self, part: PartT) -> PartT:
        """Starts a part that is stopped at the end; returns it."""
        self.stack.push_async_callback(part.stop)
        await part.start()
        self.components.append(part)
        return part
