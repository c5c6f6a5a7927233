"""A running API for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.alertmanager.silences import Silences
from api.live.limits import HubLimits
from api.settings import ApiSettings
from tests.api.checked import Caller
from tests.api.helpers import Stack, storing
from tests.postgres_server import PostgresServer


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
    async with storing(
        postgres_server, tmp_path, silences=silences, limits=limits, settings=api_settings
    ) as running:
        yield running


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
