"""A restart changes nothing: every metric of every collector is as if the process had not been killed.

Two processes record the same script of events and cycles. One runs through; the other is killed now and then,
and a new one continues with the files that are on disk at that moment.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from collectors.execution.collector import ExecutionOptions
from collectors.host.plugins import LoadedCollector, builtin_classes
from collectors.host.sampler import Sampler
from collectors.host.settings import SamplerSettings
from collectors.market.collector import MarketOptions
from collectors.portfolio.collector import PortfolioCollector
from collectors.risk.collector import RiskOptions
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from decahertz.accounting import AccountingSettings
from decahertz.bus import LocalBus, Message
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.collector import NoOptions
from decahertz.contracts import Contracts
from decahertz.event import (
    AnyEvent,
    Cash,
    CashKind,
    ConnectionState,
    Direction,
    Equity,
    EventBatch,
    Fill,
    FillKind,
    Gap,
    Heartbeat,
    Instrument,
    InstrumentKind,
    Liquidity,
    Order,
    OrderState,
    Position,
    Quote,
    Regime,
    Risk,
    Side,
    Signal,
    Tick,
)
from decahertz.ingest import Ingest
from decahertz.sample import Sample, SampleBatch
from decahertz.testing import START_NS, ManualClock, ManualTimer
from storage.entry import Ack
from storage.settings import SpoolSettings
from storage.spool import Spool
from storage.spool.checkpoints import SpoolCheckpoints
from tests.collectors.parts import schema

CHANGED_BY_A_RESTART = {
    "system": "measures the machine and this process, now; its counters begin with the process",
}
"""Collectors whose metrics must change by a restart, with the reason. Every other metric is compared."""

OPTIONS: dict[str, Any] = {
    "market": MarketOptions(
        stale_seconds=2,
        mute_seconds=2,
        gap_seconds=1,
        quiet_seconds=1,
        window_seconds=5,
        volatility_seconds=2,
        volatility_step_seconds=0.2,
    ),
    "strategy": StrategyOptions(min_days=2, break_seconds=0.3, kept_fills=8),
    "portfolio": NoOptions(),
    "execution": ExecutionOptions(window_seconds=20, window_size=5, finished_seconds=4, max_orders=6),
    "risk": RiskOptions(idle_seconds=30),
}
_DAY_NS = 86_400 * NS_PER_SECOND

_PAUSES = {"day": (_DAY_NS // CYCLE_NS,), "pause": (310, 3100)}
"""Missed cycles: of a day, or as long as the horizon of a markout."""

Recorded = dict[tuple[str, int], tuple[Sample, ...]]
"""Samples by collector and cycle."""
Step = tuple[str, Any]


def built_in(clock: ManualClock) -> list[LoadedCollector]:
    classes = builtin_classes("collectors")
    assert OPTIONS.keys() | CHANGED_BY_A_RESTART.keys() == classes.keys()
    made = [classes[name](clock, options) for name, options in OPTIONS.items()]
    return [LoadedCollector(c.sample_type.collector, "decahertz", c, schema(c.sample_type)) for c in made]


class Process:
    """The parts of the recorder between its API and its database."""

    def __init__(self, clock: ManualClock, folder: Path, recorded: Recorded) -> None:
        self.clock = clock
        self.folder = folder
        self.timer = ManualTimer(clock)
        self._recorded = recorded
        self._bus = LocalBus()
        self._bus.subscribe("samples:*", self._record)
        self._collectors = built_in(clock)
        schemas = [loaded.schema for loaded in self._collectors]
        registry = CollectorRegistry()
        self.spool = Spool(folder, self._bus, clock, registry, SpoolSettings(commit_seconds=0.2), schemas)
        self._registry = registry

    async def start(self) -> None:
        await self.spool.start()
        contracts = Contracts(AccountingSettings(), self.clock)
        self.ingest = Ingest(
            self._bus,
            self.spool,
            self.clock,
            max_future_ns=NS_PER_SECOND,
            timeout_seconds=10,
            known=self.spool.known(),
            contracts=contracts,
        )
        self._sampler = Sampler(
            self._bus,
            self.clock,
            self.timer,
            self._registry,
            SamplerSettings(checkpoint_seconds=0.5),
            self._collectors,
            checkpoints=SpoolCheckpoints(self.spool, "test"),
            others=(contracts,),
        )
        await self._sampler.start()
        portfolio = self._sampler.collector(PortfolioCollector)
        assert portfolio is not None
        portfolio.strategies = partial(self._sampler.collector, StrategyCollector)

    async def stop(self) -> None:
        await self._sampler.stop()
        await self.spool.stop()

    async def killed(self) -> Process:
        """A process that continues with what is on disk now."""
        await self.spool.flush()
        copy = self.folder.with_name(self.folder.name + "+")
        shutil.copytree(self.folder, copy)
        after = Process(self.clock, copy, self._recorded)
        self._recorded = {}
        await self.stop()
        return after

    def store_all(self) -> None:
        """Acknowledges everything in the queue, as a writer does after storing it."""
        entries = []
        while not self.spool.queue.is_empty:
            entries += self.spool.queue.take()
        self.spool.ack([Ack(entry) for entry in entries])

    def _record(self, message: Message) -> None:
        assert isinstance(message, SampleBatch)
        if message.samples:  # an empty batch says only that there are no keys
            self._recorded[message.schema.collector, message.time_ns] = message.samples


def _event(random: Random, time_ns: int) -> AnyEvent:
    one = random.choice
    strategy, instrument, name = one(("s1", "s2")), one(("i1", "i2")), one(("a", "b"))
    about: dict[str, Any] = {
        "strategy": strategy, "venue": one(("v1", "v1", "v2")), "instrument": instrument, "time_ns": time_ns,
    }  # fmt: skip
    market: dict[str, Any] = {
        "venue": about["venue"], "instrument": instrument, "time_ns": time_ns,
        "sequence": one((None, random.randrange(50))), "missed": one((0, 0, 0, 2)),
    }  # fmt: skip
    price = random.randrange(80, 120) + one((0.0, 0.1))
    order: dict[str, Any] = {
        **about, "order_id": f"o{random.randrange(8)}", "side": one((Side.BUY, Side.SELL)),
        "quantity": one((0.1, 0.2, 1.0)),
    }  # fmt: skip
    # One strategy is flat again soon, and its orders end, so that there are round trips and conflicts.
    own: dict[str, Any] = {**order, "strategy": "s1", "venue": "v1", "instrument": "i1", "quantity": 0.1}
    makers: list[Callable[[], AnyEvent]] = [
        lambda: Quote(
            **market, bid=one((price, price, None)), ask=price + one((1.0, 0.0, 0.0, -1.0)),
            bid_size=one((2.0, 3.0)), ask_size=one((1.0, 4.0)),
        ),
        lambda: Quote(**market, bid=price, ask=price + 0.5),
        lambda: Instrument(
            venue=about["venue"], instrument="i1", kind=InstrumentKind.SPOT, time_ns=time_ns,
            aliases=one(((), ("i2",))), base_currency="BTC", quote_currency=one(("USD", "EUR")),
            multiplier=one((1.0, 10.0)), lot_size=one((None, 0.1)),
        ),
        lambda: Tick(**market, price=price, size=one((1.0, 0.3)), side=one((None, Side.BUY, Side.SELL))),
        lambda: Instrument(
            venue="v1", instrument="EUR/USD", kind=InstrumentKind.FX, time_ns=time_ns,
            base_currency="EUR", quote_currency="USD",
        ),
        lambda: Quote(venue="v1", instrument="EUR/USD", time_ns=time_ns, bid=1.1, ask=one((1.1, 1.2))),
        lambda: Gap(
            venue=about["venue"], instrument=instrument, time_ns=time_ns, numbering="ticks", missing=2,
            announced=one((True, False)), recovered=one((True, False)),
        ),
        lambda: Signal(
            **about, signal_id=f"g{random.randrange(9)}", direction=Direction.BUY, price=one((None, price))
        ),
        lambda: Order(
            **order, state=one(list(OrderState)), signal_id=one((None, f"g{random.randrange(9)}")),
            arrival_price=one((None, None, price)),
        ),
        lambda: Order(**order, state=OrderState.SUBMITTED, signal_id=f"g{random.randrange(9)}"),
        lambda: Fill(
            **order, fill_id=f"f{random.randrange(200)}", price=price, fee=one((0.0, 0.01)),
            liquidity=one((None, *Liquidity)), risk=one((None, 10.0)),
        ),
        lambda: Fill(
            **order, fill_id=f"f{random.randrange(200)}", price=price, risk=5.0, account=one(("", "a1")),
            currency=one((None, "JPY")), rate=one((None, 0.01)), fee=one((0.0, 0.01)), multiplier=5.0,
            kind=(FillKind.BUST, FillKind.CORRECTION, *[FillKind.TRADE] * 3)[int(price) % 5],
        ),
        lambda: Fill(**own, fill_id=f"f{random.randrange(200)}", price=price, risk=one((None, 10.0))),
        lambda: Fill(**own, fill_id=f"f{random.randrange(200)}", price=price, risk=one((None, 10.0))),
        lambda: Order(
            **own, state=one(list(OrderState)), decided_ns=one((None, time_ns - 10**7)),
            decision_price=one((None, price)), queue_seconds=one((None, 0.1, 0.3)),
            limiter_seconds=one((None, 0.2, 0.5)),
        ),
        lambda: Order(**own, state=one(list(OrderState)), arrival_price=price),
        lambda: Fill(**own, fill_id=f"f{random.randrange(5)}", price=price, currency=one((None, "JPY")),
            fee=0.02,
        ),
        lambda: Position(**about, quantity=one((0.0, 0.3, -1.0)), mark_price=one((None, price))),
        lambda: Cash(
            time_ns=time_ns, strategy=strategy, cash_id=str(random.randrange(20)), kind=one(list(CashKind)),
            amount=one((5.0, -3.0)), currency=one((None, "USD", "EUR")), account=one(("", "a")),
        ),
        lambda: Equity(
            time_ns=time_ns, strategy=one(("s2", "s3")), equity=1000.0 + random.randrange(100),
            cash=one((None, 500.0, 490.0)),
        ),
        lambda: Regime(time_ns=time_ns, regime=name, strategy=one((None, strategy))),
        lambda: Risk(
            time_ns=time_ns, name=name, value=price, limit=one((None, 100.0, 200.0)),
            soft_limit=one((None, 50.0, 150.0)),
            strategy=one((None, strategy)), breached=price > 100,
        ),
        lambda: Heartbeat(
            time_ns=time_ns, component=one(("c1", "c2")), connection=one(list(ConnectionState)),
            venue="v1", instrument=one((None, instrument)),
        ),
    ]  # fmt: skip
    return one(makers)()


def script(random: Random, length: int) -> Iterator[Step]:
    """Events and cycles with what else happens to a recorder.

    The first cycle saves the first checkpoint: before it, only the database knows what is stored.
    """
    yield "cycles", random.randrange(2**32)
    for _ in range(length):
        step = random.choices(
            ["events", "cycles", "quotes", "store", "again", "new epoch", "day", "pause", "kill"],
            [60, 40, 4, 10, 3, 1, 4, 4, 6],
        )[0]
        yield step, random.randrange(2**32)


async def quote_alone(process: Process, sent: list[EventBatch], epoch: int, random: Random) -> None:
    """Quotes one after the other, so that the usual silence between them becomes known."""
    for _ in range(random.randrange(8, 14)):
        now_ns = process.clock.time_ns()
        first = sent[-1].last_sequence + 1 if sent and sent[-1].epoch == epoch else 1
        quote = Quote(venue="v2", instrument="i1", time_ns=now_ns, bid=1.0, ask=2.0)
        sent.append(EventBatch(source="bot", epoch=epoch, first_sequence=first, events=(quote,)))
        await process.ingest.take(sent[-1], now_ns)
        await process.timer.cycle(random.randrange(1, 4))


async def play(folder: Path, steps: list[Step], *, kills: bool) -> Recorded:  # noqa: C901 - a list of steps
    """Records the script, with or without restarts."""
    recorded: Recorded = {}
    process = Process(ManualClock(START_NS + 12_345_678), folder, recorded)
    await process.start()
    sent: list[EventBatch] = []
    epoch = 1
    for step, seed in steps:
        random, clock = Random(seed), process.clock
        batches: list[EventBatch] = []
        if step == "events":
            # Not beyond the next cycle: the timer would miss it.
            left_ns = CYCLE_NS - clock.time_ns() % CYCLE_NS - 1
            clock.advance(min(random.randrange(30) * 1_000_000, left_ns))
            events = tuple(
                _event(
                    random, clock.time_ns() - random.choice((0, 0, 0, 30_000, -1)) * random.randrange(10**6)
                )
                for _ in range(random.randrange(1, 6))
            )
            first = sent[-1].last_sequence + 1 if sent and sent[-1].epoch == epoch else 1
            sent.append(EventBatch(source="bot", epoch=epoch, first_sequence=first, events=events))
            batches = sent[-1:]
        elif step == "quotes":
            await quote_alone(process, sent, epoch, random)
        elif step == "again":
            batches = sent[-2:]
        elif step == "new epoch" and sent:
            # The events of a restarted bot that sends all again.
            everything = tuple(event for batch in sent[-40:] for event in batch.events)
            epoch += 1
            sent.append(EventBatch(source="bot", epoch=epoch, first_sequence=1, events=everything))
            batches = sent[-1:]
        elif step == "cycles":
            await process.timer.cycle(random.randrange(1, 12))
        elif step in _PAUSES:
            await process.timer.cycle(missed=random.choice(_PAUSES[step]))
        elif step == "store":
            await process.spool.flush()
            process.store_all()
        elif step == "kill" and kills:
            process = await process.killed()
            await process.start()
        for batch in batches:
            await process.ingest.take(batch, clock.time_ns())
    await process.timer.cycle()
    await process.stop()
    return recorded


def same(steps: list[Step]) -> Recorded:
    """Checks that restarts change no sample; returns the samples."""
    with TemporaryDirectory() as folder:
        expected = asyncio.run(play(Path(folder) / "one", steps, kills=False))
        found = asyncio.run(play(Path(folder) / "other", steps, kills=True))
    assert found.keys() == expected.keys()
    for at, samples in expected.items():
        differences = [
            f"{field}: {getattr(ours, field)!r} instead of {getattr(right, field)!r}"
            for ours, right in zip(found[at], samples, strict=True)
            for field in right.__struct_fields__
            if getattr(ours, field) != getattr(right, field)
        ]
        assert not differences, (at, differences)
    return expected


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_a_restart_changes_no_metric(seed: int) -> None:
    same(list(script(Random(seed), 60)))


def test_every_metric_has_been_compared() -> None:
    recorded = same(list(script(Random(2), 700)))
    values: dict[tuple[str, str], set[object]] = {}
    for (collector, _), samples in recorded.items():
        for sample in samples:
            for field in schema(type(sample)).metrics:
                values.setdefault((collector, field.name), set()).add(getattr(sample, field.name))
    for name, class_ in builtin_classes("collectors").items():
        if name not in CHANGED_BY_A_RESTART:
            for field in schema(class_.sample_type).metrics:
                found = values.get((name, field.name), set()) - {None}
                assert len(found) > 1, f"the script does not change {name}.{field.name}: {found}"


def test_a_restart_keeps_the_keys_that_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    room = {"market": 2, "strategy": 1, "execution": 2, "risk": 2}
    for name, keys in room.items():
        monkeypatch.setitem(OPTIONS, name, replace(OPTIONS[name], max_keys_per_emitter=keys))
    recorded = same(list(script(Random(11), 120)))
    for name, keys in room.items():
        assert max(len(samples) for (collector, _), samples in recorded.items() if collector == name) == keys


def test_a_fill_right_after_a_restart_finds_the_definitions_and_mids_of_before(tmp_path: Path) -> None:
    async def fills() -> list[Fill]:
        process = Process(ManualClock(START_NS), tmp_path / "spool", {})
        await process.start()
        now_ns = process.clock.time_ns()
        jpy = Instrument(
            time_ns=now_ns, venue="v", instrument="USD/JPY", kind=InstrumentKind.FX, lot_size=1_000.0,
            base_currency="USD", quote_currency="JPY",
        )  # fmt: skip
        quote = Quote(time_ns=now_ns, venue="v", instrument="USD/JPY", bid=149.0, ask=151.0)
        fill = Fill(
            time_ns=now_ns, strategy="s", venue="v", instrument="USD/JPY", order_id="o", fill_id="1",
            side=Side.BUY, price=150.5, quantity=1.0,
        )  # fmt: skip
        found: list[Fill] = []
        batches: list[tuple[AnyEvent, ...]] = [(jpy, quote), (replace(quote, bid=159.0, ask=161.0),)]
        for sequence, events in enumerate([*batches, (fill,)], 1):
            first = sum(map(len, batches[: sequence - 1])) + 1
            batch = EventBatch(source="bot", epoch=1, first_sequence=first, events=events)
            if sequence == 3:
                process = await process.killed()
                await process.start()
                process._bus.subscribe("events", lambda message: found.extend(message.batch.events))  # type: ignore[union-attr,arg-type]
            await process.ingest.take(batch, now_ns)
            await process.timer.cycle(6)  # a checkpoint after the definition, none after the last quote
        await process.stop()
        return found

    (fill,) = asyncio.run(fills())
    assert (fill.multiplier, fill.lot_size, fill.currency, fill.rate) == (1.0, 1_000.0, "JPY", 1 / 160)
