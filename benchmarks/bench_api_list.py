"""Requests per second of lists and of a history, at 10 and at 1,000 connections, next to FastAPI.

Ours is ``decahertz up`` without feeds; the reference is :mod:`benchmarks.rival_api`, FastAPI with uvicorn,
asyncpg and pydantic, in a process of its own. Both read the same rows of the same embedded PostgreSQL, with
eight connections. Debian's ``wrk`` asks from outside both, in turn. ``api-list`` and ``api-history`` ask with
``Cache-Control: no-cache``, so that every answer comes from the database; ``api-cached`` asks without it, and
the reference, which has no cache, answers as before. The rows that end in ``p99`` are latencies.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from benchmarks.bench_sampler_grid import free_port, wait_ready
from benchmarks.engines import engines
from benchmarks.harness import ROUNDS, Measure, compared, environment, medians

CONNECTIONS = (10, 1000)
SECONDS = 2
FILLS = 20_000
HISTORY_CYCLES = 3_000
START_NS = (int(time.time()) - 600) * 1_000_000_000
_NO_CACHE = "Cache-Control: no-cache"
_LIST = "/api/v1/fills?limit=20"
_TRADES = "/api/v1/trades?limit=20"
_HISTORY = (
    f"/api/v1/metrics/history?collector=market&instrument=I0&fields=mid,spread_bps&start={START_NS}"
    f"&end={START_NS + HISTORY_CYCLES * 100_000_000}"
)
CASES = {
    "api-list": (_LIST, True, "ratio >= 2.5"),
    "api-list-trades": (_TRADES, True, "ratio >= 2.5"),
    "api-cached": (_LIST, False, "ratio >= 8"),
    "api-history": (_HISTORY, True, "ratio >= 1"),
}
_FILL = """
INSERT INTO fills (time, recorder, strategy, venue, instrument, order_id, fill_id, side, price, quantity, fee,
                   liquidity, risk, time_ns, received_ns, source, epoch, sequence, event_number)
SELECT to_timestamp(ns / 1e9), 'bench', 'S' || n % 10, 'sim', 'I' || n % 50, 'o' || n, 'f' || n,
       CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END, 100 + random(), 1 + n % 3, random() / 10,
       CASE WHEN n % 3 > 0 THEN 'taker' END, CASE WHEN n % 5 = 0 THEN 12.5 END, ns, ns + 1500, 'bot', 7, n, n
FROM generate_series(1, $2::bigint) AS n, LATERAL (SELECT $1::bigint + n * 1000000 AS ns) AS times
"""
_TRADE = """
INSERT INTO trades (time, recorder, trade_id, strategy, venue, instrument, side, quantity, opened_at,
                    entry_price, exit_price, fees, pnl, risk, r_multiple, fills, opened_ns, closed_ns,
                    closed_source, closed_epoch, closed_sequence, closed_flat)
SELECT to_timestamp(ns / 1e9), 'bench', 't' || n, 'S' || n % 10, 'sim', 'I' || n % 50, 'buy', 1 + n % 3,
       to_timestamp(ns / 1e9), 100 + random(), 100 + random(), random(), random(), NULL, NULL, 2, ns - 5000,
       ns, 'bot', 7, n, true
FROM generate_series(1, $2::bigint) AS n, LATERAL (SELECT $1::bigint + n * 1000000 AS ns) AS times
"""
_SAMPLES = """
INSERT INTO market_samples (time, recorder, venue, instrument, mid, spread_bps{required})
SELECT to_timestamp($1::bigint / 1e9) + n * interval '100 ms', 'bench', 'sim', 'I0', 100 + sin(n / 1e3),
       CASE WHEN n % 7 > 0 THEN random() END{values}
FROM generate_series(0, $2::bigint - 1) AS n
"""


class Load(Struct, frozen=True):
    """Result of a run of ``wrk``."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def wrk(url: str, connections: int, headers: tuple[str, ...] = ()) -> Load:
    """Asks for ``url`` over so many connections, once the server is done with what earlier ones abandoned."""
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own
        answer.read()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_name("wrk.lua")), url]
    for header in headers:
        command += ["-H", header]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    load = msgspec.json.decode(output.splitlines()[-1], type=Load)
    if load.errors or not load.requests:
        raise RuntimeError(f"{url}: {load.errors} errors, {load.requests} requests")
    return load


@contextlib.contextmanager
def running(command: list[str], ready: str, folder: Path, settings: dict[str, str]) -> Iterator[int]:
    """Runs a server until the end of the block, from when it is ready; yields its process id."""
    with (folder / f"{command[2]}.log").open("w+") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment(**settings))
        try:
            wait_ready(child, ready)
            yield child.pid
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)


@contextlib.contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """Runs PostgreSQL, our API and the rival's; yields the addresses of the APIs."""
    folder = Path(tempfile.mkdtemp(prefix="decahertz-bench-"))
    server = engines()[0].server(folder)
    own, exporter, rival = free_port(), free_port(), free_port()
    ours = [sys.executable, "-m", "decahertz.app.cli", "up", f"--data-dir={folder / 'data'}"]
    ours += [f"--api-port={own}", f"--exporter-port={exporter}"]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        runner = stack.enter_context(asyncio.Runner())
        runner.run(server.start())
        stack.callback(lambda: runner.run(server.stop()))
        url = server.url
        ready = f"http://127.0.0.1:{own}/api/v1/health/ready"
        stack.enter_context(running(ours, ready, folder, {"DECAHERTZ_DATABASE_URL": url}))
        runner.run(fill(url))
        reference = [sys.executable, "-m", "benchmarks.rival_api", url, str(rival)]
        stack.enter_context(running(reference, f"http://127.0.0.1:{rival}/docs", folder, {}))
        yield f"http://127.0.0.1:{own}", f"http://127.0.0.1:{rival}"


async def fill(url: str) -> None:
    """Inserts the rows."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL, START_NS, FILLS)
        await connection.execute(_TRADE, START_NS, FILLS)
        required = await connection.fetch(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_name = 'market_samples' AND is_nullable = 'NO'"
            " AND column_name <> ALL ('{time,recorder,venue,instrument,mid,spread_bps}')"
        )
        values = "".join(f", '0'::{row['data_type']}" for row in required)
        names = "".join(f', "{row["column_name"]}"' for row in required)
        await connection.execute(_SAMPLES.format(required=names, values=values), START_NS, HISTORY_CYCLES)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def check(ours: str, reference: str) -> None:
    """Raises ``RuntimeError`` unless both give the same rows."""
    for path in (_LIST, _TRADES):
        mine, other = _json(ours + path)["items"], _json(reference + path)["items"]
        if mine != other or not mine:
            raise RuntimeError(f"{path}: the answers differ: {mine[:1]}, {other[:1]}")
    (series,), other = _json(ours + _HISTORY)["series"], _json(reference + _HISTORY)
    if {name: series[name] for name in other} != other or len(other["time_ns"]) != HISTORY_CYCLES:
        raise RuntimeError("the histories differ")


def _json(url: str) -> Any:  # noqa: ANN401 - of any shape
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        return msgspec.json.decode(answer.read())


def pairs(ours: str, reference: str, connections: int, *, is_fresh: bool) -> list[tuple[Load, Load]]:
    """Loads both in turn, after a round to warm up."""
    headers = (_NO_CACHE,) if is_fresh else ()

    def both() -> tuple[Load, Load]:
        return wrk(ours, connections, headers), wrk(reference, connections)

    both()
    return [both() for _ in range(ROUNDS)]


def measures() -> Iterator[Measure]:
    with servers() as (ours, reference):
        check(ours, reference)
        for connections in CONNECTIONS:
            for case, (path, is_fresh, goal) in CASES.items():
                found = pairs(ours + path, reference + path, connections, is_fresh=is_fresh)
                name = f"{case}-{connections}"
                mine, other = medians([(one.rate, two.rate) for one, two in found])
                yield compared(name, mine, other, "requests/s", goal)
                mine, other = medians([(one.p99_ms, two.p99_ms) for one, two in found])
                yield compared(f"{name}-p99", mine, other, "ms", "ratio >= 1", is_cost=True)


def run() -> list[Measure]:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not on PATH (on Debian: apt-get install wrk)")
    return list(measures())
