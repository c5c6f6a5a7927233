from __future__ import annotations

import asyncpg
import pytest
import pytest_asyncio

from decahertz.event import EVENT_TYPES, Event
from storage.schema.events import event_table_columns
from tests.embedded_server import connected
from tests.postgres_server import PostgresServer, create_tables

_COLUMNS = """
SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS sql_type,
    a.attnotnull AS required, coalesce(obj_description(c.oid), '') AS table_comment,
    coalesce(col_description(c.oid, a.attnum), '') AS comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def columns(postgres_server: PostgresServer) -> list[asyncpg.Record]:
    async with postgres_server.database(create_tables) as url, connected(url) as connection:
        return await connection.fetch(_COLUMNS)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_table_has_the_columns_of_its_event_type(
    columns: list[asyncpg.Record], event_type: type[Event]
) -> None:
    found = [
        (row["column"], row["sql_type"], row["required"])
        for row in columns
        if row["table"] == event_type.table
    ]
    # Migrations add columns at the end.
    declared = [(one.name, one.sql_type, one.required) for one in event_table_columns(event_type)]
    assert sorted(found) == sorted(declared)


def test_every_table_begins_with_a_time(columns: list[asyncpg.Record]) -> None:
    first = {row["table"]: row for row in reversed(columns)}
    assert len(first) > len(EVENT_TYPES)
    for row in first.values():
        assert (row["column"], row["sql_type"], row["required"]) == ("time", "timestamp with time zone", True)


def test_every_table_and_column_has_a_comment(columns: list[asyncpg.Record]) -> None:
    assert [(row["table"], row["column"]) for row in columns if not row["comment"]] == []
    assert {row["table"] for row in columns if not row["table_comment"]} == set()
