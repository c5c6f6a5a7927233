"""A database with tiers, on either engine, for the tests of what rolls up and what asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from blockbuster import blockbuster_ctx
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from decahertz.app.settings import Settings
from decahertz.clock import NS_PER_SECOND
from decahertz.fakes import ManualClock
from decahertz.sample import SampleSchema
from storage.database import Database
from storage.postgres.embedded import EmbeddedPostgres
from storage.schema.migrate import Migration, migrate
from storage.schema.samples import recent_of
from storage.settings import StorageSettings
from storage.tiers.worker import RollUpWorker
from tests.embedded_server import chosen_installation, has_timescale
from tests.postgres_server import PostgresServer
from tests.storage_examples import BOOK, MACHINE, START_NS

TIMESCALE_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "0",  # jobs run when a test says so
    "fsync": "off",
    "full_page_writes": "off",
}
NO_TIMESCALE = "this PostgreSQL has no TimescaleDB (name one that has with DECAHERTZ_TEST_POSTGRES)"


@asynccontextmanager
async def timescale_running(
    data_dir: Path, settings: Mapping[str, str]
) -> AsyncIterator[PostgresServer | None]:
    """A server where DECAHERTZ_TEST_POSTGRES names one with TimescaleDB; else ``None``."""
    installation = chosen_installation()
    if not has_timescale(installation):
        yield None
        return
    async with EmbeddedPostgres(data_dir, installation=installation, settings=settings) as server:
        yield PostgresServer(server.url)


class TieredDatabase:
    """A database with the tiers of some samples. Its clock stands still, a quarter past the first sample."""

    def __init__(self, database: Database, engine: str, **changes: Any) -> None:  # noqa: ANN401 - settings
        self.database = database
        self.engine = engine
        """``plain`` or ``timescaledb``."""
        self.clock = ManualClock(START_NS + 900 * NS_PER_SECOND)
        settings = Settings(storage=database.settings)
        self.settings = replace(
            settings, tiers=replace(settings.tiers, engine=engine, interval_seconds=0.05), **changes
        )
        self.worker = self.new_worker([])

    def new_worker(self, schemas: Sequence[SampleSchema]) -> RollUpWorker:
        return RollUpWorker(
            self.database,
            self.clock,
            CollectorRegistry(),
            self.settings.tiers,
            self.settings.retention,
            schemas,
            archived_only=self.settings.archive.required,
        )

    async def prepare(self, schemas: Sequence[SampleSchema] = (BOOK, MACHINE)) -> None:
        """Prepares tables and tiers, as a start does."""
        await self.worker.stop()
        self.worker = self.new_worker(schemas)
        await self.worker.prepare()

    async def run_jobs(self, procedure: str) -> None:
        """Runs the jobs of TimescaleDB with that name, as its scheduler would; without, nothing."""
        if self.engine == "plain":
            return
        jobs = await self.rows(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = $1 ORDER BY job_id", procedure
        )
        for (job,) in jobs:
            await self.execute(f"CALL run_job({job})")

    async def materialized(self, view: str) -> str:
        """The table that a continuous aggregate of TimescaleDB is stored in, quoted."""
        name: str = await self.value(
            "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
            " FROM timescaledb_information.continuous_aggregates WHERE view_name = $1",
            view,
        )
        return name

    async def execute(self, statement: str, *values: object) -> None:
        async with self.database.query() as connection:
            await connection.execute(statement, *values)

    async def rows(self, question: str, *values: object) -> list[asyncpg.Record]:
        async with self.database.query() as connection:
            return await connection.fetch(question, *values)

    async def value(self, question: str, *values: object) -> Any:  # noqa: ANN401 - of any type
        async with self.database.query() as connection:
            return await connection.fetchval(question, *values)

    async def has_backend(self, condition: str) -> bool:
        """Whether a backend of this database fulfils an SQL condition over ``pg_stat_activity``."""
        question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
        return bool(await self.value(question + condition))

    async def end_waiting_backends(self) -> None:
        """Ends the backends of this database that wait for a lock."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

    def stored(self, collector: str) -> str:
        """The table that samples of a collector are written into."""
        table = f"{collector}_samples"
        return recent_of(table) if self.engine == "plain" else table

    async def close(self) -> None:
        with suppress(Exception):
            await self.worker.stop()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """An open database; a call that blocks the event loop meanwhile fails the test."""
    database = Database(url, StorageSettings(flush_seconds=0.01, read_timeout_seconds=60.0))
    with blockbuster_ctx("storage") as guard:
        # asyncpg looks for the files ~/.pgpass and ~/.postgresql before it connects.
        for function in guard.functions.values():
            function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"})
        await database.open()
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def tiered_at(
    url: str, engine: str, migrations: Sequence[Migration] | None = None
) -> AsyncIterator[TieredDatabase]:
    """A migrated database, before anything of its tiers is prepared."""
    async with opened(url) as database:
        await migrate(database, migrations)
        tiered = TieredDatabase(database, engine)
        yield tiered
        await tiered.close()
