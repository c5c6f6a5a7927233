"""The watchdog: what an evaluation costs, and how soon a WebSocket reader hears of a condition.

The cost is measured on 1,000 instruments, 50 strategies and their 50 risk measures, next to the time that
the collectors take to sample the same. The delay is that of ``decahertz up`` with 1,000 synthetic
instruments: from the moment at which a trading process sends a ``risk`` event that exceeds its limit to the
receipt of the alert. It includes the wait for the next cycle, 50 ms on average. The reference is the delay of
the event itself on the topic ``risk``, which no cycle has to pass.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import Any

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry

from benchmarks.bench_sampler_grid import INSTRUMENTS, STRATEGIES, running_decahertz
from benchmarks.engines import engines
from benchmarks.harness import ROUNDS, Measure, alternate, compared, seconds
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from decahertz.bus import LocalBus
from decahertz.clock import CYCLE_NS, SystemClock
from decahertz.collector import BaseCollector
from decahertz.event import AnyEvent, Equity, Quote, Risk
from decahertz.latest import LatestAlerts
from decahertz.sample import SampleBatch, schema_of
from decahertz.thresholds import AlertsSettings
from decahertz.watchdog.probes import CycleCounts
from decahertz.watchdog.readings import Figures
from decahertz.watchdog.watchdog import Watchdog

CONDITIONS_SENT = 40
WARM_UP = 3
_EVALUATIONS = 50
_LIMIT_SECONDS = 5.0


def run() -> list[Measure]:
    return [_evaluation(), *_delays()]


def _evaluation() -> Measure:
    clock = SystemClock()
    now_ns = clock.time_ns()
    market = MarketCollector(clock, MarketOptions())
    strategy = StrategyCollector(clock, StrategyOptions())
    risk = RiskCollector(clock, RiskOptions())
    collectors: tuple[BaseCollector[Any], ...] = (market, strategy, risk)
    for event in _events(now_ns):
        for collector in collectors:
            if type(event) in collector.events:
                collector.on_event(event, now_ns)
    bus = LocalBus()
    figures = Figures(
        cycles=lambda: CycleCounts(0, 0),
        unbalanced=dict,
        database_lost_seconds=lambda: None,
        keys_over_budget=dict,
        behind=tuple,
    )
    watchdog = Watchdog(
        bus, LatestAlerts(bus), clock, CollectorRegistry(), AlertsSettings(), figures, recorder="bench"
    )

    async def measure() -> tuple[float, float]:
        await watchdog.start()
        batches = [
            (c.sample_type.collector, SampleBatch(schema_of(c.sample_type), now_ns, tuple(c.sample(now_ns))))
            for c in collectors
        ]
        assert sum(len(batch.samples) for _, batch in batches) == INSTRUMENTS + 2 * STRATEGIES  # noqa: S101

        def evaluate() -> None:
            for collector, batch in batches:
                bus.publish(f"samples:{collector}", batch)
            watchdog.evaluate()

        def sample() -> None:
            for collector in collectors:
                collector.sample(now_ns)

        try:
            return alternate(lambda: seconds(evaluate, _EVALUATIONS), lambda: seconds(sample, 5), ROUNDS)
        finally:
            await watchdog.stop()

    ours, reference = asyncio.run(measure())
    return compared("watchdog evaluation", ours * 1e6, reference * 1e6, "µs", "ours <= 1000", is_cost=True)


def _events(now_ns: int) -> list[AnyEvent]:
    events: list[AnyEvent] = [
        Quote(time_ns=now_ns, venue="SIM", instrument=f"I{n}", bid=1.0, ask=1.1) for n in range(INSTRUMENTS)
    ]
    for n in range(STRATEGIES):
        events += [
            Equity(time_ns=now_ns, strategy=f"S{n}", equity=1000.0),
            Equity(time_ns=now_ns, strategy=f"S{n}", equity=990.0),
            Risk(time_ns=now_ns, strategy=f"S{n}", name="exposure", value=5.0, limit=10.0),
        ]
    return events


def _delays() -> list[Measure]:
    plain = next(engine for engine in engines() if engine.name == "plain")
    with running_decahertz(plain) as (_, _, api_url):
        alerts, events = asyncio.run(_measured(api_url))
    median, slowest = statistics.median(alerts), max(alerts)
    reference = statistics.median(events)
    return [
        compared("watchdog delay median", median, reference, "ms", "ours <= 100", is_cost=True),
        compared("watchdog delay longest", slowest, max(events), "ms", "ours <= 200", is_cost=True),
    ]


async def _measured(api_url: str) -> tuple[list[float], list[float]]:
    """Delays of alerts and of their events, in milliseconds."""
    alerts: list[float] = []
    events: list[float] = []
    epoch = time.time_ns()
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{api_url}/ws") as socket:
        await socket.send_json({"type": "subscribe", "topics": ["alerts", "risk"]})
        while (await socket.receive_json())["type"] != "snapshot":
            pass
        for number in range(CONDITIONS_SENT + WARM_UP):
            await asyncio.sleep(0.2 + random.random() * CYCLE_NS / 1e9)
            name = f"measure-{number}"
            event = Risk(time_ns=time.time_ns(), strategy="bench", name=name, value=2.0, limit=1.0)
            batch = {
                "source": "bench-watchdog",
                "epoch": epoch,
                "first_sequence": number + 1,
                "events": [msgspec.to_builtins(event)],
            }
            sent = time.perf_counter()
            answering = asyncio.create_task(_post(session, f"{api_url}/api/v1/events", batch))
            async with asyncio.timeout(_LIMIT_SECONDS):
                heard = await _until_alert(socket, name)
            await answering
            if number >= WARM_UP:
                alerts.append((heard["alerts"] - sent) * 1e3)
                events.append((heard["risk"] - sent) * 1e3)
    return alerts, events


async def _post(session: aiohttp.ClientSession, url: str, batch: dict[str, Any]) -> None:
    async with session.post(url, json=batch) as response:
        response.raise_for_status()


async def _until_alert(socket: aiohttp.ClientWebSocketResponse, name: str) -> dict[str, float]:
    """When the event and the alert about the risk measure ``name`` were received, by topic."""
    heard: dict[str, float] = {}
    while not heard.keys() >= {"alerts", "risk"}:  # in either order: the event is told when it is durable
        message = await socket.receive_json()
        data = message.get("data", {})
        if name in (data.get("name"), data.get("labels", {}).get("risk")):
            heard[message["topic"]] = time.perf_counter()
    return heard
