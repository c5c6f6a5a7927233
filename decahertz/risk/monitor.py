"""Evaluates the recorder's own risk limits in every cycle, and says whether anything speaks against trading.

A limit rises to ``soft`` or ``hard`` at once, and falls back after the value has stayed below it for five
seconds. Each change is a ``risk`` event of this recorder, stored like those of a trading process.

Everything that speaks against trading is a :class:`~decahertz.trading_state.TradingState` on the bus: at once
when a halt begins or ends or a level changes, and a second later otherwise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

import structlog

from collectors.execution.sample import ExecutionSample
from collectors.market.sample import MarketSample, Verdict
from collectors.risk.sample import DESK, RiskSample
from collectors.risk.standing import Standing
from collectors.strategy.exposure import Exposure, total_of
from collectors.strategy.sample import StrategySample
from decahertz.clock import NS_PER_SECOND
from decahertz.event import EventBatch, Risk
from decahertz.event_times import BatchRefusedError
from decahertz.halts import TOPIC as HALTS
from decahertz.health import ComponentStatus, Health
from decahertz.risk.measures import Measures, measures_of, measures_of_desk, open_orders_of
from decahertz.risk_limits import CAN_TRADE, NET_EXPOSURE, NO_CURRENCY, OWN_PREFIX, Level, Limit
from decahertz.sample import Sample, SampleBatch
from decahertz.supervision import supervise
from decahertz.trading_state import TOPIC as TRADING
from decahertz.trading_state import Objection, TradingState

if TYPE_CHECKING:
    from collectors.risk.collector import RiskCollector
    from collectors.strategy.collector import StrategyCollector
    from decahertz.bus import Bus, Message, Subscription
    from decahertz.clock import Clock
    from decahertz.ingest import Ingest
    from decahertz.latest import LatestSamples
    from decahertz.risk_limits import RiskSettings

SOURCE = "recorder-risk"
"""Emitter of the events."""
HOLD_NS = 5 * NS_PER_SECOND
_LOOK_NS = NS_PER_SECOND
"""Interval of looking at what else speaks against trading."""
_FIRST_LOOK_NS = 10 * NS_PER_SECOND
"""Time that the parts have to start before their state is reported."""
_STALE_NS = 2 * NS_PER_SECOND
_MOST_WAITING = 10_000
_MOST_CURRENCIES = 64
_LISTED = 10
_WORDS = {Health.DEGRADED: "is degraded", Health.FAILED: "has failed"}
_LIVING = frozenset({Verdict.LIVE, Verdict.QUIET})
_DEAD = frozenset({Verdict.STALE, Verdict.MUTE})
_JUDGED = ("strategy", "execution", "risk")
"""Collectors whose figures are compared with limits, or tell how a limit stood before."""

SampleT = TypeVar("SampleT", bound=Sample)


class RiskMonitor:
    """Holds how each limit stands. ``start`` once the sampler runs, then ``stop``."""

    def __init__(  # noqa: PLR0913 - four callables read the current state
        self,
        bus: Bus,
        clock: Clock,
        ingest: Ingest,
        settings: RiskSettings,
        latest: LatestSamples,
        *,
        strategies: Callable[[], StrategyCollector | None],
        risks: Callable[[], RiskCollector | None],
        behind: Callable[[], Collection[str]],
        components: Callable[[], list[ComponentStatus]],
    ) -> None:
        """The callables are cheap and return the current state.

        ``behind`` are the names of the collectors that lack a part of their past: meanwhile no limit is
        compared with their figures, and each keeps its level.
        """
        self._bus = bus
        self._clock = clock
        self._ingest = ingest
        self._settings = settings
        self._latest = latest
        self._strategies = strategies
        self._risks = risks
        self._behind = behind
        self._components = components
        self.on_hard: Callable[[str, str], None] = lambda _strategy, _reason: None
        """Called with the strategy, or ``desk``, and the reason when a hard limit is exceeded."""
        self.halted: Callable[[], list[Objection]] = list
        """Returns the objections of halts to trading."""
        self._desk_limits = settings.desk.limits()
        self._limits: dict[str, list[Limit]] = {}
        self._standings: dict[tuple[str, str], Standing] = {}
        self.exposure = Exposure()
        """Of all strategies together, as of the newest evaluation."""
        self._is_behind = False
        """Whether a collector lacked a part of its past at the newest evaluation."""
        self._evaluated_ns = clock.monotonic_ns()
        self._look_at_ns = self._evaluated_ns + _FIRST_LOOK_NS
        self._can_trade: bool | None = None
        """As reported; ``None`` before the first look."""
        self._objected_ns = 0
        self._waiting: deque[Risk] = deque(maxlen=_MOST_WAITING)
        self._has_news = asyncio.Event()
        self._epoch = clock.time_ns()
        self._sequence = 0
        self._state: TradingState | None = None
        """As published last."""
        self._state_changed = asyncio.Event()
        """Set, and replaced by another, when a state is published."""
        self._is_released = False
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger(part="risk")

    async def start(self) -> None:
        """Evaluates from now on."""
        self._subscriptions = [
            self._bus.subscribe("samples:strategy", self._take),
            self._bus.subscribe(HALTS, self._take),
        ]
        self._publish()
        self._tasks = [supervise(self._send, "risk-events"), supervise(self._watch, "trading-state")]

    async def stop(self) -> None:
        """Stops. Safe without ``start``, and twice."""
        for subscription in self._subscriptions:
            subscription.cancel()
        self._subscriptions.clear()
        self.release()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def release(self) -> None:
        """Answers those who wait for another state, now and from now on at once."""
        self._is_released = True
        self._state_changed.set()

    @property
    def has_limits(self) -> bool:
        """Whether the settings limit anything."""
        own = self._settings.strategies.values()
        return bool(self._desk_limits or self._settings.limits() or any(limits.limits() for limits in own))

    @property
    def standings(self) -> list[Standing]:
        """How each limit stands, by strategy and measure."""
        return list(self._standings.values())

    def status(self) -> ComponentStatus:
        """Degraded while limits are set and nothing evaluates them."""
        late = self._not_evaluated() or self._catching_up()
        return ComponentStatus(
            name="risk", health=Health.DEGRADED if late else Health.OK, detail=late[0] if late else ""
        )

    def objections(self) -> list[Objection]:
        """Returns everything that speaks against trading; empty if nothing does."""
        others = [
            *self._not_evaluated(),
            *self._catching_up(),
            *self._stale(),
            *(f"{part.name} {_WORDS[part.health]}: {part.detail}" for part in self._unhealthy()),
        ]
        return [
            *self.halted(),
            *self._exceeded(),
            *self._reported(),
            *(Objection(reason=reason) for reason in others),
        ]

    def state(self) -> TradingState:
        """Returns whether trading may go on, and publishes that if it has changed."""
        return self._publish()

    async def next_state(self, known_ns: int | None, wait_seconds: float) -> TradingState:
        """Returns the state as soon as its time is not ``known_ns``, at the latest after ``wait_seconds``."""
        state = self._publish()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                while state.time_ns == known_ns and not self._is_released:
                    await self._state_changed.wait()
                    state = self._publish()
        return self._publish()

    @property
    def is_breached(self) -> bool:
        """Whether a hard limit is exceeded, or one is reported as breached."""
        return any(s.level is Level.HARD for s in self._standings.values()) or bool(self._reported())

    def _take(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            self._evaluate(_samples(message, StrategySample), message.time_ns)
        else:
            self._publish()

    def _evaluate(self, samples: tuple[StrategySample, ...], now_ns: int) -> None:
        self._evaluated_ns = self._clock.monotonic_ns()
        collector = self._strategies()
        # The newest samples of the other collectors are those of the cycle before.
        was_behind, self._is_behind = self._is_behind, bool(self._catching_up())
        if collector is not None and self.has_limits and not (self._is_behind or was_behind):
            self._compare(samples, collector, now_ns)
        if self._evaluated_ns >= self._look_at_ns:
            self._look_at_ns = self._evaluated_ns + _LOOK_NS
            self._look(now_ns)
            self._show(() if collector is None or self._is_behind else collector.exposures(now_ns))

    def _compare(
        self, samples: tuple[StrategySample, ...], strategies: StrategyCollector, now_ns: int
    ) -> None:
        by_strategy = {exposure.strategy: exposure for exposure in strategies.exposures(now_ns)}
        orders = open_orders_of(self._newest("execution", ExecutionSample))
        self.exposure = total_of(by_strategy.values())
        seen: set[tuple[str, str]] = set()
        before = self._hard()
        for sample in samples:
            limits = self._limits_of(sample.strategy)
            if limits:
                exposure = by_strategy.get(sample.strategy, Exposure())
                measures = measures_of(sample, exposure, orders[sample.strategy])
                seen.update(self._update(measures, limits, now_ns))
        if self._desk_limits:
            measures = measures_of_desk(samples, strategies.desk(now_ns), self.exposure, orders.total())
            seen.update(self._update(measures, self._desk_limits, now_ns))
        for key in self._standings.keys() - seen:  # the strategy is retired
            del self._standings[key]
        collector = self._risks()
        if collector is not None:
            collector.standings = tuple(self._standings.values())
        if self._hard() != before:
            self._publish()

    def _hard(self) -> set[tuple[str, str]]:
        return {key for key, standing in self._standings.items() if standing.level is Level.HARD}

    def _limits_of(self, strategy: str) -> list[Limit]:
        limits = self._limits.get(strategy)
        if limits is None:
            limits = self._limits[strategy] = self._settings.of_strategy(strategy)
        return limits

    def _update(self, measures: Measures, limits: list[Limit], now_ns: int) -> Iterator[tuple[str, str]]:
        for limit in limits:
            key = (measures.strategy, limit.measure)
            standing = self._standings.get(key)
            if standing is None:
                standing = self._standings[key] = self._first(measures.strategy, limit, now_ns)
            value = measures.values[limit.measure]
            reason = measures.reason(limit.measure) if value is None else ""
            if standing.update(value, reason, now_ns, HOLD_NS):
                self._changed(standing, now_ns)
            yield key

    def _first(self, strategy: str, limit: Limit, now_ns: int) -> Standing:
        """A limit as it stood when the previous process ended: what was reported is not reported again."""
        standing = Standing(strategy, limit, since_ns=now_ns)
        collector = self._risks()
        reported = None if collector is None else collector.newest_own(strategy, standing.name)
        if reported is not None:
            standing.level, standing.since_ns = limit.level(reported.value), reported.time_ns
        return standing

    def _changed(self, standing: Standing, now_ns: int) -> None:
        limit, value = standing.limit, standing.value
        assert value is not None  # noqa: S101 - an unknown value changes no level
        say = self._log.info if standing.level is Level.OK else self._log.warning
        say(
            "risk_level_changed",
            strategy=standing.strategy,
            measure=limit.measure,
            level=standing.level.name.lower(),
            value=value,
            limit=limit.hard,
        )
        if standing.level is Level.HARD:
            reason = f"{limit.measure} is {value:g}, its hard limit {limit.hard:g}"
            self.on_hard(standing.strategy, reason)
        self._emit(
            Risk(
                time_ns=now_ns,
                name=standing.name,
                value=value,
                limit=limit.hard,
                soft_limit=limit.soft,
                strategy=None if standing.strategy == DESK else standing.strategy,
                breached=standing.level is Level.HARD,
            )
        )

    async def _watch(self) -> None:
        """Publishes what changes without a message: the health of parts, feeds, reports."""
        while True:
            await asyncio.sleep(_LOOK_NS / NS_PER_SECOND)
            self._publish()

    def _publish(self) -> TradingState:
        found, known = self.objections(), self._state
        if known is not None and known.objections == found:
            return known
        now_ns = self._clock.time_ns()
        if known is not None:
            now_ns = max(now_ns, known.time_ns + 1)
        state = self._state = TradingState(time_ns=now_ns, can_trade=not found, objections=found)
        self._bus.publish(TRADING, state)
        changed, self._state_changed = self._state_changed, asyncio.Event()
        changed.set()
        return state

    def _look(self, now_ns: int) -> None:
        """Reports whether anything speaks against trading, if that has changed; not after five seconds."""
        if self.objections():
            self._objected_ns = self._evaluated_ns
        can_trade = self._evaluated_ns - self._objected_ns >= HOLD_NS
        if self._can_trade is None:
            collector = self._risks()
            reported = None if collector is None else collector.newest_own(DESK, CAN_TRADE)
            self._can_trade = True if reported is None else not reported.breached
        if can_trade is not self._can_trade:
            self._can_trade = can_trade
            self._emit(Risk(time_ns=now_ns, name=CAN_TRADE, value=float(can_trade), breached=not can_trade))

    def _show(self, exposures: Iterable[Exposure]) -> None:
        """Gives the risk collector the figures that have no limit."""
        collector = self._risks()
        if collector is None:
            return
        by_currency = sorted(total_of(exposures).by_currency.items(), key=lambda one: -abs(one[1]))
        found = {NET_EXPOSURE + (currency or NO_CURRENCY): amount for currency, amount in by_currency}
        known = found | {name: 0.0 for name in collector.desk_figures if name not in found}
        known = dict(list(known.items())[:_MOST_CURRENCIES])  # those that are flat now last
        collector.desk_figures = known | {CAN_TRADE: float(bool(self._can_trade))}

    def _emit(self, event: Risk) -> None:
        self._waiting.append(event)
        self._has_news.set()

    async def _send(self) -> None:
        """Passes the events to ingest, which publishes and stores them."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._waiting:
                events = tuple(self._waiting)
                self._waiting.clear()
                batch = EventBatch(
                    source=SOURCE, epoch=self._epoch, first_sequence=self._sequence + 1, events=events
                )
                self._sequence += len(events)
                try:
                    await self._ingest.take(batch, self._clock.time_ns())
                except BatchRefusedError as error:
                    self._log.error("risk_events_refused", reason=str(error), events=len(events))

    def _exceeded(self) -> Iterator[Objection]:
        for standing in self._standings.values():
            limit = standing.limit
            if standing.level is Level.HARD:
                value = "not known now" if standing.value is None else f"{standing.value:g}"
                reason = f"{limit.measure} of {standing.strategy} is {value}, its hard limit {limit.hard:g}"
            elif standing.value is None:
                reason = f"{limit.measure} of {standing.strategy} is not known: {standing.reason}"
            else:
                continue
            yield Objection(reason=reason, strategy=_one(standing.strategy))

    def _reported(self) -> list[Objection]:
        return [
            Objection(
                reason=f"risk limit breached: {sample.risk} of {sample.strategy} is {sample.value:g}"
                + (f", its limit {sample.limit_value:g}" if sample.limit_value is not None else ""),
                strategy=_one(sample.strategy),
            )
            for sample in self._newest("risk", RiskSample)
            if sample.breached and not sample.risk.startswith(OWN_PREFIX)
        ]

    def _not_evaluated(self) -> list[str]:
        seconds = (self._clock.monotonic_ns() - self._evaluated_ns) / NS_PER_SECOND
        if self._standings and seconds > _STALE_NS / NS_PER_SECOND:
            return [f"limits were not evaluated for {seconds:.0f} s: the strategy collector has no samples"]
        return []

    def _catching_up(self) -> list[str]:
        if not self.has_limits:
            return []
        behind = [name for name in _JUDGED if name in self._behind()]
        return [f"limits are not evaluated: {', '.join(behind)} still catching up"] if behind else []

    def _stale(self) -> list[str]:
        """Instruments with an open position whose feed delivers no market."""
        collector = self._strategies()
        samples = self._newest("market", MarketSample)
        if samples and all(sample.verdict not in _LIVING for sample in samples):
            names = ", ".join(f"{sample.instrument} {sample.verdict}" for sample in samples[:_LISTED])
            return [f"no instrument has a live feed: {names}"]
        if collector is None or not samples:
            return []
        dead = {(s.venue, s.instrument): s.verdict for s in samples if s.verdict in _DEAD}
        found = sorted(dead.keys() & collector.open_instruments()) if dead else []
        return [
            f"open position in {instrument} at {venue}, its feed is {dead[venue, instrument]}"
            for venue, instrument in found[:_LISTED]
        ]

    def _unhealthy(self) -> list[ComponentStatus]:
        """Parts that are not well. A sampler that missed a cycle is: missing figures object themselves."""
        return [
            part
            for part in self._components()
            if part.health is not Health.OK
            and part.name != "risk"
            and (part.name, part.health) != ("sampler", Health.DEGRADED)
        ]

    def _newest(self, collector: str, type_: type[SampleT]) -> tuple[SampleT, ...]:
        batch = self._latest.get(collector)
        return () if batch is None else _samples(batch, type_)


def _one(strategy: str) -> str | None:
    """The strategy that is meant; ``None``: the desk."""
    return None if strategy == DESK else strategy


def _samples(batch: SampleBatch, type_: type[SampleT]) -> tuple[SampleT, ...]:
    """Returns the samples of a batch, if they are of this type."""
    return cast("tuple[SampleT, ...]", batch.samples) if batch.schema.type is type_ else ()
