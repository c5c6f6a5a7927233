"""Backup and restore of a database that uses TimescaleDB: chunks, compression, aggregates and policies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from storage.maintenance import backup
from storage.maintenance.pg_archive import BackupError
from storage.postgres.cluster import DATABASE
from storage.postgres.embedded import EmbeddedPostgres, Installation, database_url
from tests.embedded_server import connected, has_timescale
from tests.tiered_database import NO_TIMESCALE, TIMESCALE_SETTINGS

pytestmark = pytest.mark.timescale
_SETTINGS = TIMESCALE_SETTINGS | {"timescaledb.max_background_workers": "16", "max_worker_processes": "24"}
_MAKE = """
CREATE EXTENSION timescaledb;
CREATE TABLE schema_migrations (number integer, name text);
INSERT INTO schema_migrations VALUES (1, 'events');
CREATE TABLE loads (time timestamptz NOT NULL, host text, load double precision)
    WITH (tsdb.hypertable, tsdb.partition_column = 'time', tsdb.segmentby = 'host');
INSERT INTO loads SELECT timestamptz '2026-01-01' + i * interval '1 minute', 'h' || i % 5, i
    FROM generate_series(1, 50000) AS i;
CREATE MATERIALIZED VIEW loads_1h WITH (timescaledb.continuous) AS
    SELECT time_bucket('1 hour', time) AS time, host, max(load) AS load FROM loads GROUP BY 1, 2
    WITH NO DATA;
CALL refresh_continuous_aggregate('loads_1h', NULL, NULL);
SELECT add_retention_policy('loads', interval '90 years');
SELECT compress_chunk(chunk) FROM show_chunks('loads', older_than => timestamptz '2026-01-20') AS chunk
""".split(";")  # noqa: SIM905 - as SQL is written
# Younger chunks than those are compressed by TimescaleDB's own policy sooner or later.
_QUESTIONS = """
SELECT * FROM loads ORDER BY time;
SELECT * FROM loads_1h ORDER BY time, host;
SELECT hypertable_name, range_start, range_end, is_compressed OR range_end > '2026-01-20' AS as_was
    FROM timescaledb_information.chunks WHERE hypertable_name = 'loads' ORDER BY 1, 2;
SELECT proc_name, hypertable_name, config FROM timescaledb_information.jobs
    WHERE hypertable_name IS NOT NULL ORDER BY 1, 2
""".split(";")  # noqa: SIM905 - as above


@pytest.fixture(scope="module")
def installation(installation: Installation) -> Installation:
    if not has_timescale(installation):
        pytest.skip(NO_TIMESCALE)
    return installation


@asynccontextmanager
async def server(folder: Path, installation: Installation) -> AsyncIterator[str]:
    async with EmbeddedPostgres(folder, installation=installation, settings=_SETTINGS) as running:
        yield running.url


async def answers(url: str) -> list[list[tuple[object, ...]]]:
    async with connected(url) as connection:
        return [[tuple(row) for row in await connection.fetch(question)] for question in _QUESTIONS]


def silent(what: str, share: float) -> None:
    assert 0 <= share <= 1, what


async def test_chunks_compression_aggregates_and_policies_come_back(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    async with server(tmp_path / "one", installation) as url:
        async with connected(url) as connection:
            for statement in _MAKE:
                await connection.execute(statement)
        there = await answers(url)
        assert all(there)
        await backup.make(url, installation, file, silent)
    other = tmp_path / "other"
    async with server(other, installation) as url:
        for again in (False, True):  # the second time over a database with workers of its own
            await backup.restore(
                partial(database_url, other), DATABASE, installation, file, silent, replace=again
            )
            assert await answers(url) == there
        async with connected(url) as connection:  # and it works on
            await connection.execute("INSERT INTO loads VALUES ('2026-03-01', 'h1', 1e9)")
            await connection.execute("CALL refresh_continuous_aggregate('loads_1h', NULL, NULL)")
            assert await connection.fetchval("SELECT max(load) FROM loads_1h") == 1e9


async def test_a_server_without_the_extension_refuses_such_a_backup_and_keeps_its_data(
    installation: Installation, tmp_path: Path
) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    async with server(tmp_path / "one", installation) as url:
        async with connected(url) as connection:
            for statement in _MAKE[:3]:
                await connection.execute(statement)
        await backup.make(url, installation, file, silent)
    async with EmbeddedPostgres(other, installation=installation) as plain:  # nothing is preloaded
        async with connected(plain.url) as connection:
            await connection.execute("CREATE TABLE precious AS SELECT 7 AS value")
        with pytest.raises(BackupError, match="TimescaleDB"):
            await backup.restore(
                partial(database_url, other), DATABASE, installation, file, silent, replace=True
            )
        async with connected(plain.url) as connection:
            assert await connection.fetchval("SELECT value FROM precious") == 7
