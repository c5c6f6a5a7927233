"""Migrated databases for the tests of what stores and asks: without tiers, and with them on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from storage.database import Database
from storage.schema.migrate import migrate
from tests.postgres_server import PostgresServer
from tests.storage_examples import Bench, writing
from tests.tiered_database import (
    NO_TIMESCALE,
    TIMESCALE_SETTINGS,
    TieredDatabase,
    opened,
    tiered_at,
    timescale_running,
)


@pytest_asyncio.fixture
async def database(tables_url: str) -> AsyncIterator[Database]:
    """An open database with the tables of books and machine; what blocks the event loop fails the test."""
    async with opened(tables_url) as database:
        yield database


@pytest_asyncio.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    """A running spool and writer."""
    async with writing(database) as bench:
        yield bench


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def timescale_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer | None]:
    """A server with TimescaleDB, where DECAHERTZ_TEST_POSTGRES names one; else ``None``."""
    data_dir = tmp_path_factory.mktemp("timescale") / "data"
    async with timescale_running(data_dir, TIMESCALE_SETTINGS) as server:
        yield server


@pytest.fixture(params=["plain", pytest.param("timescaledb", marks=pytest.mark.timescale)])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of the tiers: PostgreSQL alone, or TimescaleDB."""
    name: str = request.param
    return name


@pytest.fixture
def engine_server(
    engine: str, postgres_server: PostgresServer, timescale_server: PostgresServer | None
) -> PostgresServer:
    """A server that has the engine."""
    server = postgres_server if engine == "plain" else timescale_server
    return server or pytest.skip(NO_TIMESCALE)


@pytest_asyncio.fixture
async def untiered_database(engine: str, engine_server: PostgresServer) -> AsyncIterator[TieredDatabase]:
    """A migrated database on each engine, before anything of it is prepared."""
    async with engine_server.database(migrate) as url, tiered_at(url, engine) as tiered:
        yield tiered


@pytest_asyncio.fixture
async def tiered_database(engine: str, engine_server: PostgresServer) -> AsyncIterator[TieredDatabase]:
    """A database with the tiers of books and machine, on each engine."""
    # Only plain tiers are copied: jobs of TimescaleDB would stay connected to what they are copied from.
    prepared = _prepare_plain if engine == "plain" else migrate
    async with engine_server.database(prepared) as url, tiered_at(url, engine) as tiered:
        await tiered.prepare()
        yield tiered


async def _prepare_plain(database: Database) -> None:
    await migrate(database)
    tiered = TieredDatabase(database, "plain")
    await tiered.prepare()
    await tiered.close()
