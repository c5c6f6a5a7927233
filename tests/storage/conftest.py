"""A migrated database, and samples and events to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from decahertz.settings import StorageSettings
from storage.database import Database
from storage.migrate import migrate


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with all migrations applied."""
    database = Database(database_url, StorageSettings(flush_seconds=0.01))
    await database.open()
    await migrate(database)
    yield database
    await database.close()
