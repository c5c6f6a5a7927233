"""Tables for tests that need neither partitions nor tiers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from decahertz.sample import SampleSchema
from storage.database import Database
from storage.schema.connection import lock_schema
from storage.schema.tables import update_tables
from storage.tiers.administration import AdminSession

if TYPE_CHECKING:
    from storage.database import AnyConnection


async def ensure_tables(database: Database, schemas: Iterable[SampleSchema]) -> list[str]:
    """Creates or changes the tables of these samples and of bulk events; returns the statements."""
    session, declared = AdminSession(database, "tables"), list(schemas)

    async def update(connection: AnyConnection) -> list[str]:
        await lock_schema(connection)
        return await update_tables(connection, declared, partitioned=False)

    try:
        return await session.run(update)
    finally:
        await session.close()
