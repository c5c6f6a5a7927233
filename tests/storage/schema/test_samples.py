from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import pytest

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample, SampleSchema, schema_of
from storage.database import Database
from storage.schema.tables import SchemaConflictError
from tests.storage_examples import BOOK, MACHINE
from tests.tables import ensure_tables


def declared(key: Sequence[str] = ("name",), **metrics: Any) -> SampleSchema:  # noqa: ANN401 - annotations
    annotations: dict[str, Any] = {
        "collector": ClassVar[str],
        "key": ClassVar[tuple[str, ...]],
        **dict.fromkeys(key, str),
        **metrics,
    }
    body = {"__annotations__": annotations, "collector": "thing", "key": tuple(key), "__module__": __name__}
    make: Any = type(Sample)  # a metaclass with parameters of its own
    return schema_of(make("Thing", (Sample,), body, frozen=True, kw_only=True))


@pytest.fixture
def tables_url(migrated_url: str) -> str:
    """Here the tests create the tables."""
    return migrated_url


GAUGE = Annotated[float | None, Metric("A gauge.", unit=Unit.SECONDS)]


async def columns(database: Database, table: str) -> dict[str, tuple[str, bool]]:
    async with database.query() as connection:
        rows = await connection.fetch(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_name = $1 ORDER BY ordinal_position",
            table,
        )
    return {row[0]: (row[1], row[2] == "YES") for row in rows}


async def test_a_table_has_the_instant_the_key_and_a_column_for_each_metric(database: Database) -> None:
    await ensure_tables(database, [BOOK, MACHINE])
    assert await columns(database, "book_samples") == {
        "time": ("timestamp with time zone", False),
        "recorder": ("text", False),
        "venue": ("text", False),
        "instrument": ("text", False),
        "mid": ("double precision", True),
        "gaps": ("bigint", True),
        "verdict": ("text", True),
        "crossed": ("boolean", True),
    }
    assert list(await columns(database, "machine_samples")) == ["time", "recorder", "load"]


async def test_columns_say_what_they_mean(database: Database) -> None:
    await ensure_tables(database, [declared(a=Annotated[float, Metric("It's 5\\6.", unit=Unit.SECONDS)])])
    await ensure_tables(database, [declared(a=Annotated[float, Metric("It's new.", unit=Unit.SECONDS)])])
    async with database.query() as connection:
        comment = await connection.fetchval("SELECT col_description('thing_samples'::regclass, 4)")
    assert comment == "It's new. Unit: seconds."


async def test_a_new_metric_is_a_new_column_and_keeps_the_rows(database: Database) -> None:
    await ensure_tables(database, [declared(a=GAUGE)])
    async with database.query() as connection:
        await connection.execute("INSERT INTO thing_samples VALUES (now(), 'desk', 'x', 1.5)")
    await ensure_tables(database, [declared(a=GAUGE, b=GAUGE)])
    async with database.query() as connection:
        rows = await connection.fetch("SELECT name, a, b FROM thing_samples")
    assert [tuple(row) for row in rows] == [("x", 1.5, None)]


async def test_the_column_of_a_metric_that_is_gone_stays(database: Database) -> None:
    await ensure_tables(database, [declared(a=GAUGE, b=GAUGE)])
    assert await ensure_tables(database, [declared(b=GAUGE)]) == []
    assert "a" in await columns(database, "thing_samples")


async def test_a_changed_type_is_refused_and_named(database: Database) -> None:
    await ensure_tables(database, [declared(a=GAUGE)])
    changed = declared(a=Annotated[int, Metric("A counter.", kind=Kind.COUNTER)])
    with pytest.raises(SchemaConflictError, match=r"thing_samples\.a is double precision, .* bigint"):
        await ensure_tables(database, [changed])


@pytest.mark.parametrize("key", [(), ("name", "place"), ("place",)])
async def test_a_changed_key_is_refused(database: Database, key: tuple[str, ...]) -> None:
    await ensure_tables(database, [declared(a=GAUGE)])
    with pytest.raises(SchemaConflictError, match="thing_samples has the key"):
        await ensure_tables(database, [declared(key, a=GAUGE)])


async def test_nothing_happens_where_all_is_as_it_should_be(database: Database) -> None:
    assert await ensure_tables(database, [BOOK, MACHINE]) != []
    assert await ensure_tables(database, [BOOK, MACHINE]) == []


async def test_processes_that_start_at_once_make_each_table_once(database: Database) -> None:
    made = await asyncio.gather(*(ensure_tables(database, [BOOK, MACHINE]) for _ in range(4)))
    assert sum(map(bool, made)) == 1


async def test_words_of_sql_can_name_metrics(database: Database) -> None:
    await ensure_tables(database, [declared(("order", "user"), limit=GAUGE, select=GAUGE)])
    names = list(await columns(database, "thing_samples"))
    assert names == ["time", "recorder", "order", "user", "limit", "select"]


async def test_the_longest_names_fit(database: Database) -> None:
    class Long(Sample, frozen=True, kw_only=True):
        collector: ClassVar[str] = "c" * 48
        key: ClassVar[tuple[str, ...]] = ("k" * 48,)
        __annotations__ = {"k" * 48: str, "m" * 48: GAUGE}

    await ensure_tables(database, [schema_of(Long)])
    assert await ensure_tables(database, [schema_of(Long)]) == []
    async with database.query() as connection:
        indexes = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename LIKE 'ccc%'")
    assert {row[0] for row in indexes} == {"c" * 48 + "_samples_time", "c" * 48 + "_samples_key"}
