"""The whole product under load: a few seconds here, any duration with scripts/soak.

After the run, queries without any code of the product look for missing and duplicate rows.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from decahertz.clock import CYCLE_NS
from decahertz.event import EVENT_BY_TABLE
from tests.embedded_server import connected
from tests.pipeline.running import RunningDecahertz, running

MINUTES = float(os.environ.get("DECAHERTZ_SOAK_MINUTES", "0.15"))
INSTRUMENTS = 100
GROWTH_BYTES = 64 * 1024 * 1024
"""Growth allowed to a warm process; a leak of one event in a hundred exceeds it within an hour."""


def live_through(decahertz: RunningDecahertz, seconds: float) -> list[int]:
    """Check for this long that the process is healthy; returns its resident bytes, once a second."""
    process = psutil.Process(decahertz.process.pid)
    sizes = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert decahertz.process.poll() is None
        health = decahertz.get("/api/v1/health")
        assert health["health"] != "failed", health
        sizes.append(process.memory_info().rss)
        if len(sizes) % 60 == 0:
            sys.stdout.write(f"{len(sizes)} s: {sizes[-1] / 2**20:.0f} MiB, {health['health']}\n")
        time.sleep(1)
    return sizes


async def missing_and_doubled_events(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Missing or duplicate events, by emitter; empty if there are none."""
    tables = " UNION ALL ".join(f"SELECT source, epoch, sequence FROM {name}" for name in EVENT_BY_TABLE)  # noqa: S608 - names of our own
    rows = await connection.fetch(
        f"SELECT source, epoch, count(*) AS n, count(DISTINCT sequence) AS different,"  # noqa: S608 - as above
        f" min(sequence) AS low, max(sequence) AS high FROM ({tables}) AS events GROUP BY source, epoch",
    )
    assert {row["source"] for row in rows} >= {"feed-synthetic"}
    assert len(rows) == 2
    return [
        f"{row['source']}: {row['n']} rows, {row['different']} different, {row['low']} to {row['high']}"
        for row in rows
        if not row["n"] == row["different"] == row["high"] or row["low"] != 1
    ]


async def missing_samples(connection: asyncpg.Connection[asyncpg.Record], collector: str, key: str) -> int:
    """Cycles between the first and the last sample of a key that do not have exactly one sample."""
    rows = await connection.fetch(
        f"SELECT {key}, count(*) AS n, count(DISTINCT time) AS different, min(time) AS first,"  # noqa: S608 - names of our own
        f" max(time) AS last FROM {collector}_samples GROUP BY {key}",
    )
    assert rows
    wrong = 0
    for row in rows:
        span = row["last"] - row["first"]
        cycles = round(span.total_seconds() * 10**9 / CYCLE_NS) + 1
        wrong += abs(cycles - row["n"]) + abs(row["n"] - row["different"])
    return wrong


@pytest.mark.alone
@pytest.mark.timeout(MINUTES * 60 + 240)
async def test_after_a_run_nothing_is_missing_nothing_is_doubled_and_memory_has_not_grown(
    env: dict[str, str],
    data_dir: Path,
) -> None:
    options = ("--demo", "--feeds-synthetic-instruments", str(INSTRUMENTS))
    with running(*options, env=env, log=data_dir / "log") as decahertz:
        sizes = live_through(decahertz, MINUTES * 60)
        missed = {c["name"]: c["skipped"] for c in decahertz.get("/api/v1/collectors")["collectors"]}
        assert set(missed.values()) == {0}, missed
        took, output = decahertz.stop()
        assert decahertz.process.returncode == 0, output
        assert took < 5

    # Started again for its database alone: strategies from before would be sampled again.
    only_database = ("--feeds-enabled", "", "--collectors-enabled", "system")
    with running(*only_database, env=env, log=data_dir / "log") as decahertz:
        async with connected(decahertz.database) as connection:
            assert await missing_and_doubled_events(connection) == []
            wrong = {
                name: await missing_samples(connection, name, key)
                for name, key in (
                    ("market", "venue, instrument"),
                    ("strategy", "strategy"),
                    ("execution", "strategy, venue"),
                )
            }
    assert wrong == dict.fromkeys(wrong, 0)
    warm = sizes[len(sizes) // 2]
    assert sizes[-1] - warm < GROWTH_BYTES
