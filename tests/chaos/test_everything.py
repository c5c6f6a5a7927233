"""All faults at once: for ten minutes in scripts/soak, for some seconds in every test run."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.chaos.world import Full, World, live_through, now_ns, world
from tests.pipeline.running import IS_LONG, ROOT
from tests.small_disk import fill_up, small_disk

MINUTES = float(os.environ.get("DECAHERTZ_CHAOS_MINUTES", "10")) if IS_LONG else 0.3
pytestmark = pytest.mark.timeout(MINUTES * 60 + (600 if IS_LONG else 160))

Heal = Callable[[], object]
_LONGEST_STEP = 3.0
"""Seconds. Of a longer step back instants are sampled a second time, by design."""
_RESCUE_NS = 500_000_000
"""Time in which a disk that has room again gets the rows that it had refused."""


def postgres_stopped(chaos: World) -> Heal:
    chaos.postgres.stop()
    return chaos.postgres.start


def postgres_killed(chaos: World) -> Heal:
    chaos.postgres.kill()
    return chaos.postgres.start


def pipeline_killed(chaos: World) -> Heal:
    life = chaos.pipeline.lives[-1]
    chaos.pipeline.kill()
    if chaos.disk.ended_ns + _RESCUE_NS > life.died_ns:  # what is in memory only, it takes with it
        life.unclear.append((chaos.disk.began_ns, life.died_ns))
    return chaos.start_pipeline


def client_killed(chaos: World) -> Heal:
    chaos.emitter.kill()
    return partial(chaos.start_client, 1000)


def network_cut(chaos: World) -> Heal:
    chaos.background.call(chaos.network.cut())
    return partial(setattr, chaos.network, "is_cut", False)


def network_slow(chaos: World) -> Heal:
    chaos.network.delay_seconds = random.uniform(0.01, 0.3)
    return partial(setattr, chaos.network, "delay_seconds", 0.0)


def answers_lost(chaos: World) -> Heal:
    chaos.network.lose_answers = random.randint(1, 5)
    return partial(setattr, chaos.network, "lose_answers", 0)


def disk_full(chaos: World) -> Heal:
    filler = chaos.spool / "filler"
    chaos.disk = Full(now_ns())
    fill_up(filler)

    def make_room() -> None:
        filler.unlink()
        chaos.disk.ended_ns = now_ns()

    return make_room


def clock_stepped(chaos: World) -> Heal:
    if chaos.pipeline.running is None:
        return lambda: None
    step = random.uniform(-_LONGEST_STEP, _LONGEST_STEP)
    life, began_ns = chaos.pipeline.lives[-1], now_ns()
    chaos.pipeline.tell(str(step))

    def back() -> None:
        if chaos.pipeline.running is not None and chaos.pipeline.lives[-1] is life:
            chaos.pipeline.tell(str(-step))
        else:  # what it had missed it took with it
            margin_ns = round((_LONGEST_STEP + 0.5) * 10**9)
            life.unclear.append((began_ns - margin_ns, now_ns() + margin_ns))

    return back


FAULTS = (
    postgres_stopped,
    postgres_killed,
    pipeline_killed,
    client_killed,
    network_cut,
    network_slow,
    answers_lost,
    disk_full,
    clock_stepped,
)


def test_everything_at_once(installation: Installation, folder: Path) -> None:
    program = [sys.executable, str(Path(__file__).with_name("stepped.py"))]
    settings = {"PYTHONPATH": str(ROOT)}
    with (
        small_disk(folder / "data" / "spool"),
        world(folder, installation, program=program, settings=settings) as chaos,
    ):
        chaos.start_client(1000)
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            chaos.wait_acknowledged()
            faults = random.sample(FAULTS, random.randint(1, 4))
            if all(fault in faults for fault in (postgres_stopped, postgres_killed)):
                faults.remove(postgres_killed)
            sys.stdout.write(" + ".join(fault.__name__ for fault in faults) + "\n")
            heals = [fault(chaos) for fault in faults]
            live_through(random.uniform(0.0, 5.0))
            # The pipeline does not start without its database.
            for heal in sorted(heals, key=lambda heal: heal == chaos.start_pipeline):
                heal()
        live_through(5.0)  # a clock that was set back has come to where it was
        chaos.wait_acknowledged()
        chaos.check()
