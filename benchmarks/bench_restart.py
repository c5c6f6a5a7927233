"""The start of the recorder with a year of history, after ``kill -9``.

The history is that of ten strategies: 730,000 fills and 525,600 reports of equity, with the orders, signals
and positions of the last days. Both starts are timed from the launch of ``decahertz up`` until it is ready,
with the database running. Ours continues from the checkpoint of the process that was killed under load. The
reference has no checkpoint and reads the history, as after a new data folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from benchmarks.bench_sampler_grid import free_port
from benchmarks.engines import engines
from benchmarks.harness import Measure, compared, medians
from decahertz_client import Client

STRATEGIES = 10
DAYS = 365
FILLS_PER_DAY = 2_000
ROUNDS = 2
LOAD_SECONDS = 12
"""Longer than the interval of checkpoints."""
LOAD_PER_SECOND = 1_000
LIMIT_SECONDS = 300
_DAY_NS = 86_400_000_000_000
_IDENTITY = "ns, ns, 'bot', 7, n, n"
_COLUMNS = "time_ns, received_ns, source, epoch, sequence, event_number"
_ABOUT = f"'S' || n % {STRATEGIES}, 'sim', 'I' || n % 50"
_SIDE = "CASE WHEN n / 500 % 2 = 0 THEN 'buy' ELSE 'sell' END"
_EVENTS = {
    # table: (days, rows per day, columns, values)
    "fills": (
        DAYS,
        FILLS_PER_DAY,
        "strategy, venue, instrument, order_id, fill_id, side, price, quantity, fee, risk",
        f"{_ABOUT}, 'o' || n, 'f' || n, {_SIDE}, 100 + n % 97 / 10.0, 1, 0.01, 10",
    ),
    "equity": (DAYS, 144 * STRATEGIES, "strategy, equity", f"'S' || n % {STRATEGIES}, 1e6 + n % 1009"),
    "positions": (
        7,
        FILLS_PER_DAY,
        "strategy, venue, instrument, quantity, held_by",
        f"{_ABOUT}, n % 7 - 3, 'bot'",
    ),
    "signals": (
        1,
        FILLS_PER_DAY,
        "strategy, venue, instrument, signal_id, direction, price",
        f"{_ABOUT}, 'g' || n, 'buy', 100",
    ),
    "order_events": (
        1,
        FILLS_PER_DAY,
        "strategy, venue, instrument, order_id, side, quantity, state",
        f"{_ABOUT}, 'o' || n, {_SIDE}, 1, 'filled'",
    ),
}


async def fill(url: str) -> None:
    """Inserts the history, up to now."""
    end_ns = time.time_ns() - 60_000_000_000
    connection = await asyncpg.connect(url)
    try:
        for table, (days, per_day, columns, values) in _EVENTS.items():
            count, start_ns = days * per_day, end_ns - days * _DAY_NS
            await connection.execute(
                f"INSERT INTO {table} (time, recorder, {columns}, {_COLUMNS})"  # noqa: S608 - constants
                f" SELECT to_timestamp(ns / 1e9), 'bench', {values}, {_IDENTITY}"
                f" FROM generate_series(1, {count}::bigint) AS n,"
                f" LATERAL (SELECT {start_ns} + n * {_DAY_NS // per_day} AS ns) AS times"
            )
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


class Recorder:
    """``decahertz up`` without feeds, on one data folder and one database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-m", "decahertz.app.cli", "up", f"--data-dir={folder / 'data'}"]
        self._command += [f"--api-port={self.port}", f"--exporter-port={free_port()}", "--recorder=bench"]
        self._environment = {**os.environ, "DECAHERTZ_DATABASE_URL": url}
        self._log = (folder / "log").open("w+")
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it; returns after how many seconds it was ready."""
        began = time.perf_counter()
        self._child = subprocess.Popen(
            self._command, stdout=self._log, stderr=self._log, env=self._environment
        )
        while True:
            if self._child.poll() is not None or time.perf_counter() - began > LIMIT_SECONDS:
                self._log.seek(0)
                raise RuntimeError(f"the recorder is not ready: {self._log.read()[-2000:]}")
            with contextlib.suppress(OSError):
                self.get("health/ready")
                return time.perf_counter() - began
            time.sleep(0.01)

    def get(self, path: str) -> bytes:
        """Asks the API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: bytes = answer.read()
            return found

    def fills(self) -> int:
        """Fills of all strategies, as the strategy collector counts them."""
        answer = json.loads(self.get("metrics/current?collector=strategy"))
        return sum(item["values"]["fills"] for item in answer["items"])

    def kill(self) -> None:
        """Kills it, if it runs."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def load(recorder: Recorder) -> None:
    """Sends quotes and fills for longer than a checkpoint is old."""
    with Client(f"http://127.0.0.1:{recorder.port}", source="load") as client:
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < LOAD_SECONDS:
            while sent < passed * LOAD_PER_SECOND:
                sent += 1
                client.quote(venue="sim", instrument=f"I{sent % 50}", bid=100.0, ask=100.5 + sent % 7)
            time.sleep(0.01)
        client.flush()


@contextlib.contextmanager
def database() -> Iterator[tuple[Path, str]]:
    """Runs PostgreSQL; yields a folder and the URL."""
    folder = Path(tempfile.mkdtemp(prefix="decahertz-bench-"))
    server = engines()[0].server(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        runner = stack.enter_context(asyncio.Runner())
        runner.run(server.start())
        stack.callback(lambda: runner.run(server.stop()))
        yield folder, server.url


def measure() -> list[Measure]:
    with database() as (folder, url):
        first = Recorder(folder, url)
        try:
            first.start()  # creates the tables
            first.kill()
            asyncio.run(fill(url))
            pairs = []
            for _ in range(ROUNDS):
                shutil.rmtree(folder / "data" / "spool")
                reference = first.start()
                expected = first.fills()
                load(first)
                first.kill()
                pairs.append((first.start(), reference))
                if first.fills() != expected or not expected:
                    raise RuntimeError(f"{first.fills()} fills instead of {expected}")
                first.kill()
        finally:
            first.kill()
    mine, other = medians(pairs)
    return [compared("restart-year", mine, other, "s", "ours <= 5", is_cost=True)]


def run() -> list[Measure]:
    return measure()
