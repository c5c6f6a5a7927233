"""The PostgreSQL that all tests of a process share."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from storage.database import Database
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.storage_examples import BOOK, MACHINE
from tests.tables import ensure_tables


@dataclass
class PostgresServer:
    """The server that all tests share; each test has a database of its own on it."""

    url: str
    """Of a database that stays empty."""
    _templates: dict[bool, str] = field(default_factory=dict, init=False)

    def url_of(self, database: str) -> str:
        """The URL of another database of the server."""
        head, _, tail = self.url.partition("?")
        return f"{head.rpartition('/')[0]}/{database}?{tail}"

    async def execute(self, statement: str) -> None:
        """Run a statement outside every test's database."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self, *, migrated: bool = False, tables: bool = False) -> AsyncIterator[str]:
        """The URL of a new database: empty, or a copy of one with all migrations applied.

        ``tables``: also with the tables of bulk events and of the samples of books and machine.
        """
        template = await self._template(tables=tables) if migrated or tables else "template1"
        name = f"test_{uuid.uuid4().hex}"
        # Copying files costs less than half of what the default, writing them to the log, does.
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield self.url_of(name)
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _template(self, *, tables: bool) -> str:
        if tables not in self._templates:
            name = f"template_{uuid.uuid4().hex}"
            await self.execute(f"CREATE DATABASE {name}")
            database = Database(self.url_of(name), StorageSettings())
            await database.open()
            await migrate(database)
            if tables:
                await ensure_tables(database, [BOOK, MACHINE])
            await database.close()
            # Else a background worker of TimescaleDB may be connected while it is copied.
            await self.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            self._templates[tables] = name
        return self._templates[tables]
