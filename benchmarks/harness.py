"""Shared by all benchmarks: a row of the table, and timing of two alternatives in turn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aiohttp import web
from msgspec import Struct

ROUNDS = 7


class Measure(Struct, frozen=True, kw_only=True):
    """One row: our figure next to that of a reference in the same run."""

    name: str
    ours: float
    reference: float | None = None
    unit: str
    ratio: float | None = None
    """``ours / reference``, or its inverse where a smaller figure is better; ``goal`` tells which."""
    goal: str
    """The bound of the ratio or of our figure: ``ratio >= 20``, ``ours <= 1.5``."""


def environment(**settings: str) -> dict[str, str]:
    """The environment of a server: these settings of Decahertz, and none of the shell's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DECAHERTZ_")}
    return {**inherited, **settings}


async def serve(app: web.Application) -> None:
    """Serves on a free port, which it prints, until the process is killed."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def serving(module: str) -> Iterator[str]:
    """Runs a module that calls :func:`serve`, in a process of its own; yields its address."""
    command = [sys.executable, "-m", module]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def durations(call: Callable[[int], object], calls: int) -> list[int]:
    """Returns the duration of each call, which gets its number, in nanoseconds."""
    clock = time.perf_counter_ns
    found = []
    for number in range(calls):
        start = clock()
        call(number)
        found.append(clock() - start)
    return found


def compared(
    name: str, ours: float, reference: float, unit: str, goal: str, *, is_cost: bool = False
) -> Measure:
    """Makes the row of a comparison; of a cost, where less is better, the ratio is ``reference / ours``."""
    ratio = reference / ours if is_cost else ours / reference
    return Measure(name=name, ours=ours, reference=reference, unit=unit, ratio=ratio, goal=goal)


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns the medians of our measurements and of the reference's."""
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Returns the wall time of one call, averaged over ``repeat`` consecutive calls."""
    start = time.perf_counter_ns()
    for _ in range(repeat):
        work()
    return (time.perf_counter_ns() - start) / repeat / 1e9


def alternate(
    ours: Callable[[], float],
    reference: Callable[[], float],
    rounds: int = ROUNDS,
) -> tuple[float, float]:
    """Returns the medians of two measurements taken in turn, after a warm-up round."""
    ours()
    reference()
    return medians([(ours(), reference()) for _ in range(rounds)])
