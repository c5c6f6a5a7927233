"""A running API for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from api.alertmanager.silences import Silences
from api.live.limits import HubLimits
from api.settings import ApiSettings
from decahertz.bus import LocalBus
from decahertz.clock import SystemClock
from storage.settings import SpoolSettings
from storage.spool import Spool
from storage.write.lease import RecorderLease
from storage.write.writer import Writer
from tests.api.checked import Caller
from tests.api.helpers import DESK, PROBE, Stack, StoringSink, create_api_tables, open_database
from tests.postgres_server import PostgresServer
from tests.storage_examples import HOLDER, RECORDER


@pytest.fixture
def silences() -> Silences | None:
    """No Alertmanager; a test of silences has one."""
    return None


@pytest.fixture
def limits() -> HubLimits:
    """The default limits; a test of resuming has others."""
    return HubLimits()


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Stack]:
    """Real parts, without a database."""
    async with Stack().running() as running:
        yield running


@pytest.fixture
def api_settings() -> ApiSettings:
    """Keys are optional; a test of keys requires them."""
    return ApiSettings(port=0)


@pytest_asyncio.fixture
async def stored(
    postgres_server: PostgresServer,
    tmp_path: Path,
    silences: Silences | None,
    limits: HubLimits,
    api_settings: ApiSettings,
) -> AsyncIterator[Stack]:
    """The same with a database, and the writer that fills it."""
    bus, registry = LocalBus(), CollectorRegistry()
    clock, schemas = SystemClock(), (PROBE, DESK)
    async with postgres_server.database(create_api_tables) as url, open_database(url) as database:
        spool = Spool(tmp_path / "spool", bus, clock, registry, SpoolSettings(commit_seconds=0.01), schemas)
        await spool.start()
        lease = RecorderLease(database, RECORDER, HOLDER)
        await lease.take()
        writer = Writer(database, spool, lease, clock, registry, schemas)
        await writer.start()
        sink = StoringSink(spool, writer)
        try:
            stack = Stack(
                bus=bus,
                registry=registry,
                sink=sink,
                database=database,
                silences=silences,
                limits=limits,
                settings=api_settings,
            )
            writer.on_stored = stack.api.cache.changed
            async with stack.running() as running:
                yield running
        finally:
            await writer.stop()
            await spool.stop()
            await lease.stop()


@pytest_asyncio.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    """Asks the API without a database; every answer is checked against the OpenAPI document."""
    async with Caller(stack.api.url) as asking:
        yield asking


@pytest_asyncio.fixture
async def stored_caller(stored: Stack) -> AsyncIterator[Caller]:
    """Asks the API with a database; every answer is checked against the OpenAPI document."""
    async with Caller(stored.api.url) as asking:
        yield asking
