"""The status of the database agrees with its content, on both engines."""

from __future__ import annotations

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.maintenance.status import DatabaseStatus, EmitterStatus, TableStatus, database_status
from storage.maintenance.tier_status import TierStatus
from tests.storage_examples import CYCLE_NS, RECORDER, START_NS
from tests.tiered_database import TieredDatabase

_ROWS = 2_000
_LAST_NS = START_NS + (_ROWS - 1) * CYCLE_NS


async def store(tiered: TieredDatabase) -> None:
    records = [
        (to_datetime(START_NS + tick * CYCLE_NS), RECORDER, "sim", "EUR/USD", tick / 2, tick, "live", None)
        for tick in range(_ROWS)
    ]
    columns = ("time", "recorder", "venue", "instrument", "mid", "gaps", "verdict", "crossed")
    async with tiered.database.query() as connection:
        await connection.copy_records_to_table(tiered.stored("book"), records=records, columns=columns)
        # Rows that the session has not reported yet would count twice.
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("ANALYZE")


async def asked(tiered: TieredDatabase) -> DatabaseStatus:
    return await database_status(tiered.database, tiered.clock.time_ns())


def table(status: DatabaseStatus, name: str) -> TableStatus:
    (found,) = [table for table in status.tables if table.name == name]
    return found


def tier(status: DatabaseStatus, relation: str) -> TierStatus:
    (found,) = [tier for tier in status.tiers if tier.relation == relation]
    return found


async def test_tables_have_their_rows_their_sizes_and_their_parts(tiered_database: TieredDatabase) -> None:
    await store(tiered_database)
    status = await asked(tiered_database)
    samples = table(status, tiered_database.stored("book"))
    assert samples.rows == _ROWS
    assert samples.partitions >= 1
    assert samples.bytes > _ROWS * 40
    assert status.bytes > samples.bytes
    assert (status.timescaledb is not None) == (tiered_database.engine == "timescaledb")
    (times,) = status.samples
    assert (times.table, times.oldest_ns, times.newest_ns) == ("book_samples", START_NS, _LAST_NS)
    assert times.age_seconds == (tiered_database.clock.time_ns() - _LAST_NS) / NS_PER_SECOND


async def test_recorders_are_listed_with_their_leases(tiered_database: TieredDatabase) -> None:
    await tiered_database.execute(
        "INSERT INTO recorders (time, recorder, holder, host, process_id, held_since, expires_at, session)"
        " SELECT now(), recorder, gen_random_uuid(), recorder || '.example', 7, now() - held, now() + rest,"
        " gen_random_uuid()"
        " FROM (VALUES ('paris', interval '1 hour', interval '9 s'),"
        " ('tokyo', interval '0', interval '-1 minute')) AS leases (recorder, held, rest)"
    )
    paris, tokyo = (await asked(tiered_database)).recorders
    assert (paris.recorder, paris.host, paris.process_id) == ("paris", "paris.example", 7)
    assert paris.held_seconds >= 3600
    assert 0 < paris.expires_seconds <= 9
    assert (tokyo.recorder, tokyo.expires_seconds <= -60) == ("tokyo", True)


async def test_a_tier_is_behind_until_it_is_rolled_up(tiered_database: TieredDatabase) -> None:
    await store(tiered_database)
    before = await asked(tiered_database)
    if tiered_database.engine == "plain":
        assert tier(before, "book_samples_1s").dirty_buckets == _ROWS // 10
    assert tier(before, "book_samples_1s").lag_seconds >= (_LAST_NS - START_NS) / NS_PER_SECOND
    early = await database_status(tiered_database.database, _LAST_NS)
    assert tier(early, "book_samples_1h").lag_seconds == 0  # its bucket is not over
    assert tier(early, "book_samples_1m").lag_seconds > 0
    assert await tiered_database.worker.run_once()
    await tiered_database.execute("ANALYZE")
    after = await asked(tiered_database)
    assert {found.relation for found in after.tiers} == {
        f"{name}_samples_{width}"
        for name in ("book", "machine")
        for width in ("1s", "1m", "1h")
        if name == "book" or tiered_database.engine == "plain"
    }
    assert tier(after, "book_samples_1s").lag_seconds <= 1
    assert tier(after, "book_samples_1m").lag_seconds <= 60
    ending = "rolled" if tiered_database.engine == "plain" else "g1"
    seconds = table(after, f"book_samples_1s_{ending}")  # the table behind the tier
    assert seconds.rows == _ROWS // 10
    assert seconds.bytes > _ROWS
    assert seconds.partitions >= 1


async def test_compression_and_policies_are_shown_where_there_are_any(
    tiered_database: TieredDatabase,
) -> None:
    await store(tiered_database)
    if tiered_database.engine == "plain":
        status = await asked(tiered_database)
        assert status.policies == []
        assert table(status, "book_samples_recent").compression_ratio is None
        return
    before = table(await asked(tiered_database), "book_samples")
    assert (before.compressed_partitions, before.compression_ratio) == (0, None)
    await tiered_database.execute("SELECT compress_chunk(chunk) FROM show_chunks('book_samples') AS chunk")
    await tiered_database.execute("ANALYZE")
    status = await asked(tiered_database)
    after = table(status, "book_samples")
    assert after.compressed_partitions == after.partitions
    assert after.compression_ratio is not None
    assert after.compression_ratio > 1
    assert after.bytes < before.bytes
    assert after.rows == _ROWS
    kinds = {(policy.relation, policy.name) for policy in status.policies}
    assert ("book_samples", "retention") in kinds
    assert any(relation.startswith("book_samples_1s") for relation, _ in kinds)


async def test_emitters_show_their_gaps_and_losses(tiered_database: TieredDatabase) -> None:
    await tiered_database.execute(
        "INSERT INTO emitters (source, epoch, sequences)"
        " VALUES ('whole', 2, '{[1,101)}'), ('holes', 1, '{[3,5),[10,21)}')"
    )
    await tiered_database.execute(
        "INSERT INTO emitter_drops (source, epoch, reason, events) VALUES ('holes', 1, 'ring_full', 7)"
    )
    assert (await asked(tiered_database)).emitters == [
        EmitterStatus(
            source="whole", epoch=2, stored=100, highest_sequence=100, gaps=0, missing=0, dropped={}
        ),
        EmitterStatus(
            source="holes",
            epoch=1,
            stored=13,
            highest_sequence=20,
            gaps=2,
            missing=7,
            dropped={"ring_full": 7},
        ),
    ]
