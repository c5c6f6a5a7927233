"""The idle recorder: memory and processor time of ``decahertz up`` with nothing to record, and its start.

No feeds, no clients, no readers, default settings, standard output to a file; the recorder still samples its
machine ten times a second and stores that. It is started twice on one data folder: the second start, which
finds the tables as they should be, is the one that counts, as it is that of every later day.

* Memory is the resident set of the recorder's process (``VmRSS``), which counts pages that it shares with
  others in full. Processor time is that of its process, user and system, in percent of one core. Both are
  read after a minute of warm-up, the processor time over the minute that follows (``IDLE_SECONDS``).
* Those of the embedded PostgreSQL are rows of their own: all its processes together, with each shared page
  counted once (``Pss``), since they share their buffers.
* The start is the processor time until the recorder answers that it is ready, without PostgreSQL's.

The reference of memory and processor time is a bare Python process that imports the same libraries (aiohttp,
asyncpg, msgspec, structlog, uvloop) and wakes ten times a second; that of the start is the import of
these libraries.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.bench_sampler_grid import free_port, wait_ready
from benchmarks.harness import Measure, compared

SECONDS = float(os.environ.get("IDLE_SECONDS", "60"))
_MIB = 1024 * 1024

_BARE = """
import asyncio, sys
import aiohttp, aiohttp.web, asyncpg, msgspec, prometheus_client, psutil, structlog, uvloop

async def main():
    print("ready", flush=True)
    while True:
        await asyncio.sleep(0.1)

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


class _Use(NamedTuple):
    memory: float
    """MiB."""
    percent: float
    """Of one core."""


def run() -> list[Measure]:
    with tempfile.TemporaryDirectory(prefix="decahertz-bench-") as name:
        folder = Path(name)
        with _recorder(folder):
            pass
        with _bare() as bare, _recorder(folder) as recorder:
            bare_start, start = _processor_seconds(bare), _processor_seconds(recorder)
            time.sleep(SECONDS)
            servers = recorder.children(recursive=True)
            before = _processor_seconds(recorder), _processor_seconds(bare), _processor_seconds(*servers)
            began = time.monotonic()
            time.sleep(SECONDS)
            seconds = time.monotonic() - began
            after = _processor_seconds(recorder), _processor_seconds(bare), _processor_seconds(*servers)
            percents = [100 * (b - a) / seconds for a, b in zip(before, after, strict=True)]
            ours = _Use(recorder.memory_info().rss / _MIB, percents[0])
            reference = _Use(bare.memory_info().rss / _MIB, percents[1])
            shared = sum(server.memory_full_info().pss for server in servers if server.is_running()) / _MIB
    return [
        compared("idle memory", ours.memory, reference.memory, "MiB", "ours <= 60", is_cost=True),
        compared("idle processor", ours.percent, reference.percent, "% of a core", "ours <= 1", is_cost=True),
        compared("start", start, bare_start, "s of processor", "ours <= 1", is_cost=True),
        Measure(name="idle memory of PostgreSQL", ours=shared, unit="MiB", goal="-"),
        Measure(name="idle processor of PostgreSQL", ours=percents[2], unit="% of a core", goal="-"),
    ]


def _processor_seconds(*processes: psutil.Process) -> float:
    found = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a worker of autovacuum that has ended
            times = process.cpu_times()
            found += times.user + times.system
    return found


@contextmanager
def _recorder(folder: Path) -> Iterator[psutil.Process]:
    """Runs ``decahertz up`` until the block ends; yields its process once it is ready."""
    api = free_port()
    command = [sys.executable, "-m", "decahertz", "up", f"--data-dir={folder / 'data'}"]
    command += [f"--api-port={api}", f"--exporter-port={free_port()}"]
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            wait_ready(child, f"http://127.0.0.1:{api}/api/v1/health/ready")
            yield psutil.Process(child.pid)
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)


@contextmanager
def _bare() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", _BARE], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None  # noqa: S101 - a pipe
            child.stdout.readline()
            yield psutil.Process(child.pid)
        finally:
            child.kill()
