"""The pipeline with a wall clock that can be stepped: takes the options of ``decahertz up``.

Each line of its standard input is a step in seconds, positive or negative. SIGINT ends it. Everything but
the clock is the product.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

import uvloop

from decahertz.app.cli import all_keys
from decahertz.app.logs import configure_logs
from decahertz.app.pipeline import Pipeline
from decahertz.app.settings import load
from decahertz.app.up import welcome
from decahertz.clock import NS_PER_SECOND, SystemClock


class SteppedClock(SystemClock):
    """The machine's clocks, and what the wall clock was stepped by."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def time_ns(self) -> int:
        """Wall time, stepped."""
        return super().time_ns() + self.offset_ns


async def main(options: Sequence[str]) -> None:
    """Runs until SIGINT."""
    keys = {key.option: key.key for key in all_keys()}
    pairs = zip(options[::2], options[1::2], strict=True)
    settings = load(arguments={keys[option]: value for option, value in pairs})
    configure_logs(settings.log)
    clock, loop, ended = SteppedClock(), asyncio.get_running_loop(), asyncio.Event()

    def step() -> None:
        line = sys.stdin.readline()
        if line.strip():
            clock.offset_ns += round(float(line) * NS_PER_SECOND)
        elif not line:
            loop.remove_reader(sys.stdin)

    loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_reader(sys.stdin, step)
    pipeline = Pipeline(settings, clock)
    try:
        await pipeline.start()
        sys.stdout.write(welcome(pipeline))
        sys.stdout.flush()
        await ended.wait()
    finally:
        await pipeline.stop()


def run() -> None:
    """Be ``decahertz up``."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1:]))
