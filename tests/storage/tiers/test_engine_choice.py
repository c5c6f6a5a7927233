"""A TimescaleDB that may not be used: left to ourselves we do without, told to use it we say why not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio
from msgspec.structs import replace

from storage.database import DatabaseUnsuitableError
from tests.postgres_server import PostgresServer
from tests.storage_examples import BOOK, MACHINE
from tests.tier_checks import assert_tiers, row, store
from tests.tiered_database import (
    NO_TIMESCALE,
    TIMESCALE_SETTINGS,
    TieredDatabase,
    tiered_at,
    timescale_running,
)

pytestmark = pytest.mark.timescale
# As an administrator gives it out: everything in the schema is allowed, nothing else.
_TAKE_RIGHTS = """
DO $$ BEGIN
    BEGIN CREATE ROLE powerless; EXCEPTION WHEN duplicate_object THEN NULL; END;
    GRANT ALL ON SCHEMA public TO powerless;
    EXECUTE format('ALTER DATABASE %I SET role = powerless', current_database());
END $$
"""


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
    data_dir = tmp_path_factory.mktemp("unusable") / "data"
    async with timescale_running(data_dir, obstacle.settings) as running:
        yield running or pytest.skip(NO_TIMESCALE)


@pytest_asyncio.fixture
async def tiered(obstacle: Obstacle, server: PostgresServer) -> AsyncIterator[TieredDatabase]:
    """A migrated database of the server, left to choose."""
    async with server.database() as url:
        if obstacle.is_powerless:
            await PostgresServer(url).execute(_TAKE_RIGHTS)
        async with tiered_at(url, "auto") as tiered:
            yield tiered


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
