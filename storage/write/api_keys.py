"""The table ``api_keys``: creates, lists and revokes keys of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.clock import to_datetime
from storage.write.audit import add_entry

if TYPE_CHECKING:
    from decahertz.audit import AuditEntry
    from storage.database import Database

_INSERT = """
INSERT INTO api_keys (time, id, name, scopes, hash, created_ns, expires_ns)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_SELECT = "SELECT id, name, scopes, hash, created_ns, expires_ns, last_used_ns, revoked_ns FROM api_keys"
_REVOKE = "UPDATE api_keys SET revoked_ns = $2 WHERE id = $1 AND revoked_ns IS NULL"
_USED = "UPDATE api_keys SET last_used_ns = greatest(last_used_ns, $2) WHERE id = $1"


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key as it is stored: without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created_ns: int
    expires_ns: int | None = None
    last_used_ns: int | None = None
    revoked_ns: int | None = None

    def is_valid(self, now_ns: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_ns is None and (self.expires_ns is None or now_ns < self.expires_ns)

    def __repr__(self) -> str:
        """Without the hash."""
        return f"ApiKey({self.id!r}, name={self.name!r}, scopes={self.scopes!r})"


class ApiKeyStore:
    """Keys in the database. Every method can raise :class:`~storage.database.DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, audit: AuditEntry | None = None) -> None:
        """Stores a new key, and the entry of the audit log."""
        async with self._database.query() as connection, connection.transaction():
            await connection.execute(
                _INSERT,
                to_datetime(key.created_ns),
                key.id,
                key.name,
                list(key.scopes),
                key.hash,
                key.created_ns,
                key.expires_ns,
            )
            if audit is not None:
                await add_entry(connection, audit)

    async def all(self) -> list[ApiKey]:
        """Every key, the oldest first; also those that are revoked or expired."""
        async with self._database.query() as connection:
            rows = await connection.fetch(f"{_SELECT} ORDER BY created_ns, id")
        return [ApiKey(**dict(row) | {"scopes": tuple(row["scopes"])}) for row in rows]

    async def count_valid(self, now_ns: int) -> int:
        """How many keys are neither revoked nor expired; 0 in a database that was never prepared."""
        async with self._database.query() as connection:
            if await connection.fetchval("SELECT to_regclass('api_keys') IS NULL"):
                return 0
        return sum(key.is_valid(now_ns) for key in await self.all())

    async def revoke(self, key_id: str, now_ns: int, audit: AuditEntry | None = None) -> bool:
        """Revokes a key and adds the entry of the audit log; returns whether it was not revoked before."""
        async with self._database.query() as connection, connection.transaction():
            revoked = await connection.execute(_REVOKE, key_id, now_ns) == "UPDATE 1"
            if revoked and audit is not None:
                await add_entry(connection, audit)
        return revoked

    async def mark_used(self, used: Mapping[str, int]) -> None:
        """Stores when keys were last used: nanoseconds by id."""
        async with self._database.query() as connection:
            await connection.executemany(_USED, list(used.items()))
