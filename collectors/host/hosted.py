"""One collector under the care of its host: guarded, measured, counted.

Nothing that a collector does reaches the grid as an error. A call of ``sample`` that takes longer than
its budget is counted. What calls in a row overrun adds up, and where that comes to a few budgets, the
collector is left out for as many cycles: however slow it is, on average it takes no more than its share. One
slow call (a garbage collection, a stopped process) or a machine that is busy for a moment costs no sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from enum import StrEnum
from typing import Any

import structlog

from collectors.host.plugins import LoadedCollector
from decahertz.checks import Reason, SampleCheck
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Event
from decahertz.health import CollectorStatus, RunState
from decahertz.incident import Incident
from decahertz.sample import SampleBatch

_CREDIT = 5
"""So many budgets may be overrun by calls in a row before the collector is left out."""
_LONGEST_OVERRUN_NS = NS_PER_SECOND
"""No single call counts for more: a process that was stopped did not use the time."""


class Skip(StrEnum):
    """Why a collector was not sampled on a cycle on which it was due."""

    OVER_BUDGET = "over_budget"
    ERROR = "error"
    """Its ``sample`` raised."""
    MISSED = "missed"
    """The cycle itself was missed."""


class HostedCollector:
    """A collector, its state and its figures. ``monotonic_ns`` is a clock's."""

    def __init__(self, loaded: LoadedCollector, monotonic_ns: Callable[[], int], budget_ns: int) -> None:
        """Nothing is called yet."""
        self.name = loaded.name
        self.schema = loaded.schema
        self.every = loaded.collector.every
        self.events_taken = loaded.collector.events
        # A plugin that does not derive from BaseCollector may have been written before this existed.
        self.events_restored: Mapping[type[Event], float] = getattr(loaded.collector, "restored", {})
        self.on_event = loaded.collector.on_event
        self.state = RunState.DISABLED
        self.samples = 0
        self.events = 0
        self.event_ns = 0
        """Time spent in ``on_event`` since the start."""
        self.over_budget = 0
        self.skipped = dict.fromkeys(Skip, 0)
        self.dropped = dict.fromkeys(Reason, 0)
        self.observe_duration: Callable[[float], None] = _ignore
        self._collector = loaded.collector
        self._check = SampleCheck(loaded.schema)
        self._monotonic_ns = monotonic_ns
        self._budget_ns = budget_ns
        self._over_in_a_row = 0
        self._overrun_ns = 0
        self._leave_out = 0
        self._keys: int | None = None
        self._last_error: str | None = None
        self._last_sample_ns: int | None = None
        self._duration_ns: int | None = None
        self._longest_ns: int | None = None
        log = structlog.get_logger(part="sampler", collector=loaded.name)
        self._log = log
        self._sampling = Incident("collector_sample", log)
        self._taking = Incident("collector_event", log)
        self._returning = Incident("collector_values", log)
        self._lasting = Incident("collector_budget", log)

    @property
    def errors(self) -> int:
        """How often ``sample`` or ``on_event`` raised."""
        return self._sampling.total + self._taking.total

    @property
    def troubled(self) -> bool:
        """Whether something of it is failing at present."""
        return any(i.active for i in (self._sampling, self._taking, self._returning, self._lasting))

    async def start(self, limit_seconds: float) -> None:
        """Start the collector; where that raises or takes longer, it has failed."""
        try:
            await _within(self._collector.start(), limit_seconds)
        except TimeoutError:
            self._fail(f"start took longer than {limit_seconds:g} s", None)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._fail(f"start raised {describe(error)}", error)
        else:
            self.state = RunState.RUNNING

    async def stop(self, limit_seconds: float) -> None:
        """Stop the collector; what it raises is logged."""
        if self.state is RunState.RUNNING:
            self.state = RunState.DISABLED
        try:
            await _within(self._collector.stop(), limit_seconds)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._log.error("collector_stop_failed", reason=describe(error), exc_info=error)

    def event_failed(self, error: Exception) -> None:
        """Note that ``on_event`` raised."""
        self._last_error = f"on_event raised {describe(error)}"
        self._taking.fail(self._monotonic_ns(), error)

    def cycle(self, time_ns: int, index: int, missed: int) -> SampleBatch | None:
        """Meet an instant, the ``index``-th of the grid, after ``missed`` ones: the batch to publish."""
        if self.state is not RunState.RUNNING:
            return self._vanish(time_ns)
        if missed:
            self.skipped[Skip.MISSED] += (index - 1) // self.every - (index - 1 - missed) // self.every
        left_out = self._leave_out > 0
        self._leave_out = max(0, self._leave_out - 1 - missed)
        if index % self.every:
            return None
        if left_out:
            self.skipped[Skip.OVER_BUDGET] += 1
            return None
        return self._sample(time_ns)

    def _sample(self, time_ns: int) -> SampleBatch | None:
        before_ns = self._monotonic_ns()
        try:
            checked = self._check(self._collector.sample(time_ns))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            checked = None
            self._last_error = f"sample raised {describe(error)}"
            self.skipped[Skip.ERROR] += 1
            self._sampling.fail(before_ns, error)
        now_ns = self._monotonic_ns()
        self._spend(now_ns - before_ns, now_ns)
        for incident in (self._sampling, self._taking, self._returning, self._lasting):
            incident.look(now_ns)
        if checked is None:
            return None
        if checked.problem:
            for reason, count in checked.dropped.items():
                self.dropped[reason] += count
            self._last_error = checked.problem
            self._returning.fail(now_ns, problem=checked.problem, dropped=checked.dropped.total())
        self._last_sample_ns = time_ns
        self.samples += len(checked.samples)
        had, self._keys = self._keys, len(checked.samples)
        # An empty batch says that the keys are gone, or that there are none so far; once is enough.
        return SampleBatch(self.schema, time_ns, checked.samples) if self._keys or had != 0 else None

    def _spend(self, duration_ns: int, now_ns: int) -> None:
        self._duration_ns = duration_ns
        self._longest_ns = max(duration_ns, self._longest_ns or 0)
        self.observe_duration(duration_ns / NS_PER_SECOND)
        if duration_ns <= self._budget_ns:
            self._over_in_a_row = self._overrun_ns = 0
            return
        self.over_budget += 1
        self._over_in_a_row += 1
        self._overrun_ns += min(duration_ns - self._budget_ns, _LONGEST_OVERRUN_NS)
        if self._over_in_a_row == 1:
            return
        self._lasting.fail(
            now_ns,
            seconds=duration_ns / NS_PER_SECOND,
            budget_seconds=self._budget_ns / NS_PER_SECOND,
        )
        budgets = self._overrun_ns // self._budget_ns
        if budgets >= _CREDIT:
            self._leave_out = budgets
            self._overrun_ns = 0

    def _vanish(self, time_ns: int) -> SampleBatch | None:
        if not self._keys:
            return None
        self._keys = None
        return SampleBatch(self.schema, time_ns, ())

    def _fail(self, reason: str, error: Exception | None) -> None:
        self.state = RunState.FAILED
        self._last_error = reason
        self._log.error("collector_start_failed", reason=reason, exc_info=error)

    def status(self) -> CollectorStatus:
        """How it is now."""
        return CollectorStatus(
            name=self.name,
            state=self.state,
            every=self.every,
            keys=self._keys or 0,
            samples=self.samples,
            events=self.events,
            errors=self.errors,
            skipped=sum(self.skipped.values()),
            last_error=self._last_error,
            last_sample_ns=self._last_sample_ns,
            duration_last_seconds=_seconds(self._duration_ns),
            duration_max_seconds=_seconds(self._longest_ns),
        )


def describe(error: BaseException) -> str:
    """An exception in one line."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


async def _within(work: Coroutine[Any, Any, None], limit_seconds: float) -> None:
    """Await ``work``; raise ``TimeoutError`` at the limit even if it does not heed its cancellation."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        task.add_done_callback(_forget)
        raise TimeoutError(f"took longer than {limit_seconds:g} s")
    task.result()


def _forget(task: asyncio.Future[None]) -> None:
    """Look at the outcome of a task that nobody waits for, so that asyncio does not complain of it."""
    if not task.cancelled():
        task.exception()


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / NS_PER_SECOND


def _ignore(_seconds: float) -> None:
    """Nobody observes durations."""
