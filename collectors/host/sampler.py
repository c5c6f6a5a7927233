"""The sampler: runs the cycles of the grid and collects the samples of all collectors.

It handles the schedule, the time budget, error counts and logging, so that collectors need not. In
each cycle it asks every due collector in turn, validates the samples and publishes them as one
:class:`~decahertz.sample.SampleBatch` on ``samples:{collector}``. Cycles never overlap: one that takes too
long delays the next one, and the timer counts the missed ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry

from collectors.host.catch_up import CatchUp
from collectors.host.checkpointer import Checkpointer, NoCheckpoints
from collectors.host.dispatch import Dispatcher
from collectors.host.hosted import HostedCollector
from collectors.host.plugins import LoadedCollector, PluginFailure
from collectors.host.restore import History, WholeHistory, no_history, restore
from collectors.host.self_metrics import SamplerMetrics
from collectors.host.settings import SamplerSettings
from decahertz.bus import EVENTS, Bus, Subscription, samples_topic
from decahertz.checkpoint import Checkpointed, CheckpointStore
from decahertz.clock import NS_PER_SECOND, Clock, Cycle, CycleTimer, Grid
from decahertz.health import CollectorStatus, ComponentStatus, Health, RunState
from decahertz.supervision import supervise
from decahertz.words import counted

LIMIT_SECONDS = 10.0
"""Time limit for the start and the stop of a collector."""
_LATENESS_CYCLES = 6_000
"""Cycles whose lateness is kept for the percentiles: ten minutes."""
_SILENCE_NS = 2 * NS_PER_SECOND
_RECENTLY_NS = 60 * NS_PER_SECOND

CollectorT = TypeVar("CollectorT")


class Sampler:
    """Hosts collectors. ``start`` once, then ``stop``; nothing is published after that.

    ``failures`` are plugins that could not be loaded; they appear in the status with the collectors.
    """

    def __init__(  # noqa: PLR0913 - the last five have defaults
        self,
        bus: Bus,
        clock: Clock,
        timer: CycleTimer,
        registry: CollectorRegistry,
        settings: SamplerSettings,
        collectors: Sequence[LoadedCollector],
        *,
        failures: Sequence[PluginFailure] = (),
        history: History = no_history,
        is_whole: bool = True,
        checkpoints: CheckpointStore | None = None,
        others: Sequence[Checkpointed] = (),
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """``checkpoints`` and ``history`` restore the collectors; ``limit_seconds`` bounds a start or stop.

        ``others`` are parts other than collectors whose state is in the checkpoints too.

        If the history is not the whole one, :meth:`catch_up` is expected.
        """
        budget_ns = int(settings.budget_seconds * NS_PER_SECOND)
        self._hosted = tuple(HostedCollector(c, clock.monotonic_ns, budget_ns) for c in collectors)
        self._failures = tuple(failures)
        self._bus = bus
        self._clock = clock
        self._timer = timer
        self._history = history
        self._is_whole = is_whole
        self._behind: list[HostedCollector] = []
        """Collectors that lack part of their past."""
        self._grid = Grid()
        self._checkpointer = Checkpointer(
            checkpoints or NoCheckpoints(), clock, self._grid, settings.checkpoint_seconds, others
        )
        self._limit_seconds = limit_seconds
        self._dispatcher = Dispatcher((), clock.monotonic_ns)
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = self._stopped = False
        self._lateness: deque[int] = deque(maxlen=_LATENESS_CYCLES)
        self._cycle_ns = clock.time_ns()
        self._last_cycle_monotonic_ns = 0
        self._last_missed_ns: int | None = None
        self._last_step_ns: int | None = None
        self.cycles = 0
        self.missed_cycles = 0
        self.clock_steps = 0
        self._log = structlog.get_logger(part="sampler")
        self._metrics = SamplerMetrics(registry, self, self._hosted, clock.time_ns())

    async def start(self) -> None:
        """Starts the collectors, then the cycles. A collector that fails to start is not sampled."""
        if self._started:
            raise RuntimeError("the sampler is already started")
        self._started = True
        try:
            await asyncio.gather(*(hosted.start(self._limit_seconds) for hosted in self._hosted))
        except BaseException:
            await self.stop()
            raise
        running = [hosted for hosted in self._hosted if hosted.state is RunState.RUNNING]
        others, cut_off = await self._checkpointer.resume(running)
        is_restored = await restore(others, self._history, self._clock.time_ns())
        lacking = cut_off if is_restored and self._is_whole else [*others, *cut_off]
        self._behind = [collector for collector in lacking if collector.events_restored]
        self._checkpointer.take_part(collector for collector in running if collector not in self._behind)
        self._dispatcher = Dispatcher(running, self._clock.monotonic_ns)
        self._subscription = self._bus.subscribe(EVENTS, self._dispatcher.take)
        self._last_cycle_monotonic_ns = self._clock.monotonic_ns()
        self._task = supervise(self._run, "sampler")

    async def catch_up(self, history: WholeHistory) -> None:
        """Restores the collectors again, from all of their past, while the cycles go on.

        For a start without the database. Raises if reading fails; then it can be called again.
        """
        behind = self._behind
        catch_up = CatchUp(behind, self._bus, lambda: self._dispatcher.pending)
        await catch_up.run(history, self._clock.time_ns(), self._limit_seconds)
        self._dispatcher.forget_emitter()
        self._behind = []
        self._checkpointer.take_part(behind)

    def outdate(self) -> None:
        """Marks the collectors as behind: the state from which they continued lacks events."""
        self._behind = [c for c in self._hosted if c.events_restored and c.state is RunState.RUNNING]
        self._checkpointer.take_part((), without=self._behind)

    async def stop(self) -> None:
        """Stops the cycles, then the collectors in reverse order. Safe without ``start`` and twice."""
        if self._stopped or not self._started:
            return
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._subscription is not None:
            self._subscription.cancel()
            self._dispatcher.drain()
            self._checkpointer.save(self._cycle_ns)
        self._dispatcher.close()
        for hosted in reversed(self._hosted):
            await hosted.stop(self._limit_seconds)

    async def _run(self) -> None:
        while True:
            self._run_cycle(await self._timer.next())

    def _run_cycle(self, cycle: Cycle) -> None:
        self._record(cycle)
        index = self._grid.index(cycle.time_ns)
        for hosted in self._hosted:
            batch = hosted.cycle(cycle.time_ns, index, cycle.missed)
            if batch is not None:
                self._bus.publish(samples_topic(hosted.name), batch)
        self._cycle_ns = cycle.time_ns
        self._checkpointer.after_cycle(cycle.time_ns, self._dispatcher.pending)

    def _record(self, cycle: Cycle) -> None:
        self._last_cycle_monotonic_ns = self._clock.monotonic_ns()
        self.cycles += 1
        self._lateness.append(cycle.lateness_ns)
        self._metrics.observe_lateness(cycle.lateness_ns)
        if cycle.missed:
            self.missed_cycles += cycle.missed
            self._last_missed_ns = self._last_cycle_monotonic_ns
        if cycle.stepped_ns:
            self.clock_steps += 1
            self._last_step_ns = self._last_cycle_monotonic_ns
            self._log.warning("clock_stepped", seconds=cycle.stepped_ns / NS_PER_SECOND, missed=cycle.missed)

    @property
    def pending_events(self) -> int:
        """Events queued for delivery to the collectors."""
        return self._dispatcher.pending

    def lateness_seconds(self, quantile: float) -> float | None:
        """Returns a quantile of the lateness of the last ten minutes; ``None`` before the first cycle."""
        if not self._lateness:
            return None
        ordered = sorted(self._lateness)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] / NS_PER_SECOND

    def keys_over_budget(self) -> dict[str, int]:
        """Returns the number of keys over budget of each collector that has any."""
        return {hosted.name: over for hosted in self._hosted if (over := hosted.keys_over_budget)}

    def collector(self, type_: type[CollectorT]) -> CollectorT | None:
        """Returns the running collector of a type, if there is one."""
        return next((c.collector for c in self._hosted if isinstance(c.collector, type_)), None)

    @property
    def behind(self) -> list[str]:
        """Names of the collectors that lack part of their past: :meth:`catch_up` is due."""
        return [hosted.name for hosted in self._behind]

    def collectors(self) -> list[CollectorStatus]:
        """Returns the status of each collector; those that could not be loaded come last."""
        unloaded = [
            CollectorStatus(name=failure.name, state=RunState.FAILED, last_error=failure.reason)
            for failure in self._failures
        ]
        return [*(hosted.status() for hosted in self._hosted), *unloaded]

    def status(self) -> ComponentStatus:
        """Returns failed if the sampler does not run, degraded if cycles are missed or collectors fail."""
        if self._task is None or self._task.done() or self._stopped:
            detail = "not started" if self._task is None else "stopped"
            return ComponentStatus(name="sampler", health=Health.FAILED, detail=detail)
        problems = self._grid_problems(self._clock.monotonic_ns())
        if self._behind:
            problems.append(
                f"catching up: {', '.join(self.behind)} without the past that only the database has;"
                " no alert or limit is judged by them"
            )
        failed = [c.name for c in self._hosted if c.state is RunState.FAILED]
        failed += [failure.name for failure in self._failures]
        failing = [c.name for c in self._hosted if c.state is RunState.RUNNING and c.is_failing]
        if failed:
            problems.append(f"not running: {', '.join(failed)}")
        if failing:
            problems.append(f"failing: {', '.join(failing)}")
        problems += [problem for c in self._hosted for problem in c.key_problems()]
        health = Health.DEGRADED if problems else Health.OK
        return ComponentStatus(name="sampler", health=health, detail="; ".join(problems))

    def _grid_problems(self, now_ns: int) -> list[str]:
        problems = []
        silent_ns = now_ns - self._last_cycle_monotonic_ns
        if silent_ns > _SILENCE_NS:
            problems.append(
                f"no cycle for {silent_ns / NS_PER_SECOND:.0f} s (the wall clock may have stepped back)"
            )
        if self._last_missed_ns is not None and now_ns - self._last_missed_ns < _RECENTLY_NS:
            problems.append(f"{counted(self.missed_cycles, 'cycle')} missed, the last within a minute")
        if self._last_step_ns is not None and now_ns - self._last_step_ns < _RECENTLY_NS:
            problems.append("the wall clock stepped within a minute")
        return problems
