"""Lag of the event loop, and the stack of what blocks it.

A probe, a timer of 50 ms, measures how late it runs, with the resolution of the loop's timers: about a
millisecond. A watchdog thread logs the stack of the event loop when the probe stops; the function that blocks
is on it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections import deque
from dataclasses import dataclass

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.supervision import supervised_thread

PROBE_SECONDS = 0.05
WATCH_SECONDS = 0.1
_PROBE_NS = round(PROBE_SECONDS * NS_PER_SECOND)
_JOIN_SECONDS = 1.0
_FRAMES_SHOWN = 25


@dataclass(frozen=True, slots=True)
class LoopLag:
    """The lag measured so far."""

    lag_ns: int
    """Lag of the latest probe, or of the one that is overdue."""
    max_ns: int
    """Longest lag over the last second."""
    late: int
    """Probes more than ``late_seconds`` late, since the start."""
    blocks: int
    """Probes more than ``block_seconds`` late, since the start."""


class LoopMonitor:
    """Measures the lag of the event loop in which :meth:`start` is called."""

    def __init__(self, clock: Clock, *, late_seconds: float, block_seconds: float) -> None:
        self._clock = clock
        self._late_ns = round(late_seconds * NS_PER_SECOND)
        self._block_ns = round(block_seconds * NS_PER_SECOND)
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lag_ns = 0
        self._late = 0
        self._blocks = 0
        # The longest lag of each interval between two calls of lag(), for the last second.
        self._maxima: deque[tuple[int, int]] = deque()
        self._interval_max_ns = 0
        self.due_ns = 0
        """When the next probe is due, by the monotonic clock; read by the watchdog thread."""
        self.blocked_ns = 0
        """Length of the latest block."""

    def start(self) -> None:
        """Starts probing."""
        self._loop = asyncio.get_running_loop()
        self._schedule()

    def stop(self) -> None:
        """Stops probing. Safe without ``start`` and twice."""
        self._loop = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def lag(self) -> LoopLag:
        """Returns the lag measured so far; each call ends an interval of the last second."""
        now_ns = self._clock.monotonic_ns()
        # A probe that is due may still be waiting for its turn.
        lag_ns = max(self._lag_ns, now_ns - self.due_ns) if self._loop is not None else self._lag_ns
        self._maxima.append((now_ns, max(lag_ns, self._interval_max_ns)))
        self._interval_max_ns = 0
        while self._maxima[0][0] <= now_ns - NS_PER_SECOND:
            self._maxima.popleft()
        return LoopLag(lag_ns, max(maximum for _, maximum in self._maxima), self._late, self._blocks)

    def _probe(self) -> None:
        lag_ns = self._lag_ns = max(0, self._clock.monotonic_ns() - self.due_ns)
        self._schedule()
        self._interval_max_ns = max(lag_ns, self._interval_max_ns)
        if lag_ns > self._late_ns:
            self._late += 1
        if lag_ns > self._block_ns:
            self.blocked_ns = lag_ns
            self._blocks += 1

    def _schedule(self) -> None:
        if self._loop is not None:
            self.due_ns = self._clock.monotonic_ns() + _PROBE_NS
            self._handle = self._loop.call_later(PROBE_SECONDS, self._probe)


class Watchdog:
    """A thread that logs the stack of the event loop once for each block of more than ``block_seconds``."""

    def __init__(self, clock: Clock, monitor: LoopMonitor, *, block_seconds: float) -> None:
        self._clock = clock
        self._monitor = monitor
        self._block_ns = round(block_seconds * NS_PER_SECOND)
        self._thread_id = 0
        self._reported_ns = 0
        self._checked_ns = clock.monotonic_ns()
        self._ended = threading.Event()
        self._thread = supervised_thread(self._run, "system-watchdog")
        self._log = structlog.get_logger(part="system")

    def start(self) -> None:
        """Starts watching the calling thread. May be called once."""
        self.watch(threading.get_ident())
        self._thread.start()

    def watch(self, thread_id: int) -> None:
        """Sets the thread whose stack is logged."""
        self._thread_id = thread_id

    async def stop(self) -> None:
        """Stops the thread."""
        self._ended.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def check(self) -> None:
        """Checks the probe once; logs the begin or the end of a block. The thread calls this repeatedly."""
        now_ns, due_ns = self._clock.monotonic_ns(), self._monitor.due_ns
        # If this thread was delayed too, the whole process stood still (a starved machine, a stopped process,
        # C code that holds the interpreter lock), and the stack would blame the wrong function.
        was_delayed = now_ns - self._checked_ns > self._block_ns + round(WATCH_SECONDS * NS_PER_SECOND)
        self._checked_ns = now_ns
        if self._reported_ns and due_ns != self._reported_ns:
            self._reported_ns = 0
            self._log.info("loop_recovered", seconds=round(self._monitor.blocked_ns / NS_PER_SECOND, 3))
        if now_ns - due_ns > self._block_ns and due_ns != self._reported_ns and not was_delayed:
            self._reported_ns = due_ns
            self._report(now_ns - due_ns)

    def _run(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            self.check()

    def _report(self, late_ns: int) -> None:
        stack = stack_of(self._thread_id)
        if stack is None:
            return
        innermost = stack[-1]
        self._log.warning(
            "loop_blocked",
            seconds=round(late_ns / NS_PER_SECOND, 3),
            function=innermost.name,
            where=f"{innermost.filename}:{innermost.lineno}",
            stack="".join(stack.format()),
        )


def stack_of(thread_id: int) -> traceback.StackSummary | None:
    """Returns the innermost frames of a running thread, outermost first; ``None`` for a finished thread."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - the documented way
    return None if frame is None else traceback.extract_stack(frame, limit=_FRAMES_SHOWN)
