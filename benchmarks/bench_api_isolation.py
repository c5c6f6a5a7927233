"""The grid of the whole process under load on its API: 1,000 requests a second and 200 WebSocket readers.

The process is that of ``sampler-grid``: 1,000 instruments and 50 strategies at 10 Hz. The requests are lists
(from the cache until a row is stored) and newest samples, and one in fifty is health; the readers share the
instruments, five each, and get all fills. The load has the priority of an API process (``nice`` 10), so that
on few cores it takes no time of the recorder: elsewhere it comes from other machines.

Ours is ``api.processes = 1``, an API process of its own; the reference is ``api.processes = 0`` in the same
run. The reference of the row ``quiet`` has no load at all. The rows ``requests`` and ``updates`` count what
is served: a grid that is kept by not serving would show there.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from msgspec import Struct

from benchmarks.bench_sampler_grid import (
    SECONDS,
    WARM_UP_SECONDS,
    Trading,
    increase,
    quantile,
    read,
    running_decahertz,
)
from benchmarks.engines import engines
from benchmarks.harness import Measure, compared
from decahertz_client import Client

REQUESTS_PER_SECOND = 1_000
READERS = 200


class Figures(Struct, frozen=True):
    """One measurement."""

    missed: float
    lateness_p99_ms: float
    requests: float
    """Answered with 200, per second."""
    request_p99_ms: float
    updates: float
    """States that the readers got, per second."""


def measure(processes: int, *, requests: int = REQUESTS_PER_SECOND, readers: int = READERS) -> Figures:
    """Runs the program with so many API processes under load."""
    with (
        running_decahertz(engines()[0], {"api-processes": str(processes)}) as (process, metrics_url, api_url),
        Client(api_url, source="bench") as client,
    ):
        trading = Trading(client)
        trading.run(WARM_UP_SECONDS)
        with _load(urlsplit(api_url).port or 0, requests, readers) as load:
            trading.run(WARM_UP_SECONDS)
            first = read(process, metrics_url)
            trading.run(SECONDS)
            last = read(process, metrics_url)
            output, _ = load.communicate(timeout=10)
        counts = json.loads(output)
    if counts["failed"]:
        raise RuntimeError(f"{counts['failed']} requests failed")
    return Figures(
        missed=increase(first, last, "decahertz_sampler_missed_cycles_total"),
        lateness_p99_ms=quantile(first, last, "decahertz_sampler_lateness_seconds_bucket", 0.99) * 1e3,
        requests=counts["requests"],
        request_p99_ms=counts["p99"] * 1e3,
        updates=counts["updates"],
    )


@contextlib.contextmanager
def _load(port: int, requests: int, readers: int) -> Iterator[subprocess.Popen[str]]:
    command = ["nice", "-n", "10", sys.executable, "-m", "benchmarks.api_load"]
    command += [str(port), str(requests), str(readers)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None  # noqa: S101 - a pipe
        if child.stdout.readline() != "ready\n":
            raise RuntimeError("the load did not start")
        yield child
    finally:
        child.kill()
        child.wait()


def run() -> list[Measure]:
    quiet, inside, apart = measure(0, requests=1, readers=0), measure(0), measure(1)
    name = "api-isolation"
    return [
        Measure(
            name=f"{name} missed",
            ours=apart.missed,
            reference=inside.missed,
            unit="cycles",
            goal="ours = 0",
        ),
        compared(
            f"{name} lateness p99",
            apart.lateness_p99_ms,
            inside.lateness_p99_ms,
            "ms",
            "ours <= 10",
            is_cost=True,
        ),
        compared(
            f"{name} lateness p99 quiet",
            apart.lateness_p99_ms,
            quiet.lateness_p99_ms,
            "ms",
            "ratio >= 0.5",
            is_cost=True,
        ),
        compared(f"{name} requests", apart.requests, inside.requests, "requests/s", "ratio >= 0.95"),
        compared(
            f"{name} requests p99",
            apart.request_p99_ms,
            inside.request_p99_ms,
            "ms",
            "ratio >= 1",
            is_cost=True,
        ),
        compared(f"{name} updates", apart.updates, inside.updates, "updates/s", "ratio >= 0.95"),
    ]
