"""From the submission of an order request to the process that takes it, while the grid runs.

``decahertz up`` with 1,000 instruments at 10 Hz, database and spool on disk, as in ``sampler-grid``. This
process submits 20 requests a second, each with ``Client.submit_order`` on a connection of its own; another
process takes them with ``Client.requests``; a second thread of it begins and acknowledges each, so that a
request does not wait for the calls about the one before. ``order-queue`` is the time from the call of the one
to the request in the hands of the other: both commits are in it. ``halt to can_trade`` is
the time from the call that halts a strategy to the first ``Client.can_trade`` that is false.

The reference is the same percentile of ``GET /ping`` on a connection of its own, between two submissions.
``submission`` is the part until the answer to the first call. The rows "few instruments" are the same next to
twenty instruments: what the path itself takes, where the event loop has nothing else to do.
``ORDER_QUEUE_SECONDS`` in the environment sets the measured time.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.bench_sampler_grid import (
    CYCLES_PER_SECOND,
    increase,
    quantile,
    read,
    running_decahertz,
)
from benchmarks.engines import engines
from benchmarks.harness import Measure, compared, environment
from decahertz_client import Client, OrderRequest, ProblemError

SECONDS = float(os.environ.get("ORDER_QUEUE_SECONDS", "30"))
PER_SECOND = 20
FEW = 20
_CAPACITY = 100
HALTS = 50
_LIMIT_SECONDS = 30.0
_ORDER: dict[str, Any] = {
    "kind": "equity",
    "strategy": "bench",
    "venue": "synthetic",
    "instrument": "I1",
    "side": "buy",
    "quantity": 1,
    "order_type": "market",
}
_MS = 1e3


@dataclass(frozen=True)
class _Times:
    """Milliseconds."""

    waits: list[float]
    submissions: list[float]
    pings: list[float]


def run() -> list[Measure]:
    options = {"risk-orders-require-live-feed": "false"}
    with _recorder(options) as (process, metrics, url), Client(url, source="bench") as client:
        first = read(process, metrics)
        times = _measure(client, url)
        last = read(process, metrics)
        halts = _halt(client, url)
    options["feeds-synthetic-instruments"] = str(FEW)
    with _recorder(options) as (_, _, url), Client(url, source="bench") as client:
        few = _measure(client, url)
    cycles = round((last.monotonic - first.monotonic) * CYCLES_PER_SECOND)
    missed = increase(first, last, "decahertz_sampler_missed_cycles_total")
    late = quantile(first, last, "decahertz_sampler_lateness_seconds_bucket", 0.99) * _MS
    return [
        *_rows("order-queue", times),
        compared("order-queue missed", missed, cycles, "cycles", "ours = 0"),
        Measure(name="order-queue lateness p99", ours=late, unit="ms", goal="ours <= 5"),
        compared("halt to can_trade p99", _p(halts, 0.99), _p(times.pings, 0.99), "ms", "ours <= 20"),
        *_rows("order-queue few instruments", few),
    ]


def _rows(name: str, times: _Times) -> list[Measure]:
    return [
        compared(name, _p(times.waits, 0.99), _p(times.pings, 0.99), "ms", "ours <= 20"),
        compared(f"{name} median", _p(times.waits, 0.5), _p(times.pings, 0.5), "ms", "reported"),
        compared(
            f"{name} submission median", _p(times.submissions, 0.5), _p(times.pings, 0.5), "ms", "reported"
        ),
    ]


@contextmanager
def _recorder(options: dict[str, str]) -> Iterator[tuple[psutil.Process, str, str]]:
    with running_decahertz(engines()[0], options) as (process, metrics, url):
        _create_key(process.environ()["DECAHERTZ_DATABASE_URL"])
        yield process, metrics, url


def _measure(client: Client, url: str) -> _Times:
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder, "taken")
        _wait_open(client)
        with _taker(url, taken):
            time.sleep(3)  # the connection of the taker, and its first answer
            submitted, submissions, pings = _submit(client, url)
            arrivals = _arrivals(taken, submitted)
    return _Times([(arrivals[one] - at) * _MS for one, at in submitted.items()], submissions, pings)


def _create_key(database_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = environment(DECAHERTZ_DATABASE_URL=database_url, DECAHERTZ_DATA_DIR=folder)
        command = [sys.executable, "-m", "decahertz", "keys", "create", "bench", "--scope", "trade"]
        subprocess.run(
            [*command, "--output", str(Path(folder, "key"))], check=True, env=env, stdout=subprocess.DEVNULL
        )


def _wait_open(client: Client) -> None:
    """Waits until the recorder has read the key."""
    limit = time.monotonic() + _LIMIT_SECONDS
    while True:
        try:
            client.submit_order(**{**_ORDER, "strategy": "warm-up"})
        except ProblemError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.2)
        else:
            return


@contextmanager
def _taker(url: str, file: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.bench_order_queue", url]
    root = Path(__file__).parent.parent
    with file.open("ab") as out, subprocess.Popen(command, cwd=root, stdout=out) as child:
        try:
            yield
        finally:
            child.kill()


def _take(url: str) -> None:
    """Takes requests until it is killed, and says when it got each."""
    with (
        Client(url, source="taker") as client,
        client.requests(capacity=_CAPACITY) as requests,
        ThreadPoolExecutor(1) as worker,
    ):
        for request in requests:
            print(request.request_id, time.monotonic(), flush=True)
            worker.submit(_execute, request)


def _execute(request: OrderRequest) -> None:
    request.begin()
    request.ack()


def _submit(client: Client, url: str) -> tuple[dict[str, float], list[float], list[float]]:
    """Submits at even intervals; returns when each was submitted, the times to the answers, and of pings."""
    submitted: dict[str, float] = {}
    submissions: list[float] = []
    pings: list[float] = []
    address = urlsplit(url)
    begin = time.monotonic()
    for number in range(round(SECONDS * PER_SECOND)):
        time.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
        at = time.monotonic()
        submitted[client.submit_order(**_ORDER)["request_id"]] = at
        submissions.append((time.monotonic() - at) * _MS)
        at = time.monotonic()
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
        connection.request("GET", "/api/v1/ping")
        connection.getresponse().read()
        connection.close()
        pings.append((time.monotonic() - at) * _MS)
    return submitted, submissions, pings


def _arrivals(taken: Path, submitted: dict[str, float]) -> dict[str, float]:
    limit = time.monotonic() + _LIMIT_SECONDS
    while True:
        *lines, _torn = taken.read_text().split("\n")
        pairs = [line.split() for line in lines if line]
        arrivals = {request_id: float(at) for request_id, at in pairs}
        if submitted.keys() <= arrivals.keys():
            return arrivals
        if time.monotonic() > limit:
            raise TimeoutError(f"{len(submitted.keys() - arrivals.keys())} requests were not taken")
        time.sleep(0.1)


def _halt(client: Client, url: str) -> list[float]:
    """Halts and resumes; returns how long each halt took to reach the client."""
    if not client.wait_can_trade(_LIMIT_SECONDS):
        raise TimeoutError("the recorder does not say whether trading may go on")
    address, times = urlsplit(url), list[float]()
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    for number in range(HALTS):
        _until(client, can_trade=True)
        at = time.monotonic()
        strategy = {"scope": "strategy", "strategy": "bench", "reason": f"measurement {number}"}
        halt_id = _post(connection, "/api/v1/risk/halts", strategy)["halt_id"]
        _until(client, can_trade=False)
        times.append((time.monotonic() - at) * _MS)
        _post(connection, f"/api/v1/risk/halts/{halt_id}/resume", {"reason": "measured"})
    connection.close()
    return times


def _until(client: Client, *, can_trade: bool) -> None:
    limit = time.monotonic() + _LIMIT_SECONDS
    while client.can_trade("bench") is not can_trade:
        if time.monotonic() > limit:
            raise TimeoutError(f"can_trade is {not can_trade}: {client.trading_permission('bench')}")
        time.sleep(0.0002)


def _post(connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    if response.status not in {200, 201}:
        raise RuntimeError(f"{path}: {answer}")
    return answer


def _p(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


if __name__ == "__main__":
    _take(sys.argv[1])
