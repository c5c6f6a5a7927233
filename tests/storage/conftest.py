"""Migrated databases for the tests of what stores and asks: without tiers, and with them on both engines."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx

from storage.database import Database
from storage.postgres.embedded import EmbeddedPostgres, find_installation
from storage.settings import StorageSettings
from tests.postgres_server import PostgresServer
from tests.storage_examples import Bench, writing
from tests.tiered_database import TIMESCALE_SETTINGS, TieredDatabase


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, StorageSettings(flush_seconds=0.01))
    with blockbuster_ctx("storage") as guard:
        # asyncpg looks for the files ~/.pgpass and ~/.postgresql before it connects.
        for function in guard.functions.values():
            function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"})
        await database.open()
        try:
            yield database
        finally:
            await database.close()


@pytest_asyncio.fixture
async def database(tables_url: str) -> AsyncIterator[Database]:
    """An open database with the tables of books and machine; what blocks the event loop fails the test."""
    async with _opened(tables_url) as database:
        yield database


@pytest_asyncio.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    """A running spool and writer."""
    async with writing(database) as bench:
        yield bench


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def timescale_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer | None]:
    """A server with TimescaleDB, where DECAHERTZ_TEST_POSTGRES names one; else ``None``."""
    prefix = os.environ.get("DECAHERTZ_TEST_POSTGRES", "")
    installation = find_installation(Path(prefix) if prefix else None)
    if not any(installation.prefix.glob("share/**/timescaledb.control")):
        yield None
        return
    data_dir = tmp_path_factory.mktemp("timescale") / "data"
    async with EmbeddedPostgres(data_dir, installation=installation, settings=TIMESCALE_SETTINGS) as server:
        yield PostgresServer(server.url)


@pytest.fixture(params=["plain", pytest.param("timescaledb", marks=pytest.mark.timescale)])
def engine(request: pytest.FixtureRequest) -> str:
    """What keeps the tiers: PostgreSQL alone, or TimescaleDB."""
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def engine_url(
    engine: str, postgres_server: PostgresServer, timescale_server: PostgresServer | None
) -> AsyncIterator[str]:
    """A migrated database for one test, on a server that has the engine."""
    server = postgres_server if engine == "plain" else timescale_server
    if server is None:
        pytest.skip("this PostgreSQL has no TimescaleDB (name one that has with DECAHERTZ_TEST_POSTGRES)")
    async with server.database(migrated=True) as url:
        yield url


@pytest_asyncio.fixture
async def untiered_database(engine: str, engine_url: str) -> AsyncIterator[TieredDatabase]:
    """A migrated database on each engine, before anything of it is prepared."""
    async with _opened(engine_url) as database:
        tiered = TieredDatabase(database, engine)
        yield tiered
        await tiered.close()


@pytest_asyncio.fixture
async def tiered_database(untiered_database: TieredDatabase) -> TieredDatabase:
    """A database with the tiers of books and machine, on each engine."""
    await untiered_database.prepare()
    return untiered_database
