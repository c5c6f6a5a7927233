"""A TimescaleDB that may not be used: left to ourselves we do without, told to use it we say why not."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from storage.database import Database, DatabaseUnsuitableError
from storage.postgres.embedded import EmbeddedPostgres, find_installation
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.postgres_server import PostgresServer
from tests.storage_examples import BOOK, MACHINE
from tests.tier_checks import assert_tiers, row, store
from tests.tiered_database import TIMESCALE_SETTINGS, TieredDatabase

pytestmark = pytest.mark.timescale
_PRELOAD = "shared_preload_libraries"


@dataclass(frozen=True)
class Obstacle:
    """Why the extension cannot be used."""

    name: str
    settings: Mapping[str, str]
    reason: str
    is_powerless: bool = False
    """Whether our role may not create extensions."""


OBSTACLES = (
    Obstacle(
        "no right",
        TIMESCALE_SETTINGS,
        'permission denied to create extension "timescaledb"',
        is_powerless=True,
    ),
    Obstacle(
        "apache edition",
        TIMESCALE_SETTINGS | {"timescaledb.license": "apache"},
        "its edition has neither compression nor continuous aggregates",
    ),
    Obstacle(
        "not preloaded",
        {"fsync": "off", "full_page_writes": "off"},
        'extension "timescaledb" must be preloaded',
    ),
)


@pytest.fixture(scope="module", params=OBSTACLES, ids=lambda obstacle: obstacle.name)
def obstacle(request: pytest.FixtureRequest) -> Obstacle:
    found: Obstacle = request.param
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(
    obstacle: Obstacle, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PostgresServer]:
    prefix = os.environ.get("DECAHERTZ_TEST_POSTGRES", "")
    installation = find_installation(Path(prefix) if prefix else None)
    if not any(installation.prefix.glob("share/**/timescaledb.control")):
        pytest.skip("this PostgreSQL has no TimescaleDB (name one that has with DECAHERTZ_TEST_POSTGRES)")
    data_dir = tmp_path_factory.mktemp("unusable") / "data"
    async with EmbeddedPostgres(data_dir, installation=installation, settings=obstacle.settings) as running:
        yield PostgresServer(running.url)


@pytest_asyncio.fixture
async def tiered(obstacle: Obstacle, server: PostgresServer) -> AsyncIterator[TieredDatabase]:
    """A migrated database of the server, left to choose."""
    name = f"test_{uuid.uuid4().hex}"
    await server.execute(f"CREATE DATABASE {name}")
    if obstacle.is_powerless:
        # As an administrator gives it out: everything in the schema is allowed, nothing else.
        await server.execute(
            "DO $$ BEGIN CREATE ROLE powerless; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        own = PostgresServer(server.url_of(name))
        await own.execute("GRANT ALL ON SCHEMA public TO powerless")
        await server.execute(f"ALTER DATABASE {name} SET role = 'powerless'")
    database = Database(server.url_of(name), StorageSettings(flush_seconds=0.01))
    await database.open()
    await migrate(database)
    tiered = TieredDatabase(database, "auto")
    yield tiered
    await tiered.close()
    await database.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_left_to_itself_it_does_without_says_why_and_works(
    tiered: TieredDatabase, obstacle: Obstacle, capsys: pytest.CaptureFixture[str]
) -> None:
    await tiered.prepare()
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "timescaledb_rejected" in line]
    assert obstacle.reason in said
    assert tiered.worker.engine == "plain"
    await store(tiered, [row(tick, mid=float(tick)) for tick in range(0, 3000, 7)])
    await tiered.worker.run_once()
    await assert_tiers(tiered)
    await store(tiered, [row(5, mid=-1.0)])
    await tiered.worker.run_once()
    await assert_tiers(tiered)
    assert not tiered.worker.problem


async def test_told_to_use_it_it_refuses_to_start_and_changes_nothing(
    tiered: TieredDatabase, obstacle: Obstacle
) -> None:
    tiered.settings = replace(tiered.settings, tiers=replace(tiered.settings.tiers, engine="timescaledb"))
    with pytest.raises(DatabaseUnsuitableError) as refused:
        await tiered.prepare([BOOK, MACHINE])
    message = str(refused.value)
    assert "cannot use TimescaleDB: " in message
    assert obstacle.reason in message
    assert "\n" not in message
    assert await tiered.rows("SELECT FROM pg_class WHERE relname IN ('book_samples', 'quotes')") == []
