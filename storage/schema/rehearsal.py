"""Finds what a start will meet in the schema: its statements run and are rolled back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from decahertz.event import EVENT_TYPES
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseError, first_line
from storage.schema.connection import lock_schema, schema_connection
from storage.schema.events import PACKED_EVENTS
from storage.schema.migrate import Migration, apply, shipped_migrations
from storage.schema.samples import recent_of, table_of
from storage.schema.tables import pending_statements

if TYPE_CHECKING:
    from storage.database import AnyConnection

_CREATED = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_PARTITIONED = """
SELECT coalesce(bool_or(relkind = 'p'), true) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1::text[]) AND relkind IN ('r', 'p')
"""
_RIGHTS = """
SELECT c.relname, pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE'), ARRAY(
    SELECT name FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS name
    WHERE NOT has_table_privilege(c.oid, name)
)
FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    AND c.relname = ANY($1::text[])
ORDER BY c.relname
"""


async def rehearse(database: Database, schemas: Sequence[SampleSchema]) -> None:
    """Raises :class:`~storage.database.DatabaseError` for the first problem that a start would meet."""
    migrations = await asyncio.to_thread(shipped_migrations)
    try:
        async with schema_connection(database, "check") as connection:
            await lock_schema(connection)
            transaction = connection.transaction()
            await transaction.start()
            try:
                await apply(database, connection, migrations)
                await _update_tables(connection, schemas)
            finally:
                await transaction.rollback()
            await _check_rights(connection, migrations, schemas)
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"cannot set up {database.name}: {first_line(error)}") from error


async def _update_tables(connection: AnyConnection, schemas: Sequence[SampleSchema]) -> None:
    bulk = [event_type.table for event_type in EVENT_TYPES if event_type.bulk]
    partitioned = await connection.fetchval(_PARTITIONED, bulk)
    for statement in await pending_statements(connection, schemas, partitioned=partitioned):
        await connection.execute(statement)


async def _check_rights(
    connection: AnyConnection, migrations: Sequence[Migration], schemas: Sequence[SampleSchema]
) -> None:
    tables = {name for migration in migrations for name in _CREATED.findall(migration.sql)}
    tables |= {event_type.table for event_type in EVENT_TYPES} | set(map(table_of, schemas))
    tables |= {recent_of(table_of(schema)) for schema in schemas}
    tables |= {recent_of(event_type.table) for event_type in PACKED_EVENTS}
    for table, owner, is_owner, missing in await connection.fetch(_RIGHTS, sorted(tables)):
        if not is_owner:
            raise DatabaseError(f"table {table} belongs to the role {owner}: use that role")
        if missing:
            raise DatabaseError(f"this role lacks the right to {', '.join(missing)} on the table {table}")
