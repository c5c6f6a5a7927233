"""Readings taken periodically in a thread, so that the event loop never waits for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.incident import Incident
from decahertz.supervision import supervised_thread

T = TypeVar("T")
_STALE_ROUNDS = 10
_JOIN_SECONDS = 1.0


class Reading(Generic[T]):
    """A periodic reading and its last result.

    A reading that raises is counted, and logged once until it succeeds again.
    """

    def __init__(self, name: str, read: Callable[[], T], interval_seconds: float, clock: Clock) -> None:
        """``interval_seconds`` is the interval between readings."""
        self.last: T | None = None
        """The last result, however old."""
        self._read = read
        self._stale_ns = _STALE_ROUNDS * interval_seconds * NS_PER_SECOND
        self._clock = clock
        self._read_ns = 0
        self._incident = Incident("reading", structlog.get_logger(part="system", reading=name))

    @property
    def errors(self) -> int:
        """Readings that raised."""
        return self._incident.total

    @property
    def fresh(self) -> T | None:
        """The last result; ``None`` once ten readings in a row are missing."""
        return self.last if self._clock.monotonic_ns() - self._read_ns <= self._stale_ns else None

    def take(self) -> None:
        """Takes a reading."""
        try:
            reading = self._read()
        except Exception as error:  # noqa: BLE001 - no error may end the other readings
            self._incident.fail(self._clock.monotonic_ns(), reason=str(error))
            return
        self.last = reading
        self._read_ns = self._clock.monotonic_ns()
        self._incident.recover()


class Poll:
    """A thread that takes readings every ``interval_seconds``, beginning at once.

    A reading that hangs (a network file system) blocks only this thread, which ends with the process.
    """

    def __init__(self, name: str, readings: Sequence[Reading[Any]], interval_seconds: float) -> None:
        self._readings = readings
        self._interval_seconds = interval_seconds
        self._ended = threading.Event()
        self._thread = supervised_thread(self._run, f"system-{name}")

    @property
    def errors(self) -> int:
        """Readings that raised."""
        return sum(reading.errors for reading in self._readings)

    def start(self) -> None:
        """Starts the thread. May be called once."""
        self._thread.start()

    async def stop(self) -> None:
        """Stops the thread; waits at most a second for a reading in progress."""
        self._ended.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def _run(self) -> None:
        while not self._ended.is_set():
            for reading in self._readings:
                reading.take()
            self._ended.wait(self._interval_seconds)
