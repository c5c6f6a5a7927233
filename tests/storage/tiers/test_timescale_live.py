"""TimescaleDB with its background jobs, and the worker beside them, as they run in earnest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.health import Health
from storage.settings import TiersSettings
from storage.tiers.worker import RollUpWorker
from tests.postgres_server import PostgresServer
from tests.storage_examples import BOOK, CYCLE_NS, MACHINE, until
from tests.tier_checks import Row, assert_tiers, row, store
from tests.tiered_database import TIMESCALE_SETTINGS, TieredDatabase, timescale_running

pytestmark = pytest.mark.timescale
_LIVE = TIMESCALE_SETTINGS | {"timescaledb.max_background_workers": "8", "max_worker_processes": "24"}
HOUR_NS = 3600 * NS_PER_SECOND
_ENDED = "SELECT last_run_status = $2 FROM timescaledb_information.job_stats WHERE job_id = $1"


@pytest.fixture
def engine() -> str:
    return "timescaledb"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def timescale_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[PostgresServer | None]:
    """A server whose jobs run by themselves."""
    async with timescale_running(tmp_path_factory.mktemp("live") / "data", _LIVE) as server:
        yield server


@pytest_asyncio.fixture
async def worker(tiered_database: TieredDatabase) -> AsyncIterator[RollUpWorker]:
    """At work with the defaults, by the real clock."""
    worker = RollUpWorker(
        tiered_database.database,
        SystemClock(),
        CollectorRegistry(),
        TiersSettings(engine="timescaledb"),
        tiered_database.settings.retention,
        [BOOK, MACHINE],
    )
    await worker.start()
    yield worker
    await worker.stop()


async def start_now(tiered: TieredDatabase, job: int) -> None:
    """Have a job run at once.

    The scheduler reads ``next_start`` when it wakes, which is when another job is due: up to a minute later.
    """
    await tiered.execute("SELECT alter_job($1, next_start => now())", job)
    await tiered.execute("SELECT _timescaledb_functions.restart_background_workers()")


async def are_right(tiered: TieredDatabase) -> bool:
    try:
        await assert_tiers(tiered)
    except AssertionError:
        return False
    return True


async def test_late_rows_are_soon_in_every_tier(
    tiered_database: TieredDatabase, worker: RollUpWorker
) -> None:
    tiered = tiered_database
    start_ns = SystemClock().time_ns() // HOUR_NS * HOUR_NS - 6 * HOUR_NS

    def rows(first: int, last: int, value: float) -> list[Row]:
        return [
            (start_ns + tick * CYCLE_NS, "EUR/USD", value, tick, "live", None) for tick in range(first, last)
        ]

    # From here on every bucket of the rows below counts as refreshed.
    stored = await tiered.materialized("book_samples_1h_g1")
    await store(tiered, rows(0, 100, 1.0) + rows(72_000, 72_100, 1.0))
    await until(lambda: _has_rows(tiered, stored, 2))
    # As a backlog comes in: the newest first, and in buckets that were refreshed.
    for first in (72_050, 36_000, 50):
        await store(tiered, rows(first, first + 100, 9.0 + first))
    await until(lambda: are_right(tiered))
    assert worker.status().health is Health.OK


async def _has_rows(tiered: TieredDatabase, table: str, count: int) -> bool:
    return bool(await tiered.value(f"SELECT count(*) >= {count} FROM {table}"))  # noqa: S608 - ours


async def test_a_refresh_by_somebody_else_is_waited_for(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick) for tick in range(100)])
    await tiered.worker.run_once()
    await store(tiered, [row(tick, mid=2.0) for tick in range(50)])
    held = await tiered.materialized("book_samples_1s_g1")
    async with tiered.database.query() as blocker, blocker.transaction():
        await blocker.execute(f"LOCK TABLE {held} IN EXCLUSIVE MODE")
        other = asyncio.create_task(
            tiered.execute("CALL refresh_continuous_aggregate('book_samples_1s_g1', NULL, NULL)")
        )
        await until(lambda: tiered.has_backend("wait_event_type = 'Lock'"))
        ours = asyncio.create_task(tiered.worker.run_once())
        # It was refused and has not given up, or (older versions of TimescaleDB) waits by itself.
        await until(
            lambda: tiered.has_backend(
                "application_name = 'decahertz tiers' AND query LIKE 'CALL refresh%1s_g1%'"
                " AND (state = 'idle' OR wait_event_type = 'Lock')",
            )
        )
        assert not ours.done()
    await other
    await ours
    await assert_tiers(tiered)


async def test_a_job_that_fails_is_told_until_it_succeeds_again(
    tiered_database: TieredDatabase, worker: RollUpWorker
) -> None:
    tiered = tiered_database
    await until(lambda: worker.status().health is Health.OK)
    await store(tiered, [row(0)])  # of years ago: retention would drop it
    chunk = await tiered.value("SELECT format('%s', c) FROM show_chunks('book_samples') AS c")
    await tiered.execute(f"CREATE VIEW in_use AS SELECT * FROM {chunk}")  # noqa: S608 - a chunk's name
    job = await tiered.value(
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_retention' AND hypertable_name = 'book_samples'"
    )
    await start_now(tiered, job)
    await until(lambda: tiered.value(_ENDED, job, "Failed"))
    await worker.run_once()
    status = worker.status()
    assert status.health is Health.DEGRADED
    assert "policy_retention of book_samples failed: cannot drop table" in status.detail
    await tiered.execute("DROP VIEW in_use")
    await start_now(tiered, job)
    await until(lambda: tiered.value(_ENDED, job, "Success"))
    await worker.run_once()
    assert worker.status().health is Health.OK
    assert await tiered.value("SELECT count(*) FROM book_samples") == 0


async def test_a_job_that_found_somebody_else_at_its_work_did_not_fail(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await store(tiered, [row(0)])
    held = await tiered.materialized("book_samples_1s_g1")
    job = await tiered.value(
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = 'book_samples_1s_g1'"
        " AND proc_name = 'policy_refresh_continuous_aggregate'"
    )
    async with tiered.database.query() as blocker, blocker.transaction():
        await blocker.execute(f"LOCK TABLE {held} IN EXCLUSIVE MODE")
        other = asyncio.create_task(
            tiered.execute("CALL refresh_continuous_aggregate('book_samples_1s_g1', NULL, NULL)")
        )
        await until(lambda: tiered.has_backend("wait_event_type = 'Lock'"))
        await start_now(tiered, job)
        await until(lambda: tiered.value(_ENDED, job, "Failed"))
        await tiered.execute("SELECT alter_job($1, scheduled => false)", job)
    await other
    await tiered.worker.run_once()
    assert not tiered.worker.problem
