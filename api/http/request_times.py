"""Measures the parts of a request for the header ``Server-Timing``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.query_times import QueryTimes

if TYPE_CHECKING:
    from decahertz.clock import Clock

NS_PER_MS = 1_000_000


class RequestTimes(QueryTimes):
    """The parts of a request whose response was computed for it."""

    __slots__ = ("encode_ns",)

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.encode_ns = 0
        """Encoding and compressing; 0 until the response is there."""

    def encoded(self, began_ns: int) -> None:
        """Adds the time since the encoding began."""
        self.encode_ns += self.now_ns() - began_ns

    def header(self) -> str:
        """The parts as ``Server-Timing`` lists them, in milliseconds."""
        return (
            f"queue;dur={self.queue_ns / NS_PER_MS:.3f}, database;dur={self.database_ns / NS_PER_MS:.3f},"
            f" encode;dur={self.encode_ns / NS_PER_MS:.3f}"
        )
