"""Faults of all kinds, combined at random under load: for a minute in every run, for an hour in scripts/soak.

Nothing that was acknowledged is lost or doubled, the ledger balances at every reading, and health tells soon
what is wrong, and that it is over. A run prints its seed; ``DECAHERTZ_CHAOS_SEED`` repeats its faults.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError

import pytest

from storage.postgres.embedded import Installation
from tests.chaos import stepped
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.world import World, live_through, world
from tests.pipeline.running import IS_LONG, Starvation, wait_until
from tests.small_disk import small_disk

MINUTES = float(os.environ.get("DECAHERTZ_CHAOS_MINUTES", "60")) if IS_LONG else 1.0
SEED = int(os.environ.get("DECAHERTZ_CHAOS_SEED", "0")) or (secrets.randbits(32) if IS_LONG else 61)
"""The short run has the same faults each time; the long one looks for new combinations."""
TELL_SECONDS = float(os.environ.get("DECAHERTZ_CHAOS_TELL_SECONDS", "5" if IS_LONG else "20"))
"""Time in which health tells of a fault, and of its end, without that in which the recorder or its server
waits for the processor. The short run shares the machine with others."""
PAST_SECONDS = 180.0 if IS_LONG else 40.0
MOST_FAULTS = 4
_SILENT_CLIENT = ("client_killed", "network_cut")
"""Faults with which no event arrives."""
pytestmark = pytest.mark.timeout(MINUTES * 60 + (900 if IS_LONG else 240))


def chosen(chance: random.Random) -> list[Fault]:
    """Faults that can be there at the same time, in any order."""
    found: dict[str, Fault] = {}
    for fault in chance.sample(FAULTS, chance.randint(1, MOST_FAULTS)):
        found.setdefault(fault.group, fault)
    names = {fault.name for fault in found.values()}
    if "pipeline_killed" in names:
        # Whose descriptors, and who sees that the file is gone? And its start makes a table that is missing.
        found.pop("descriptors", None)
        if "spool_deleted" in names:
            del found["disk"]
        if "table_missing" in names:
            del found["database"]
    if "table_missing" in names:
        # Nobody but the client writes into that table: without it nothing is wrong that health could tell.
        found = {group: fault for group, fault in found.items() if fault.name not in _SILENT_CLIENT}
    # Last: a frozen process may hold a lock for which another fault would wait.
    return sorted(found.values(), key=lambda fault: fault.group == "pipeline")


def unhealthy(chaos: World) -> dict[str, str]:
    """Details of the parts that are not healthy."""
    try:
        health = chaos.pipeline.get("/api/v1/health")
    except HTTPError as error:
        with error:
            health = json.load(error)
    return {part["name"]: part["detail"] for part in health["components"] if part["health"] != "ok"}


def can_tell(faults: Sequence[Fault]) -> bool:
    """Whether health can be asked while these faults last."""
    return not {"pipeline_killed", "pipeline_frozen", "descriptors_exhausted", "memory_exhausted"} & {
        f.name for f in faults
    }


def inject(chaos: World, chance: random.Random, faults: Sequence[Fault]) -> None:
    """Lets these faults happen, last for some time, and end."""
    starvation = Starvation(chaos.pids)
    heals = [(fault, fault.inject(chaos, chance)) for fault in faults]
    if can_tell(faults):
        for fault in faults:
            if fault.parts:
                wait_until(
                    f"{fault.parts} to be told as unhealthy",
                    TELL_SECONDS,
                    lambda fault=fault: bool(unhealthy(chaos).keys() & set(fault.parts)),  # type: ignore[misc]
                    starvation,
                )
    live_through(chance.uniform(0.0, 3.0))
    chance.shuffle(heals)
    for _, heal in heals:
        heal()
    # That a spool was replaced is told until the next start.
    healed = {part for fault in faults for part in fault.parts} - {"spool"}
    told: dict[str, str] = {}

    def is_healed() -> bool:
        nonlocal told
        told = unhealthy(chaos)
        return not told.keys() & healed

    def is_catching_up() -> bool:
        return "not open yet" in told.get("storage", "")

    try:
        wait_until(
            f"{healed} to be healthy again",
            TELL_SECONDS,
            lambda: is_healed() or is_catching_up(),
            starvation,
        )
        # A start without the database and without a checkpoint reads the whole past before it stores.
        wait_until("the past to be read", PAST_SECONDS, is_healed, starvation)
    except AssertionError as error:
        error.add_note(str(told))
        raise


def test_everything_at_once(installation: Installation, folder: Path) -> None:
    chance = random.Random(SEED)
    sys.stdout.write(f"seed {SEED}\n")
    settings = {"DECAHERTZ_STORAGE_START_TIMEOUT_SECONDS": "2"}
    with (
        small_disk(folder / "data" / "spool"),
        world(folder, installation, program=stepped.run, settings=settings) as chaos,
    ):
        chaos.start_client(1000)
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            chaos.wait_acknowledged()
            faults = chosen(chance)
            names = " + ".join(fault.name for fault in faults)
            sys.stdout.write(f"{time.monotonic() - end:7.1f} s  {names}\n")
            inject(chaos, chance, faults)
        live_through(5.0)  # a clock that was set back has come to where it was
        chaos.wait_acknowledged()
        chaos.check()
