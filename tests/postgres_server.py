"""The PostgreSQL that all tests share."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True)
class PostgresServer:
    """The server that all tests share; each test has a database of its own on it."""

    url: str
    """Of a database that stays empty."""

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
