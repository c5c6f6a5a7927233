"""How late the event loop runs its callbacks, and what it was doing when it stood still.

A timer beats every 25 ms and notes how late it is run; its resolution is that of the loop's timers,
about a millisecond. A thread watches the beat and, when it stops, writes down the loop's stack: the
culprit is on it by name.
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

BEAT_SECONDS = 0.025
WATCH_SECONDS = 0.05
_BEAT_NS = round(BEAT_SECONDS * NS_PER_SECOND)
_JOIN_SECONDS = 1.0
_FRAMES_SHOWN = 25


@dataclass(frozen=True, slots=True)
class LoopLag:
    """What the beat showed."""

    lag_ns: int
    """How late the latest beat came, or is by now."""
    max_ns: int
    """The longest lag over the trailing window."""
    late: int
    """Beats later than the first limit, ever."""
    blocks: int
    """Beats later than the second limit, ever."""


class LoopMonitor:
    """Beats in the event loop that is running when :meth:`start` is called."""

    def __init__(self, clock: Clock, *, late_seconds: float, block_seconds: float) -> None:
        """The two limits, in seconds."""
        self._clock = clock
        self._late_ns = round(late_seconds * NS_PER_SECOND)
        self._block_ns = round(block_seconds * NS_PER_SECOND)
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lag_ns = 0
        self._late = 0
        self._blocks = 0
        # Per interval between two looks the longest lag, for a trailing second of 10 Hz looks.
        self._maxima: deque[tuple[int, int]] = deque()
        self._interval_max_ns = 0
        self.due_ns = 0
        """When the next beat should come, by the monotonic clock; read by the watchdog's thread."""
        self.blocked_ns = 0
        """How long the latest block lasted."""

    def start(self) -> None:
        """Begin to beat."""
        self._loop = asyncio.get_running_loop()
        self._schedule()

    def stop(self) -> None:
        """Stop beating. Safe without ``start``, and twice."""
        self._loop = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def look(self) -> LoopLag:
        """What was seen so far; every look ends an interval of the trailing second."""
        now_ns = self._clock.monotonic_ns()
        # The loop's timers are run in order, but a beat that is due may still be waiting for its turn.
        lag_ns = max(self._lag_ns, now_ns - self.due_ns) if self._loop is not None else self._lag_ns
        self._maxima.append((now_ns, max(lag_ns, self._interval_max_ns)))
        self._interval_max_ns = 0
        while self._maxima[0][0] <= now_ns - NS_PER_SECOND:
            self._maxima.popleft()
        return LoopLag(lag_ns, max(maximum for _, maximum in self._maxima), self._late, self._blocks)

    def _beat(self) -> None:
        lag_ns = self._lag_ns = max(0, self._clock.monotonic_ns() - self.due_ns)
        self._interval_max_ns = max(lag_ns, self._interval_max_ns)
        if lag_ns > self._late_ns:
            self._late += 1
        if lag_ns > self._block_ns:
            self.blocked_ns = lag_ns
            self._blocks += 1
        self._schedule()

    def _schedule(self) -> None:
        if self._loop is not None:
            self.due_ns = self._clock.monotonic_ns() + _BEAT_NS
            self._handle = self._loop.call_later(BEAT_SECONDS, self._beat)


class Watchdog:
    """A thread that logs the stack of the event loop's thread once whenever the beat stops."""

    def __init__(self, clock: Clock, monitor: LoopMonitor, *, block_seconds: float) -> None:
        """Watch ``monitor`` for beats more than ``block_seconds`` late."""
        self._clock = clock
        self._monitor = monitor
        self._block_ns = round(block_seconds * NS_PER_SECOND)
        self._watched = 0
        self._reported_ns = 0
        self._looked_ns = clock.monotonic_ns()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-watchdog", daemon=True)
        self._log = structlog.get_logger(part="system")

    def start(self) -> None:
        """Watch the thread that calls this. Called once."""
        self.watch(threading.get_ident())
        self._thread.start()

    def watch(self, thread_id: int) -> None:
        """Whose stack is to be logged."""
        self._watched = thread_id

    async def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def look(self) -> None:
        """Look at the beat, and say so where it stopped or came back. The thread does this all the time."""
        now_ns, due_ns = self._clock.monotonic_ns(), self._monitor.due_ns
        # Where this thread was held up as well, the whole process stood still (a starved machine, a
        # stopped process, C code that keeps the interpreter): the stack would accuse the innocent.
        was_held_up = now_ns - self._looked_ns > self._block_ns + round(WATCH_SECONDS * NS_PER_SECOND)
        self._looked_ns = now_ns
        if self._reported_ns and due_ns != self._reported_ns:
            self._reported_ns = 0
            self._log.info("loop_unblocked", seconds=round(self._monitor.blocked_ns / NS_PER_SECOND, 3))
        if now_ns - due_ns > self._block_ns and due_ns != self._reported_ns and not was_held_up:
            self._reported_ns = due_ns
            self._report(now_ns - due_ns)

    def _run(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            self.look()

    def _report(self, late_ns: int) -> None:
        stack = stack_of(self._watched)
        if stack is None:
            return
        culprit = stack[-1]
        self._log.warning(
            "loop_blocked",
            seconds_so_far=round(late_ns / NS_PER_SECOND, 3),
            function=culprit.name,
            where=f"{culprit.filename}:{culprit.lineno}",
            stack="".join(stack.format()),
        )


def stack_of(thread_id: int) -> traceback.StackSummary | None:
    """The innermost frames of a running thread, outermost first; ``None`` for a thread that ended."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - the documented way to another thread's stack
    return None if frame is None else traceback.extract_stack(frame, limit=_FRAMES_SHOWN)
