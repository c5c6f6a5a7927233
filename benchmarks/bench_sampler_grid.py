"""The whole process at 10 Hz: 1,000 instruments and 50 strategies, with database, API and exporter.

``decahertz up`` runs in a child process with the synthetic market, once per database engine. The figures are
those of its ``/metrics``, and its processor time as the system reports it. The synthetic market is the load
and no part of a recorder of real venues, but runs in its process: "cpu of the synthetic market" is what it
takes alone to make the same events, measured afterwards, and is included in "cpu". This process plays the
trading side: fifty strategies that send signals, orders, fills and positions through ``decahertz_client``,
and a Prometheus that scrapes every fifteen seconds. Then three more scrape every second, for the rows
"scraped".

The references are the number of cycles in the measured time, and one core. The reference of the lateness is
that of a bare timer in a third process at the same time: the lateness that the machine itself adds.
``SAMPLER_GRID_SECONDS`` in the environment sets the measured time (the goal is stated for 600).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.engines import Engine, engines
from benchmarks.harness import Measure, compared, environment
from collectors.feeds.synthetic.market import Rates, SyntheticMarket
from collectors.feeds.synthetic.names import listings
from decahertz_client import Client

INSTRUMENTS = 1_000
STRATEGIES = 50
QUOTES_PER_SECOND = 4.0
"""Per instrument; ticks come at a quarter of this rate."""
TRADES_PER_SECOND = 0.5
"""Round trips per strategy; each is eleven events."""
SECONDS = float(os.environ.get("SAMPLER_GRID_SECONDS", "30"))
WARM_UP_SECONDS = 8.0
SCRAPE_SECONDS = 15.0
SCRAPERS = 3
SCRAPED_SECONDS = SECONDS
CYCLES_PER_SECOND = 10

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True)
class Reading:
    """Metrics and resource use of the process at one time."""

    wall: float
    monotonic: float
    processor: float
    series: Series

    def total(self, name: str) -> float:
        """Returns the sum of a family over its labels."""
        return sum(value for (family, _), value in self.series.items() if family == name)


def run() -> list[Measure]:
    return [measure for engine in engines() for measure in _run_on(engine)]


def _run_on(engine: Engine) -> list[Measure]:
    with (
        running_decahertz(engine) as (process, metrics_url, api_url),
        _bare_timer() as bare,
        Client(api_url, source="bench") as client,
    ):
        trading = Trading(client)
        trading.run(WARM_UP_SECONDS)
        first = read(process, metrics_url)
        left = SECONDS
        while left > 0:
            trading.run(min(left, SCRAPE_SECONDS))
            last = read(process, metrics_url)
            left = SECONDS - (last.monotonic - first.monotonic)
        bare_lateness = _p99_of(bare, first, last)
        with _scrapers(metrics_url):
            trading.run(SCRAPED_SECONDS)
            scraped = read(process, metrics_url)
        scraped_bare_lateness = _p99_of(bare, last, scraped)
    _print_rates(first, last, last.monotonic - first.monotonic)
    cores = (last.processor - first.processor) / (last.monotonic - first.monotonic)
    name = f"sampler-grid-{engine.name}"
    return [
        *_grid(name, first, last, bare_lateness),
        compared(f"{name} cpu", cores, 1.0, "cores", "ours <= 0.35"),
        Measure(name=f"{name} cpu of the synthetic market", ours=_market_cores(), unit="cores", goal="-"),
        *_grid(f"{name} scraped", last, scraped, scraped_bare_lateness),
    ]


def _grid(name: str, first: Reading, last: Reading, bare_lateness: float) -> list[Measure]:
    return [
        compared(
            f"{name} missed",
            increase(first, last, "decahertz_sampler_missed_cycles_total"),
            round((last.monotonic - first.monotonic) * CYCLES_PER_SECOND),
            "cycles",
            "ours = 0",
        ),
        compared(
            f"{name} lateness p99",
            quantile(first, last, "decahertz_sampler_lateness_seconds_bucket", 0.99) * 1e3,
            bare_lateness * 1e3,
            "ms",
            "ours <= 5",
        ),
    ]


def _market_cores() -> float:
    """Processor seconds that the synthetic market takes to make the events of a second."""
    rates = Rates(quotes_per_second=QUOTES_PER_SECOND, ticks_per_second=QUOTES_PER_SECOND / 4)
    market = SyntheticMarket(listings(INSTRUMENTS, ("synthetic",)), rates, 1)
    steps, seconds = 500, 10
    start = time.process_time()
    for step in range(1, steps + 1):
        market.until(step * seconds / steps, 0)
    return (time.process_time() - start) / seconds


@contextlib.contextmanager
def _scrapers(url: str) -> Iterator[None]:
    """Three processes that scrape as Prometheus does, every second."""
    children = [subprocess.Popen([sys.executable, "-c", _SCRAPER, url]) for _ in range(SCRAPERS)]
    try:
        yield
        if any(child.poll() is not None for child in children):
            raise RuntimeError("a scraper ended")
    finally:
        for child in children:
            child.kill()
            child.wait()


_SCRAPER = """
import sys, time, urllib.request

headers = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
while True:
    start = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=10) as answer:
        assert len(answer.read()) > 100_000
    time.sleep(max(0, start + 1 - time.monotonic()))
"""


@contextlib.contextmanager
def running_decahertz(
    engine: Engine, more: Mapping[str, str] | None = None
) -> Iterator[tuple[psutil.Process, str, str]]:
    """Runs ``decahertz up`` with more options; yields the process and the URLs of its metrics and API."""
    api, exporter = free_port(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="decahertz-bench-"))
    server = engine.server(folder, has_jobs=True)
    options = {
        "data-dir": str(folder / "data"),
        "api-port": str(api),
        "exporter-port": str(exporter),
        "feeds-enabled": "synthetic",
        "feeds-synthetic-instruments": str(INSTRUMENTS),
        "feeds-synthetic-quotes-per-second": str(QUOTES_PER_SECOND),
        "feeds-synthetic-ticks-per-second": str(QUOTES_PER_SECOND / 4),
        **(more or {}),
    }
    command = [sys.executable, "-m", "decahertz.app.cli", "up"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        runner = stack.enter_context(asyncio.Runner())
        runner.run(server.start())
        stack.callback(lambda: runner.run(server.stop()))
        log = stack.enter_context((folder / "log").open("w+"))
        settings = environment(DECAHERTZ_DATABASE_URL=server.url)
        child = subprocess.Popen(command, stdout=log, stderr=log, env=settings)
        try:
            wait_ready(child, f"http://127.0.0.1:{api}/api/v1/health/ready")
            urls = f"http://127.0.0.1:{exporter}/metrics", f"http://127.0.0.1:{api}"
            yield psutil.Process(child.pid), *urls
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)


_BARE = """
import asyncio
from collectors.host.timer import GridTimer
from decahertz.clock import SystemClock

async def main():
    timer = GridTimer(SystemClock())
    while True:
        cycle = await timer.next()
        print(cycle.time_ns, cycle.lateness_ns, flush=True)

import uvloop
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


@contextlib.contextmanager
def _bare_timer() -> Iterator[Path]:
    """Runs a process with nothing but the timer; yields the file to which it writes its lateness."""
    with tempfile.NamedTemporaryFile("w+", prefix="decahertz-bench-") as out:
        child = subprocess.Popen([sys.executable, "-c", _BARE], stdout=out)
        try:
            yield Path(out.name)
        finally:
            child.kill()
            child.wait()


def _p99_of(lines: Path, first: Reading, last: Reading) -> float:
    pairs = [tuple(map(int, line.split())) for line in lines.read_text().splitlines() if " " in line]
    late = sorted(ns for grid_ns, ns in pairs if first.wall <= grid_ns / 1e9 <= last.wall)
    return late[int(0.99 * len(late))] / 1e9


def wait_ready(child: subprocess.Popen[bytes], url: str) -> None:
    """Waits until a server answers."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        if child.poll() is not None:
            raise RuntimeError(f"the server ended with {child.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own
            return
        time.sleep(0.2)
    raise TimeoutError("the server is not ready after a minute")


def free_port() -> int:
    """Returns a port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Trading:
    """Fifty strategies that buy and sell in turn, each with its share of the instruments."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._number = 0

    def run(self, seconds: float) -> None:
        """Trades for this long, at even intervals."""
        spacing = 1 / (STRATEGIES * TRADES_PER_SECOND)
        start = time.monotonic()
        done = 0
        while (passed := time.monotonic() - start) < seconds:
            while done * spacing < passed:
                self._round_trip()
                done += 1
            time.sleep(0.02)

    def _round_trip(self) -> None:
        self._number += 1
        strategy = f"strategy-{self._number % STRATEGIES:02d}"
        where: dict[str, Any] = {
            "strategy": strategy,
            "venue": "synthetic",
            "instrument": f"I{self._number % INSTRUMENTS}",
        }
        emit = self._client.emit
        for leg, side in enumerate(("buy", "sell")):
            order: dict[str, Any] = {
                **where,
                "order_id": f"{self._number}-{leg}",
                "side": side,
                "quantity": 2.0,
            }
            price = 100.0 + leg * 0.01
            emit("signal", **where, signal_id=f"{self._number}-{leg}", direction=side, price=price)
            emit("order", **order, state="submitted", arrival_price=price)
            emit("order", **order, state="filled", filled_quantity=2.0)
            fill: dict[str, Any] = {
                **where,
                "order_id": order["order_id"],
                "fill_id": f"{self._number}-{leg}",
                "side": side,
            }
            emit("fill", **fill, price=price, quantity=2.0, fee=0.01, risk=1.0)
            emit("position", **where, quantity=2.0 * (1 - leg), mark_price=price)
        emit("equity", strategy=strategy, equity=100_000.0 + self._number % 100)


def read(process: psutil.Process, url: str) -> Reading:
    """Reads the metrics of the process, and its processor time."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        text = answer.read().decode()
    used = process.cpu_times()
    own = "\n".join(line for line in text.splitlines() if _is_self_metric(line))
    series = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(own + "\n")
        for sample in family.samples
    }
    return Reading(time.time(), time.monotonic(), used.user + used.system, series)


def _is_self_metric(line: str) -> bool:
    """Whether a line is about a part of the process; the many series of instruments need not be parsed."""
    name = line.split(" ", 3)[2] if line.startswith("#") else line
    return name.startswith(("decahertz_sampler_", "decahertz_storage_", "decahertz_feed_"))


def increase(first: Reading, last: Reading, name: str) -> float:
    """Returns the increase of a family's sum."""
    return last.total(name) - first.total(name)


def quantile(first: Reading, last: Reading, buckets: str, q: float) -> float:
    """Computes Prometheus' ``histogram_quantile`` of the increase: linear within the bucket."""
    counts = sorted(
        (float(dict(labels)["le"]), value - first.series.get((name, labels), 0.0))
        for (name, labels), value in last.series.items()
        if name == buckets
    )
    rank = q * counts[-1][1]
    below, lower = 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            return (
                lower if bound == float("inf") else lower + (bound - lower) * (rank - below) / (count - below)
            )
        below, lower = count, bound
    return lower


def _print_rates(first: Reading, last: Reading, passed: float) -> None:
    rows = increase(first, last, "decahertz_storage_rows_total") / passed
    events = increase(first, last, "decahertz_sampler_events_total") / passed
    samples = increase(first, last, "decahertz_sampler_samples_total") / passed
    dropped = last.total("decahertz_ledger_dropped_total")
    print(f"sampler-grid: {passed:.0f} s, {samples:,.0f} samples/s, {events:,.0f} deliveries of events/s,")
    print(
        f"  {rows:,.0f} rows/s stored, {dropped:.0f} dropped; by collector, seconds of processor per second:"
    )
    for (name, labels), value in sorted(last.series.items()):
        if name in (
            "decahertz_sampler_collector_duration_seconds_sum",
            "decahertz_sampler_event_seconds_total",
        ):
            share = (value - first.series.get((name, labels), 0.0)) / passed
            print(f"    {dict(labels)['collector']:<10} {name.split('_')[2]:<9} {share:.4f}")
