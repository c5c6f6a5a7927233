"""When the disk of the database is full, from the sizes of the last days and the free space."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from decahertz.clock import SystemClock, to_datetime
from decahertz.health import Health
from storage.database import Database
from storage.maintenance.disk import DAY_SECONDS, forecast
from storage.maintenance.disk_watch import DiskWatch

HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    ("max_bytes", "pace", "free", "full", "reason"),
    [
        (0, 10.0, 1000, 100.0, ""),
        (2000, 10.0, 1000, 100.0, ""),  # the disk is smaller than the limit
        (1999, 10.0, 1000, None, "storage.max_bytes is reached before the disk is full"),
        (0, -1.0, 1000, None, "the database does not grow"),
        (0, None, 1000, None, "the growth is known after an hour"),
        (0, 10.0, None, None, "the database is on another machine"),
    ],
)
def test_a_time_or_the_reason_why_there_is_none(
    max_bytes: int, pace: float | None, free: int | None, full: float | None, reason: str
) -> None:
    found = forecast(1000, max_bytes, pace, free, "the database is on another machine")
    assert (found.full_seconds, found.reason) == (full, reason)


async def test_the_growth_of_the_last_hours_says_when_the_disk_is_full(database: Database) -> None:
    clock, registry = SystemClock(), CollectorRegistry()
    watch = DiskWatch(database, "desk", clock, registry)
    first = await watch.read()
    assert first.reason == "the growth is known after an hour"
    assert first.free_bytes is not None
    async with database.query() as connection:
        folder = await connection.fetchval("SHOW data_directory")
        # A hundredth of the disk a day, and an older reading that does not count any more.
        hourly = first.free_bytes // 2400
        now_ns = clock.time_ns()
        await connection.execute("DELETE FROM database_sizes")
        await connection.executemany(
            "INSERT INTO database_sizes VALUES ($1, $2)",
            [(to_datetime(now_ns - h * HOUR_NS), first.bytes - h * hourly) for h in (1, 2, 3, 6)]
            + [(to_datetime(now_ns - 80 * HOUR_NS), first.bytes * 1000)],
        )
    found = await watch.read()
    assert found.free_bytes == pytest.approx(shutil.disk_usage(Path(folder)).free, rel=0.1)
    assert found.full_seconds is not None
    assert found.full_seconds == pytest.approx(100 * DAY_SECONDS, rel=0.2)
    assert watch.status().health is Health.OK
    assert registry.get_sample_value("decahertz_database_disk_full_seconds") == found.full_seconds
    assert registry.get_sample_value("decahertz_database_bytes") == found.bytes

    async with database.query() as connection:
        assert await connection.fetchval("SELECT count(*) FROM database_sizes") == 5  # the oldest is gone
        await connection.execute(
            "UPDATE database_sizes SET bytes = $1::int8 - $2::int8 * extract(hour FROM now() - time)::int8",
            first.bytes,
            60 * hourly,
        )
    await watch.read()
    assert watch.status().health is Health.DEGRADED
    assert watch.status().detail.startswith("the disk of the database is full in 1.")
