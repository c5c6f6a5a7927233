"""Evaluates signal generators on a schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim, CronSimError
from msgspec import Struct

from control.signals.service import BarsBehindError, Evaluation, Generators, InvalidEvaluationError
from decahertz.clock import NS_PER_SECOND, from_datetime, to_datetime
from decahertz.duration import parse_duration
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.ingest import NotDurableError
from decahertz.settings import SettingsError
from decahertz.supervision import supervise
from decahertz.trading_days import Timeframe, TradingDays
from storage.database import DatabaseClosedError, DatabaseError

if TYPE_CHECKING:
    from collectors.host.plugins import Loaded, LoadedGenerator, PluginFailure
    from control.signals.service import SignalService
    from control.signals.settings import ScheduleSettings, SignalsSettings
    from decahertz.accounting import AccountingSettings
    from decahertz.clock import Clock

_LONGEST_SLEEP_SECONDS: Final = 1.0
_FAILURES: Final = (DatabaseError, NotDurableError, BarsBehindError)


class ScheduleStatus(Struct, frozen=True, kw_only=True):
    """A schedule, and its last evaluation."""

    name: str
    evaluation: Evaluation
    cron: str
    """Empty: at the end of every bar."""
    next_ns: int | None
    """Time of the next evaluation."""
    evaluated_ns: int | None
    """Time of the last one; null: none since the start."""
    result: str
    """Reason that the last evaluation gave, or why it failed."""
    signals: int
    """Signals since the start."""
    failures: int
    """Evaluations since the start that failed."""


class SignalSchedules:
    """Runs all schedules. Call ``start`` once; ``stop`` is safe without it, and twice.

    An evaluation that fails is not made up for: its bar is over, and the next one is evaluated instead.
    """

    def __init__(
        self,
        service: SignalService,
        clock: Clock,
        settings: SignalsSettings,
        failures: Sequence[PluginFailure] = (),
    ) -> None:
        """``failures`` are the generators that could not be loaded; their schedules do not run.

        Raises :class:`~decahertz.settings.SettingsError` for a schedule that cannot run.
        """
        self._failures = {failure.name: failure.reason for failure in failures}
        self._schedules = [
            _Schedule(name, one, service, clock, settings.settle_seconds)
            for name, one in settings.schedules.items()
            if one.generator not in self._failures
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Evaluates from now on."""
        self._tasks = [supervise(one.run, f"signal schedule {one.name}") for one in self._schedules]

    async def stop(self) -> None:
        """Stops."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def status(self) -> ComponentStatus:
        """Degraded while the last evaluation of a schedule has failed, or if a generator is not loaded."""
        failed = [
            *(f"the generator {name} cannot be used: {reason}" for name, reason in self._failures.items()),
            *(f"{one.name}: {one.result}" for one in self._schedules if one.has_failed),
        ]
        return ComponentStatus(
            name="signals", health=Health.DEGRADED if failed else Health.OK, detail="; ".join(failed)
        )

    @property
    def schedules(self) -> list[ScheduleStatus]:
        """The schedules, by name."""
        return sorted((one.shown() for one in self._schedules), key=lambda one: one.name)


class _Schedule:
    def __init__(
        self,
        name: str,
        settings: ScheduleSettings,
        service: SignalService,
        clock: Clock,
        settle_seconds: float,
    ) -> None:
        self.name = name
        self.evaluation = evaluation_of(name, settings)
        self.cron = settings.cron
        self.result = ""
        self.has_failed = False
        self._service = service
        self._clock = clock
        self._days = service.generators.days
        self._settle_ns = round(settle_seconds * NS_PER_SECOND)
        self._evaluated_ns: int | None = None
        self._next_ns: int | None = None
        self._signals = self._failures = 0
        self._incident = Incident("signal_schedule", structlog.get_logger(part="control", schedule=name))
        check_schedule(name, settings, service.generators)

    async def run(self) -> None:
        """Evaluates until cancelled."""
        while True:
            next_ns = self._next_ns = self._after(self._clock.time_ns())
            if next_ns is None:  # the expression has no further time
                await asyncio.Event().wait()
                continue
            while (  # noqa: ASYNC110 - the wall clock may step
                left_ns := next_ns + self._settle_ns - self._clock.time_ns()
            ) > 0:
                await asyncio.sleep(min(left_ns / NS_PER_SECOND, _LONGEST_SLEEP_SECONDS))
            await self._evaluate()

    def shown(self) -> ScheduleStatus:
        """The schedule for the API."""
        return ScheduleStatus(
            name=self.name,
            evaluation=self.evaluation,
            cron=self.cron,
            next_ns=self._next_ns,
            evaluated_ns=self._evaluated_ns,
            result=self.result,
            signals=self._signals,
            failures=self._failures,
        )

    async def _evaluate(self) -> None:
        try:
            outcome = await self._service.generate(self.evaluation)
        except _FAILURES as error:
            self.has_failed, self.result = True, str(error)
            self._failures += 1
            if not isinstance(error, DatabaseClosedError):  # its opening reports why
                self._incident.fail(self._clock.monotonic_ns(), error)
        except Exception as error:  # noqa: BLE001 - a generator may raise anything
            self.has_failed, self.result = True, f"{type(error).__name__}: {error}"
            self._failures += 1
            self._incident.fail(self._clock.monotonic_ns(), error)
        else:
            self.has_failed, self.result = False, outcome.decision.reason
            self._signals += outcome.is_new
            self._incident.recover()
        self._evaluated_ns = self._clock.time_ns()

    def _after(self, time_ns: int) -> int | None:
        """The first time after a time."""
        if not self.cron:
            return Timeframe(parse_duration(self.evaluation.timeframe), self._days).end_of(time_ns)
        return next(_times_of(self.cron, time_ns, self._days.timezone), None)


def _times_of(cron: str, after_ns: int, timezone: str) -> Iterator[int]:
    start = to_datetime(after_ns).astimezone(ZoneInfo(timezone))
    yield from map(from_datetime, CronSim(cron, start))


def evaluation_of(name: str, settings: ScheduleSettings) -> Evaluation:
    """The evaluation of a schedule."""
    pairs = (text.partition("=") for text in settings.parameters)
    return Evaluation(
        generator=settings.generator,
        venue=settings.venue,
        instrument=settings.instrument,
        timeframe=settings.timeframe,
        strategy=settings.strategy or name,
        parameters={key: value for key, _, value in pairs},
    )


def check_schedule(name: str, settings: ScheduleSettings, generators: Generators) -> None:
    """Raises :class:`~decahertz.settings.SettingsError` for a schedule that cannot run."""
    key = f"signals.schedules.{name}"
    try:
        generators.make(evaluation_of(name, settings))
    except InvalidEvaluationError as error:
        field, _, parameter = error.field.partition(".")
        reason = f"{parameter}: {error.reason}" if parameter else error.reason
        raise SettingsError(f"{key}.{field}", reason) from error
    if settings.cron:
        try:
            CronSim(settings.cron, to_datetime(0))
        except CronSimError as error:
            reason = f"{settings.cron!r} is not a cron expression: {error}"
            raise SettingsError(f"{key}.cron", reason) from error


def check_schedules(
    settings: SignalsSettings, accounting: AccountingSettings, loaded: Loaded[LoadedGenerator]
) -> None:
    """Raises :class:`~decahertz.settings.SettingsError` for the first schedule that cannot run.

    One whose generator could not be loaded is none: that is reported, and does not stop the start.
    """
    generators = Generators(loaded.plugins, TradingDays(accounting))
    failed = {failure.name for failure in loaded.failures}
    for name, one in settings.schedules.items():
        if one.generator not in failed:
            check_schedule(name, one, generators)
