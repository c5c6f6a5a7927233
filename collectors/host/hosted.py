"""One collector inside the sampler: isolated, timed and counted.

Errors of a collector never reach the sampler's loop. A call of ``sample`` that exceeds the time budget is
counted, and the excess of consecutive slow calls accumulates. Once it amounts to several budgets, the
collector is skipped for as many cycles, so that on average even a slow collector takes no more than its
budget. A single slow call (a garbage collection, a stopped process, a busy machine) costs no sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import Any

import structlog

from collectors.common.checkpoints import decode, encode
from collectors.host.plugins import LoadedCollector, describe
from decahertz.checks import Reason, SampleCheck
from decahertz.clock import NS_PER_SECOND
from decahertz.collector import Collector
from decahertz.event import Event
from decahertz.health import CollectorStatus, RunState
from decahertz.incident import Incident
from decahertz.key_budget import DEFAULT_MAX_KEYS, KeyBudget
from decahertz.sample import SampleBatch

_TOLERATED_BUDGETS = 5
"""Accumulated excess, in budgets, after which the collector is skipped."""
_MAX_OVERRUN_NS = NS_PER_SECOND
"""Most excess counted for one call: a longer gap is likelier a suspended process than slow work."""
_MAX_RESTED = 9
"""Cycles in a row that a collector without keys and events is not asked in."""


class Skip(StrEnum):
    """Why a collector was not sampled in a cycle in which it was due."""

    OVER_BUDGET = "over_budget"
    ERROR = "error"
    """Its ``sample`` raised."""
    MISSED = "missed"
    """The cycle itself was missed."""


class HostedCollector:
    """A collector with its state and its counts. ``monotonic_ns`` reads a monotonic clock."""

    def __init__(self, loaded: LoadedCollector, monotonic_ns: Callable[[], int], budget_ns: int) -> None:
        self.name = loaded.name
        self.schema = loaded.schema
        self.every = loaded.collector.every
        self.events_taken = loaded.collector.events
        # A plugin that does not derive from BaseCollector may not declare it.
        self.events_restored: Mapping[type[Event], float] = getattr(loaded.collector, "restored", {})
        self.on_event: Callable[..., None] = loaded.collector.on_event
        self.takes_origin: bool = getattr(loaded.collector, "takes_origin", False)
        self.budgets: Sequence[KeyBudget] = getattr(loaded.collector, "budgets", ())
        """Its key budgets; the first one limits its samples."""
        self.state = RunState.STOPPED
        self.samples = 0
        self.events = 0
        self.event_ns = 0
        """Time spent in ``on_event`` since the start, in nanoseconds."""
        self.over_budget = 0
        self.skipped = dict.fromkeys(Skip, 0)
        self.dropped = dict.fromkeys(Reason, 0)
        self.observe_duration: Callable[[float], None] = _ignore
        self._collector = loaded.collector
        self._loaded = loaded
        max_keys = self.budgets[0].limit if self.budgets else DEFAULT_MAX_KEYS
        self._check = SampleCheck(loaded.schema, max_keys)
        self._monotonic_ns = monotonic_ns
        self._budget_ns = budget_ns
        self._consecutive_overruns = 0
        self._overrun_ns = 0
        self._skip_cycles = 0
        self._keys: int | None = None
        self._asked_events = 0
        """Events delivered when the collector was last asked for samples."""
        self._rested = 0
        self._last_error: str | None = None
        self._last_sample_ns: int | None = None
        self._duration_ns: int | None = None
        self._longest_ns: int | None = None
        self._log = log = structlog.get_logger(part="sampler", collector=loaded.name)
        self._sample_incident = sample = Incident("collector_sample", log)
        self._event_incident = event = Incident("collector_event", log)
        self._validation_incident = validation = Incident("collector_validation", log)
        self._budget_incident = budget = Incident("collector_budget", log)
        self._checkpoint_incident = checkpoint = Incident("collector_checkpoint", log)
        self._incidents = (sample, event, validation, budget, checkpoint)
        self._key_incident = Incident("key_admission", log)
        self._refused = 0
        """Refusals that the incident has seen."""
        self._expired_ns = 0

    @property
    def errors(self) -> int:
        """Exceptions raised by ``sample`` and ``on_event``."""
        return self._sample_incident.total + self._event_incident.total

    @property
    def keys_over_budget(self) -> int:
        """Keys without room, which are not sampled."""
        return sum(budget.over for budget in self.budgets)

    @property
    def refused_events(self) -> int:
        """Events that changed nothing because their key has no room."""
        return sum(budget.refused for budget in self.budgets)

    def key_problems(self) -> list[str]:
        """Returns a line for each key budget that is exceeded."""
        return [problem for problem in (budget.problem() for budget in self.budgets) if problem]

    @property
    def is_failing(self) -> bool:
        """Whether an incident of the collector is active."""
        return any(incident.active for incident in self._incidents)

    async def start(self, limit_seconds: float) -> None:
        """Starts the collector; it has failed if that raises or exceeds the limit."""
        try:
            await _within(self._collector.start(), limit_seconds)
        except TimeoutError:
            self._fail(f"start took longer than {limit_seconds:g} s", None)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._fail(f"start raised {describe(error)}", error)
        else:
            self.state = RunState.RUNNING

    async def stop(self, limit_seconds: float) -> None:
        """Stops the collector; errors are logged."""
        if self.state is RunState.RUNNING:
            self.state = RunState.STOPPED
        try:
            await _within(self._collector.stop(), limit_seconds)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._log.error("collector_stop_failed", reason=describe(error), exc_info=error)

    def successor(self) -> HostedCollector | None:
        """Returns a new collector of the same kind, which has seen no event; ``None`` if none can be made."""
        if self._loaded.make is None:
            return None
        loaded = replace(self._loaded, collector=self._loaded.make())
        return HostedCollector(loaded, self._monotonic_ns, self._budget_ns)

    def exchange(self, other: HostedCollector) -> None:
        """Exchanges the collectors of both; counts and incidents stay."""
        self._collector, other._collector = other._collector, self._collector
        self.on_event, other.on_event = other.on_event, self.on_event
        self.budgets, other.budgets = other.budgets, self.budgets
        self._refused = self.refused_events
        self._keys = None  # publish the next batch even if it is empty: the last one was the other's
        before, now = other._collector, self._collector
        for kept, current in zip(
            getattr(before, "histograms", ()), getattr(now, "histograms", ()), strict=True
        ):
            kept.series = current.series  # the exporter goes on with the histograms that it knows

    @property
    def collector(self) -> Collector:
        """The collector itself; another one after it has caught up."""
        return self._collector

    @property
    def checkpoint_name(self) -> str:
        """Name of its state in a checkpoint; empty if it has none."""
        # A plugin that does not derive from BaseCollector may not declare it.
        type_ = getattr(self._collector, "checkpoint_type", None)
        return f"{self.name}/{self._collector.checkpoint_version}" if type_ is not None else ""

    def checkpoint(self) -> bytes | None:
        """Returns the encoded state; ``None`` if that fails."""
        now_ns = self._monotonic_ns()
        try:
            return encode(self._collector.checkpoint(), self.budgets)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._last_error = f"checkpoint raised {describe(error)}"
            self._checkpoint_incident.fail(now_ns, error)
            return None

    def resume(self, state: bytes) -> bool:
        """Continues from an encoded state; returns whether the collector takes it."""
        type_ = self._collector.checkpoint_type
        assert type_ is not None  # noqa: S101 - a collector without it has no checkpoint_name
        try:
            found, budgets = decode(state, type_)
            for budget, held in zip(self.budgets, budgets, strict=True):
                budget.resume(held)
            self._collector.resume(found)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._log.warning("checkpoint_not_used", reason=describe(error))
            return False
        return True

    def repeat_cycle(self, time_ns: int, index: int) -> None:
        """Runs a cycle of before the start again, without publishing its samples."""
        if index % self.every == 0:
            with suppress(Exception):  # it was counted then
                self._collector.sample(time_ns)

    def event_failed(self, error: Exception) -> None:
        """Records that ``on_event`` raised."""
        self._last_error = f"on_event raised {describe(error)}"
        self._event_incident.fail(self._monotonic_ns(), error)

    def cycle(self, time_ns: int, index: int, missed: int) -> SampleBatch | None:
        """Runs cycle number ``index`` after ``missed`` missed cycles; returns the batch to publish."""
        if self.state is not RunState.RUNNING:
            return None
        if missed:
            self.skipped[Skip.MISSED] += (index - 1) // self.every - (index - 1 - missed) // self.every
        is_skipped = self._skip_cycles > 0
        self._skip_cycles = max(0, self._skip_cycles - 1 - missed)
        if index % self.every:
            return None
        if is_skipped:
            self.skipped[Skip.OVER_BUDGET] += 1
            return None
        if self._rests():
            return None
        return self._sample(time_ns)

    def _rests(self) -> bool:
        """Whether it has nothing to sample: it had no keys and has got no event since."""
        has_news = self._keys != 0 or not self.events_taken or self.events != self._asked_events
        if has_news or self._rested >= _MAX_RESTED:
            self._asked_events = self.events
            self._rested = 0
            return False
        self._rested += 1
        return True

    def _sample(self, time_ns: int) -> SampleBatch | None:
        before_ns = self._monotonic_ns()
        try:
            checked = self._check(self._collector.sample(time_ns))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            checked = None
            self._last_error = f"sample raised {describe(error)}"
            self.skipped[Skip.ERROR] += 1
            self._sample_incident.fail(before_ns, error)
        now_ns = self._monotonic_ns()
        self._spend(now_ns - before_ns, now_ns)
        if self._key_incident.active or self.refused_events != self._refused:
            self._look_at_keys(time_ns, now_ns)
        for incident in self._incidents:
            incident.look(now_ns)
        if checked is None:
            return None
        if checked.problem:
            for reason, count in checked.dropped.items():
                self.dropped[reason] += count
            self._last_error = checked.problem
            self._validation_incident.fail(now_ns, problem=checked.problem, dropped=checked.dropped.total())
        self._last_sample_ns = time_ns
        self.samples += len(checked.samples)
        before, self._keys = self._keys, len(checked.samples)
        # An empty batch says that the keys are gone, or that there are none yet; one is enough.
        return SampleBatch(self.schema, time_ns, checked.samples) if self._keys or before != 0 else None

    def _look_at_keys(self, time_ns: int, now_ns: int) -> None:
        if not 0 <= time_ns - self._expired_ns < NS_PER_SECOND:
            self._expired_ns = time_ns
            for budget in self.budgets:
                budget.expire(time_ns)
        refused = self.refused_events
        if refused != self._refused:
            self._refused = refused
            reason = "" if self._key_incident.active else "; ".join(self.key_problems())
            self._key_incident.fail(now_ns, reason=reason)
        if not self.keys_over_budget:
            self._key_incident.recover()

    def _spend(self, duration_ns: int, now_ns: int) -> None:
        self._duration_ns = duration_ns
        self._longest_ns = max(duration_ns, self._longest_ns or 0)
        self.observe_duration(duration_ns / NS_PER_SECOND)
        if duration_ns <= self._budget_ns:
            self._consecutive_overruns = self._overrun_ns = 0
            return
        self.over_budget += 1
        self._consecutive_overruns += 1
        self._overrun_ns += min(duration_ns - self._budget_ns, _MAX_OVERRUN_NS)
        if self._consecutive_overruns == 1:
            return
        self._budget_incident.fail(
            now_ns,
            seconds=duration_ns / NS_PER_SECOND,
            budget_seconds=self._budget_ns / NS_PER_SECOND,
        )
        budgets = self._overrun_ns // self._budget_ns
        if budgets >= _TOLERATED_BUDGETS:
            self._skip_cycles = budgets
            self._overrun_ns = 0

    def _fail(self, reason: str, error: Exception | None) -> None:
        self.state = RunState.FAILED
        self._last_error = reason
        self._log.error("collector_start_failed", reason=reason, exc_info=error)

    def status(self) -> CollectorStatus:
        """Returns the current status."""
        return CollectorStatus(
            name=self.name,
            state=self.state,
            every=self.every,
            keys=self._keys or 0,
            samples=self.samples,
            events=self.events,
            errors=self.errors,
            skipped=sum(self.skipped.values()),
            keys_over_budget=self.keys_over_budget,
            refused_events=self.refused_events,
            last_error=self._last_error,
            last_sample_ns=self._last_sample_ns,
            duration_last_seconds=_seconds(self._duration_ns),
            duration_max_seconds=_seconds(self._longest_ns),
        )


async def _within(work: Coroutine[Any, Any, None], limit_seconds: float) -> None:
    """Awaits ``work``; raises ``TimeoutError`` at the limit even if it ignores its cancellation."""
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
    """Retrieves the exception of an abandoned task, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / NS_PER_SECOND


def _ignore(_seconds: float) -> None:
    """Used until the metrics are registered."""
