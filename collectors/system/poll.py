"""Readings that are repeated in a thread, so that the event loop never waits for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog

from decahertz.clock import NS_PER_SECOND, Clock

T = TypeVar("T")
_STALE_ROUNDS = 10
_JOIN_SECONDS = 1.0


class Reading(Generic[T]):
    """One thing to read, and what was last read.

    A reading that raises is counted, and logged once until it succeeds again.
    """

    def __init__(self, name: str, read: Callable[[], T], interval_seconds: float, clock: Clock) -> None:
        """``interval_seconds`` is how often it will be taken."""
        self.errors = 0
        self.last: T | None = None
        """The last successful reading, however old."""
        self._name = name
        self._read = read
        self._stale_ns = _STALE_ROUNDS * interval_seconds * NS_PER_SECOND
        self._clock = clock
        self._read_ns = 0
        self._failing = False
        self._log = structlog.get_logger(part="system")

    @property
    def fresh(self) -> T | None:
        """The last reading, unless ten that should have followed did not: what is old is not known."""
        return self.last if self._clock.monotonic_ns() - self._read_ns <= self._stale_ns else None

    def take(self) -> None:
        """Read now."""
        try:
            reading = self._read()
        except Exception as error:  # noqa: BLE001 - whatever the machine answers, the others go on
            self.errors += 1
            if not self._failing:
                self._log.warning("reading_failed", reading=self._name, error=str(error))
            self._failing = True
            return
        self.last = reading
        self._read_ns = self._clock.monotonic_ns()
        if self._failing:
            self._failing = False
            self._log.info("reading_recovered", reading=self._name)


class Poll:
    """A thread that takes readings at once and then every ``interval_seconds``.

    A reading that hangs (a network file system) hangs only this thread, which ends with the process.
    """

    def __init__(self, name: str, readings: Sequence[Reading[Any]], interval_seconds: float) -> None:
        """Nothing is read before :meth:`start`."""
        self._readings = readings
        self._interval_seconds = interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"system-{name}", daemon=True)

    @property
    def errors(self) -> int:
        """How often a reading raised."""
        return sum(reading.errors for reading in self._readings)

    def start(self) -> None:
        """Begin. Called once."""
        self._thread.start()

    async def stop(self) -> None:
        """End, and wait at most a second for a reading that is under way."""
        self._ended.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def _run(self) -> None:
        while not self._ended.is_set():
            for reading in self._readings:
                reading.take()
            self._ended.wait(self._interval_seconds)
