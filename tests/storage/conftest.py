"""A migrated database for the tests of what stores and asks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from blockbuster import blockbuster_ctx

from decahertz.settings import StorageSettings
from storage.database import Database
from storage.migrate import migrate


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with all migrations applied; a call that blocks the event loop fails the test."""
    database = Database(database_url, StorageSettings(flush_seconds=0.01))
    with blockbuster_ctx("storage") as guard:
        # asyncpg looks for the files ~/.pgpass and ~/.postgresql before it connects.
        for function in guard.functions.values():
            function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"})
        await database.open()
        await migrate(database)
        yield database
        await database.close()
