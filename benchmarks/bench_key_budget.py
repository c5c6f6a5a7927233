"""Names that a program makes up: 100,000 strategies and 100,000 instruments thrown at a recorder.

``decahertz up`` runs in a child process with the synthetic market. A client sends an ``equity`` event of each
of 100,000 strategies, a ``quote`` of each of 100,000 instruments, and a fill of each strategy, in batches of
5,000, as fast as they are answered. Then another client begins, whose five strategies must be sampled; that
is checked and not measured. At last the recorder is killed, and starts again with what it has stored.

The reference is the same recorder before the flood; of the cycles, their number in the measured time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.bench_sampler_grid import CYCLES_PER_SECOND, free_port, increase, quantile, read, wait_ready
from benchmarks.harness import Measure, compared
from decahertz_client import Client

KEYS = int(os.environ.get("KEY_BUDGET_KEYS", "100000"))
INSTRUMENTS = 200
BATCH = 5_000
CALM_SECONDS = 10.0
CALM = tuple(f"calm-{number}" for number in range(5))


def run() -> list[Measure]:
    """Measures before the flood, in it, and after a restart."""
    folder = Path(tempfile.mkdtemp(prefix="decahertz-bench-"))
    try:
        return _run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path) -> list[Measure]:
    with _recorder(folder) as recorder:
        before = recorder.watch(CALM_SECONDS)
        with recorder.watching() as flood:
            sent = _flood(recorder)
        with _calm_client(recorder):
            after = recorder.watch(CALM_SECONDS)
            recorder.check_calm()
        first_start = recorder.start_seconds
        recorder.process.kill()
        recorder.process.wait()
    with _recorder(folder) as restarted, _calm_client(restarted):
        restart = restarted.watch(CALM_SECONDS)
        restarted.check_calm()
    print(f"key-budget: {sent:,} events in {flood.seconds:.0f} s; over budget: {after.over}")
    return [
        compared(
            "key-budget missed",
            flood.missed + after.missed,
            flood.cycles + after.cycles,
            "cycles",
            "ours = 0",
        ),
        compared("key-budget lateness p99", flood.late_ms, before.late_ms, "ms", "ours <= 50"),
        compared("key-budget memory", flood.megabytes, before.megabytes, "MB", "ours <= 300"),
        compared("key-budget scrape", after.scrape_seconds, before.scrape_seconds, "s", "ours <= 1"),
        compared("key-budget restart", restarted.start_seconds, first_start, "s", "ours <= 20"),
        compared("key-budget restart missed", restart.missed, restart.cycles, "cycles", "ours = 0"),
        compared("key-budget restart memory", restart.megabytes, before.megabytes, "MB", "ours <= 300"),
        compared(
            "key-budget restart scrape", restart.scrape_seconds, before.scrape_seconds, "s", "ours <= 1"
        ),
    ]


@dataclass
class Seen:
    """Figures of a time."""

    seconds: float = 0.0
    missed: float = 0.0
    cycles: float = 0.0
    late_ms: float = 0.0
    megabytes: float = 0.0
    """Highest resident memory."""
    scrape_seconds: float = 0.0
    """Longest scrape."""
    over: dict[str, float] = field(default_factory=dict)
    """Keys over budget by collector."""


@dataclass
class Recorder:
    """A running recorder."""

    process: psutil.Process
    metrics_url: str
    api_url: str
    start_seconds: float

    def watch(self, seconds: float) -> Seen:
        """Watches for a time."""
        with self.watching() as seen:
            time.sleep(seconds)
        return seen

    @contextlib.contextmanager
    def watching(self) -> Iterator[Seen]:
        """Watches while the block runs."""
        seen, done = Seen(), threading.Event()

        def poll() -> None:
            while not done.wait(0.1):
                seen.megabytes = max(seen.megabytes, self.process.memory_info().rss / 2**20)

        def scrape() -> None:
            while not done.wait(2.0):
                start = time.monotonic()
                with urllib.request.urlopen(self.metrics_url, timeout=120) as answer:  # noqa: S310 - our own
                    answer.read()
                seen.scrape_seconds = max(seen.scrape_seconds, time.monotonic() - start)

        threads = [threading.Thread(target=poll), threading.Thread(target=scrape)]
        first = read(self.process, self.metrics_url)
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            done.set()
            for thread in threads:
                thread.join()
        last = read(self.process, self.metrics_url)
        seen.seconds = last.monotonic - first.monotonic
        seen.cycles = round(seen.seconds * CYCLES_PER_SECOND)
        seen.missed = increase(first, last, "decahertz_sampler_missed_cycles_total")
        seen.late_ms = quantile(first, last, "decahertz_sampler_lateness_seconds_bucket", 0.99) * 1e3
        seen.over = {
            dict(labels)["collector"]: value
            for (name, labels), value in last.series.items()
            if name == "decahertz_sampler_keys_over_budget" and value
        }

    def check_calm(self) -> None:
        """Raises unless the strategies of the other client are sampled."""
        url = f"{self.api_url}/api/v1/metrics/current?collector=strategy"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
            text = answer.read().decode()
        missing = [name for name in CALM if f'"{name}"' not in text]
        if missing:
            raise RuntimeError(f"not sampled: {missing}")


@contextlib.contextmanager
def _recorder(folder: Path) -> Iterator[Recorder]:
    api, exporter = free_port(), free_port()
    options = {
        "data-dir": str(folder / "data"),
        "api-port": str(api),
        "exporter-port": str(exporter),
        "feeds-enabled": "synthetic",
        "feeds-synthetic-instruments": str(INSTRUMENTS),
    }
    command = [sys.executable, "-m", "decahertz.app.cli", "up"]
    command += [f"--{name}={value}" for name, value in options.items()]
    start = time.monotonic()
    with (folder / "log").open("a+") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_ready(child, f"http://127.0.0.1:{api}/api/v1/health/ready")
            yield Recorder(
                psutil.Process(child.pid),
                f"http://127.0.0.1:{exporter}/metrics",
                f"http://127.0.0.1:{api}",
                time.monotonic() - start,
            )
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            if child.poll() is None:
                child.terminate()
            child.wait(60)


@contextlib.contextmanager
def _calm_client(recorder: Recorder) -> Iterator[None]:
    """Five strategies that report their equity ten times a second."""
    done = threading.Event()

    def trade() -> None:
        number = 0
        with Client(recorder.api_url, source="calm") as client:
            while not done.wait(0.1):
                number += 1
                for name in CALM:
                    client.emit("equity", strategy=name, equity=1000.0 + number % 7)

    thread = threading.Thread(target=trade)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _flood(recorder: Recorder) -> int:
    """Sends the events of the runaway client; returns their number."""
    now_ns = time.time_ns()
    kinds: list[dict[str, Any]] = [
        {"type": "equity", "equity": 1000.0},
        {"type": "quote", "venue": "made-up", "bid": 99.0, "ask": 101.0},
        {
            "type": "fill",
            "venue": "made-up",
            "order_id": "1",
            "fill_id": "1",
            "side": "buy",
            "price": 100.0,
            "quantity": 1.0,
        },
    ]
    sent = 0
    for kind in kinds:
        names = {"equity": ("strategy",), "quote": ("instrument",), "fill": ("strategy", "instrument")}
        for low in range(0, KEYS, BATCH):
            events = [
                {**kind, "time_ns": now_ns, **{name: f"{name}-{number}" for name in names[kind["type"]]}}
                for number in range(low, min(low + BATCH, KEYS))
            ]
            batch = {"source": "runaway", "epoch": 1, "first_sequence": sent + 1, "events": events}
            request = urllib.request.Request(  # noqa: S310 - our own
                f"{recorder.api_url}/api/v1/events",
                data=msgspec.msgpack.encode(batch),
                headers={"Content-Type": "application/msgpack"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own
                answer.read()
            sent += len(events)
    return sent
