from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from storage.database import Database
from storage.settings import StorageSettings
from tests.proxy import PostgresProxy

SETTINGS = StorageSettings(flush_seconds=0.01, connect_timeout_seconds=5.0)


@pytest_asyncio.fixture
async def proxied(tables_url: str) -> AsyncIterator[tuple[PostgresProxy, Database]]:
    """A migrated database behind a proxy."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        proxy = PostgresProxy(tables_url, Path(folder))
        await proxy.start()
        database = Database(proxy.url, SETTINGS)
        await database.open()
        yield proxy, database
        await database.close()
        await proxy.stop()
