"""Generates signals: reads the bars, asks the generator, stores the signal as an event.

A signal is named by what it was made from (strategy, instrument, bars, generator, parameters, time), so
the same evaluation twice makes one signal. Nothing in the recorder makes an order of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from control.self_metrics import EvaluationOutcome, SignalMetrics
from decahertz.clock import NS_PER_SECOND, format_time
from decahertz.decode_errors import invalid_field
from decahertz.duration import parse_duration
from decahertz.event import EventBatch, Signal
from decahertz.signal_generator import MOST_BARS, SOURCE, Decision, SignalGenerator
from decahertz.trading_days import Timeframe
from storage.query.bars import LONGEST_TIMEFRAME_NS, BarFilter
from storage.query.stored_events import SIGNALS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from collectors.host.plugins import LoadedGenerator
    from decahertz.bar import Bar
    from decahertz.clock import Clock
    from decahertz.ingest import Ingest
    from decahertz.trading_days import TradingDays
    from storage.query.queries import Queries

_LOOK_SECONDS: Final = 0.05
_MOST_MADE: Final = 10_000
_MARGIN_NS: Final = NS_PER_SECOND // 10
"""Between the receipt of a tick and its entry in the spool."""


class InvalidEvaluationError(ValueError):
    """Raised for an unknown generator, or for parameters or a timeframe that it refuses."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class BarsBehindError(RuntimeError):
    """Raised while the database lacks what was recorded before the end of the bar."""


class Evaluation(Struct, frozen=True, kw_only=True):
    """A generator with its parameters, and the bars of an instrument to evaluate it on."""

    generator: str
    venue: str
    instrument: str
    timeframe: str
    strategy: str
    parameters: Mapping[str, Any]


class Outcome(Struct, frozen=True, kw_only=True):
    """The outcome of an evaluation."""

    end_ns: int
    """End of the bar at which the generator decided."""
    bars: int
    decision: Decision
    signal: Signal | None
    is_new: bool
    """Whether the signal was stored now: not before, and not for a time in the past."""


class Generators:
    """The generators that are loaded, by name."""

    def __init__(self, loaded: Iterable[LoadedGenerator], days: TradingDays) -> None:
        self.by_name = {one.name: one for one in loaded}
        self.days = days

    def make(self, evaluation: Evaluation) -> SignalGenerator[Any]:
        """The generator of an evaluation. Raises :class:`InvalidEvaluationError`."""
        loaded = self.by_name.get(evaluation.generator)
        if loaded is None:
            known = ", ".join(sorted(self.by_name)) or "none"
            reason = f"{evaluation.generator!r} is not enabled; known: {known}"
            raise InvalidEvaluationError("generator", reason)
        width_ns = parse_duration(evaluation.timeframe)
        if width_ns > LONGEST_TIMEFRAME_NS:
            raise InvalidEvaluationError("timeframe", "longer than 366d")
        try:
            # Values of settings are texts.
            parameters = msgspec.convert(evaluation.parameters, loaded.type.parameters_type, strict=False)
            generator = loaded.type(parameters, width_ns, self.days)
        except msgspec.ValidationError as error:
            field, reason = invalid_field(error, loaded.type.parameters_type)
            raise InvalidEvaluationError(f"parameters.{field}", reason) from error
        except ValueError as error:
            raise InvalidEvaluationError("parameters", str(error)) from error
        if not 1 <= generator.bars <= MOST_BARS:
            raise InvalidEvaluationError("parameters", f"{generator.bars} bars are not 1 to {MOST_BARS}")
        return generator


class SignalService:
    """Evaluates generators. All its evaluations are computations on stored bars; it has no state to lose."""

    def __init__(
        self,
        queries: Queries,
        ingest: Ingest,
        clock: Clock,
        generators: Generators,
        registry: CollectorRegistry,
        *,
        settle_seconds: float,
        behind_seconds: Callable[[], float],
        wait_seconds: float = 5.0,
    ) -> None:
        """``behind_seconds`` is the age of the oldest event that the database does not have.

        An evaluation waits up to ``wait_seconds`` for the bar to be stored.
        """
        self._queries = queries
        self._ingest = ingest
        self._clock = clock
        self.generators = generators
        self._metrics = SignalMetrics(registry, generators.by_name)
        self._settle_ns = round(settle_seconds * NS_PER_SECOND)
        self._behind_seconds = behind_seconds
        self._wait_ns = round(wait_seconds * NS_PER_SECOND)
        self._epoch = clock.time_ns()
        self._sequence = 0
        self._order = asyncio.Lock()
        self._made: OrderedDict[str, None] = OrderedDict()
        """Ids of the newest signals of this process, which may not be in the database yet."""

    async def generate(self, evaluation: Evaluation, at_ns: int | None = None) -> Outcome:
        """Evaluates at the end of the last bar, and stores the signal if there is one.

        With ``at_ns`` as of that time in the past; nothing is stored. Raises
        :class:`InvalidEvaluationError`, :class:`BarsBehindError`,
        :class:`~decahertz.ingest.NotDurableError` and the errors of the database.
        """
        generator = self.generators.make(evaluation)
        try:
            outcome = await self._evaluated(evaluation, generator, at_ns)
        except Exception:
            self._metrics.count(evaluation.generator, EvaluationOutcome.FAILED)
            raise
        if outcome.is_new:
            lateness = (self._clock.time_ns() - outcome.end_ns) / NS_PER_SECOND
            self._metrics.stored(evaluation.generator, lateness)
        else:
            known = EvaluationOutcome.NONE if outcome.signal is None else EvaluationOutcome.KNOWN
            self._metrics.count(evaluation.generator, known)
        return outcome

    async def _evaluated(
        self, evaluation: Evaluation, generator: SignalGenerator[Any], at_ns: int | None
    ) -> Outcome:
        days = self.generators.days
        frame = Timeframe(generator.timeframe_ns, days)
        if at_ns is None:
            end_ns = frame.start_of(self._clock.time_ns() - self._settle_ns)
            await self._until_stored(end_ns + self._settle_ns)
        else:
            end_ns = frame.start_of(max(at_ns, 0))
        found = await self._queries.bars(
            BarFilter(
                instrument=evaluation.instrument,
                timeframe_ns=generator.timeframe_ns,
                venues=(evaluation.venue,),
                end_ns=end_ns,
                days=days,
            ),
            limit=generator.bars,
        )
        bars = found.items[::-1]
        decision = _decide(generator, bars, frame.start_of(max(end_ns - 1, 0)), end_ns)
        if decision.direction is None:
            return Outcome(end_ns=end_ns, bars=len(bars), decision=decision, signal=None, is_new=False)
        signal = _signal(evaluation, generator, decision, bars[-1], end_ns)
        is_new = at_ns is None and await self._store(signal)
        return Outcome(end_ns=end_ns, bars=len(bars), decision=decision, signal=signal, is_new=is_new)

    async def _until_stored(self, time_ns: int) -> None:
        """Waits until the database has all events that were received until then."""
        deadline_ns = self._clock.monotonic_ns() + self._wait_ns
        while True:
            behind = self._behind_seconds()
            if self._clock.time_ns() - round(behind * NS_PER_SECOND) - _MARGIN_NS >= time_ns:
                return
            if self._clock.monotonic_ns() >= deadline_ns:
                raise BarsBehindError(f"the database lacks the newest {behind:.0f} s of what was recorded")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _store(self, signal: Signal) -> bool:
        """Stores a signal; returns whether it was not stored before."""
        async with self._order:
            if signal.signal_id in self._made or await self._is_stored(signal):
                return False
            self._sequence += 1
            await self._ingest.submit(
                EventBatch(source=SOURCE, epoch=self._epoch, first_sequence=self._sequence, events=(signal,))
            )
            self._made[signal.signal_id] = None
            if len(self._made) > _MOST_MADE:
                self._made.popitem(last=False)
            return True

    async def _is_stored(self, signal: Signal) -> bool:
        """Whether an earlier process has stored the signal."""
        await self._until_stored(self._epoch)
        which = {
            "strategy": signal.strategy,
            "signal_id": signal.signal_id,
            "source": SOURCE,
            "start_ns": signal.time_ns,
            "end_ns": signal.time_ns + 1,
        }
        return bool((await self._queries.newest(SIGNALS, which, limit=1)).items)


def _decide(generator: SignalGenerator[Any], bars: list[Bar], last_ns: int, end_ns: int) -> Decision:
    """The decision, which is always about the bar that has just ended: an old one asks for nothing now."""
    if not bars or bars[-1].time_ns != last_ns:
        return Decision(reason=f"there is no tick in the bar that ended at {format_time(end_ns)}")
    return generator.decide(bars)


def _signal(
    evaluation: Evaluation, generator: SignalGenerator[Any], decision: Decision, last: Bar, end_ns: int
) -> Signal:
    assert decision.direction is not None  # noqa: S101 - asked for with a direction only
    made_of = msgspec.json.encode(
        (msgspec.structs.replace(evaluation, parameters={}), generator.parameters), order="deterministic"
    )
    return Signal(
        time_ns=end_ns,
        strategy=evaluation.strategy,
        venue=evaluation.venue,
        instrument=evaluation.instrument,
        signal_id=f"{evaluation.generator}-{end_ns}-{hashlib.sha256(made_of).hexdigest()[:16]}",
        direction=decision.direction,
        strength=decision.strength,
        price=last.close,
        reason=decision.reason,
    )
