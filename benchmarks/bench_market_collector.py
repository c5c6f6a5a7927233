"""The processor time that the market collector takes: of a quote or tick, a cycle, and a checkpoint.

A thousand instruments with the rates of ``sampler-grid``, for seventy seconds of their time: the windows of
the rates and trades are full. The cycles and events of the last ten seconds count, and the median of the
checkpoints. A checkpoint stops the event loop for as long as it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from benchmarks.bench_sampler_grid import CYCLES_PER_SECOND, INSTRUMENTS
from benchmarks.harness import Measure
from collectors.common.checkpoints import encode
from collectors.feeds.synthetic.market import Rates, SyntheticMarket
from collectors.feeds.synthetic.names import listings
from collectors.market.collector import MarketCollector, MarketOptions
from decahertz.clock import CYCLE_NS
from decahertz.fakes import START_NS, ManualClock

SECONDS = 70
COUNTED_SECONDS = 10
CHECKPOINTS = 9
_VENUE = "synthetic"


def run() -> list[Measure]:
    """Runs the benchmark; times are those of the processor."""
    clock = ManualClock(START_NS)
    collector = MarketCollector(clock, MarketOptions())
    market = SyntheticMarket(listings(INSTRUMENTS, (_VENUE,)), Rates(), 1)
    collector.keys.emitter = f"feed-{_VENUE}"
    taking_ns = sampling_ns = events = 0
    for number in range(1, SECONDS * CYCLES_PER_SECOND + 1):
        clock.advance(CYCLE_NS)
        now_ns = START_NS + number * CYCLE_NS
        arrived = market.until(number / CYCLES_PER_SECOND, START_NS)
        begin_ns = time.process_time_ns()
        for event in arrived:
            collector.on_event(event, now_ns)
        taken_ns = time.process_time_ns()
        collector.sample(now_ns)
        if number > (SECONDS - COUNTED_SECONDS) * CYCLES_PER_SECOND:
            taking_ns += taken_ns - begin_ns
            sampling_ns += time.process_time_ns() - taken_ns
            events += len(arrived)
    cycles = COUNTED_SECONDS * CYCLES_PER_SECOND
    saving_ns = median(
        _took_ns(lambda: encode(collector.checkpoint(), collector.budgets)) for _ in range(CHECKPOINTS)
    )
    return [
        Measure(name="market collector, quote or tick", ours=taking_ns / events / 1e3, unit="µs", goal="-"),
        Measure(
            name="market collector, cycle", ours=sampling_ns / cycles / 1e6, unit="ms", goal="ours <= 10"
        ),
        Measure(name="market collector, checkpoint", ours=saving_ns / 1e6, unit="ms", goal="ours <= 10"),
    ]


def _took_ns(work: Callable[[], object]) -> int:
    begin_ns = time.process_time_ns()
    work()
    return time.process_time_ns() - begin_ns
