"""Measures how long a request waits for the database: for a connection, and for answers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decahertz.clock import Clock


class QueryTimes:
    """Sums over the queries of one request."""

    __slots__ = ("database_ns", "now_ns", "queue_ns")

    def __init__(self, clock: Clock) -> None:
        self.now_ns = clock.monotonic_ns
        self.queue_ns = 0
        """Time until the pool gave a connection."""
        self.database_ns = 0
        """Time from then on until the connection went back."""

    def acquired(self, asked_ns: int) -> int:
        """Adds the time since the pool was asked; returns the time of this moment."""
        now_ns = self.now_ns()
        self.queue_ns += now_ns - asked_ns
        return now_ns

    def released(self, acquired_ns: int) -> None:
        """Adds the time since the pool gave a connection."""
        self.database_ns += self.now_ns() - acquired_ns


QUERY_TIMES: ContextVar[QueryTimes | None] = ContextVar("query_times", default=None)
"""The sums of the request in progress; ``None``: nobody measures."""
