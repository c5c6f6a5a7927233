"""The PostgreSQL that all tests of a process share."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg

from storage.database import Database
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.storage_examples import BOOK, MACHINE
from tests.tables import ensure_tables

Preparation: TypeAlias = Callable[[Database], Awaitable[object]]


async def create_tables(database: Database) -> None:
    """Applies all migrations; creates the tables of bulk events and of the samples of books and machine."""
    await migrate(database)
    await ensure_tables(database, [BOOK, MACHINE])


@dataclass
class PostgresServer:
    """The server that all tests share; each test has a database of its own on it."""

    url: str
    """Of a database that stays empty."""
    _templates: dict[Preparation, str] = field(default_factory=dict, init=False)

    def url_of(self, database: str) -> str:
        """The URL of another database of the server."""
        head, _, tail = self.url.partition("?")
        return f"{head.rpartition('/')[0]}/{database}?{tail}"

    async def execute(self, statement: str) -> None:
        """Runs a statement outside every test's database."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self, prepare: Preparation | None = None) -> AsyncIterator[str]:
        """The URL of a new database: empty, or a copy of one that was prepared once."""
        template = "template1" if prepare is None else await self._template(prepare)
        name = f"test_{uuid.uuid4().hex}"
        # Copying files costs less than half of what the default, writing them to the log, does.
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield self.url_of(name)
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _template(self, prepare: Preparation) -> str:
        if prepare not in self._templates:
            name = f"template_{uuid.uuid4().hex}"
            await self.execute(f"CREATE DATABASE {name}")
            database = Database(self.url_of(name), StorageSettings())
            await database.open()
            await prepare(database)
            await database.close()
            # Else a background worker of TimescaleDB may be connected while it is copied.
            await self.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            self._templates[prepare] = name
        return self._templates[prepare]
