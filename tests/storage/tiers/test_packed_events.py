"""Quotes and ticks that are packed, or in TimescaleDB's columnstore: readers find what they found before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, SystemClock, to_datetime
from decahertz.event import Arrival, Quote, Side, Tick
from decahertz.trading_days import Timeframe
from storage.database import DatabaseError
from storage.maintenance import backup
from storage.maintenance.archive.store import FolderStore
from storage.maintenance.imports import begin_import, source_of, undo_import, update_import
from storage.postgres.cluster import DATABASE
from storage.postgres.embedded import EmbeddedPostgres, Installation, database_url
from storage.query.bars import BarFilter
from storage.query.event_history import EventHistory
from storage.query.event_log import EventLog, Wanted
from storage.query.export import events_request
from storage.query.export_format import ExportFormat
from storage.query.queries import Queries
from storage.query.stored_events import QUOTES, TICKS
from storage.tiers.plain import packer
from storage.tiers.plain.packed_events import MOST_ROWS
from storage.write.known_events import KnownEvents
from tests.postgres_server import PostgresServer
from tests.storage.maintenance.test_archive import archive
from tests.storage.query.exports import exported
from tests.storage.tiers.test_packed import packing_process
from tests.storage_examples import BOOK, RECORDER, START_NS, arrival, opened_spool, store, until
from tests.tiered_database import TieredDatabase, tiered_at

HOUR_NS = 3600 * NS_PER_SECOND
DAY_NS = 24 * HOUR_NS
COUNT = 1500
"""Events of each instrument and type, over two and a half hours: some packed rows of several hours."""
_NUMBER = START_NS // 1000
_SUM = "SELECT count(*), md5(string_agg(q::text, ',' ORDER BY time_ns, source, epoch, sequence)) FROM {} AS q"


def market(seed: int, count: int = COUNT, source: str = "feed") -> list[Arrival]:
    """Quotes and ticks of two instruments, with nulls, gaps, and some of the same time."""
    chance, events = random.Random(seed), list[Quote | Tick]()
    time_ns = START_NS
    for number in range(count):
        time_ns += chance.choice([0, 999, 5 * NS_PER_SECOND, 7 * NS_PER_SECOND + 123_456_789])
        for instrument in ("EUR/USD", "GBP/USD"):
            price = 1 + chance.randrange(1000) / 10_000
            bid = None if chance.random() < 0.1 else price
            events.append(
                Quote(
                    time_ns=time_ns,
                    venue="sim",
                    instrument=instrument,
                    sequence=chance.choice([None, number]),
                    missed=chance.choice([0, 0, 3]),
                    bid=bid,
                    ask=price + 0.0001,
                    ask_size=chance.choice([None, 1e6]),
                )
            )
            events.append(
                Tick(
                    time_ns=time_ns,
                    venue="sim",
                    instrument=instrument,
                    price=price,
                    size=float(chance.randrange(1, 9)),
                    side=chance.choice([Side.BUY, Side.SELL, None]),
                    trade_id=chance.choice([None, f"{source}-{number}"]),
                )
            )
    return [
        Arrival(batch=one.batch, received_ns=events[first].time_ns + 5_000_000, number=_NUMBER + first)
        for first in range(0, len(events), 500)
        for one in [arrival(first + 1, events[first : first + 500], source)]
    ]


async def settle(tiered: TieredDatabase) -> None:
    """Lets half a day pass, in which old events are packed or compressed."""
    tiered.clock.advance(12 * HOUR_NS)
    await tiered.worker.run_once()
    if tiered.engine == "timescaledb":
        for table in ("quotes", "ticks"):
            await tiered.execute(f"SELECT compress_chunk(one, true) FROM show_chunks('{table}') AS one")  # noqa: S608 - ours


@pytest.fixture
async def recorded(tiered_database: TieredDatabase) -> TieredDatabase:
    """A database that was there a day before the first event: those were not imported."""
    await tiered_database.execute("UPDATE schema_migrations SET time = $1", to_datetime(START_NS - DAY_NS))
    return tiered_database


@pytest.fixture
def plain(recorded: TieredDatabase) -> TieredDatabase:
    if recorded.engine == "timescaledb":
        pytest.skip("it packs nothing")
    return recorded


async def sums(tiered: TieredDatabase) -> list[tuple[Any, ...]]:
    return [tuple(*await tiered.rows(_SUM.format(table))) for table in ("quotes", "ticks")]


async def stored(tiered: TieredDatabase, table: str) -> tuple[int, int]:
    """Number of recent and of packed events."""
    return (
        await tiered.value(f"SELECT count(*) FROM {table}_recent"),  # noqa: S608 - ours
        await tiered.value(f"SELECT coalesce(sum(_rows), 0)::int FROM {table}_packed"),  # noqa: S608 - ours
    )


async def read(tiered: TieredDatabase, folder: Path) -> list[Any]:
    """What readers find: SQL, lists, bars, statistics, exports, what a restart and a WebSocket read."""
    queries, found = Queries(tiered.database), list[Any](await sums(tiered))
    span = (START_NS + 700 * NS_PER_SECOND + 1, START_NS + 5000 * NS_PER_SECOND)
    for table, page in (("quotes", QUOTES), ("ticks", TICKS)):
        for bounds in ((None, None), span):
            which: dict[str, Any] = {"instrument": "EUR/USD", "venue": None, "recorder": None}
            which |= {"start_ns": bounds[0], "end_ns": bounds[1]}
            cursor: str | None = None
            while True:
                rows = await queries.market(
                    page, which, limit=400, cursor=cursor, now_ns=tiered.clock.time_ns()
                )
                found += [[row[name] for name in row.__struct_fields__] for row in rows.items]
                cursor = rows.next_cursor
                if cursor is None:
                    break
        for request in (
            events_request(table),
            events_request(table, [], {"instrument": ["GBP/USD"]}, *span),
        ):
            found.append(await exported(tiered.database, request, ExportFormat.CSV))
            assert await queries.exports.bounds(request) is not None
        between = f"SELECT * FROM {table}_between($1, $2) AS q WHERE instrument = 'EUR/USD'"  # noqa: S608 - ours
        question = _SUM.format(f"({between})")
        found.append(tuple(*await tiered.rows(question, *map(to_datetime, span))))
        slow = f"SELECT * FROM {table} WHERE time BETWEEN $1 AND $2 AND instrument = 'EUR/USD'"  # noqa: S608 - ours
        assert found[-1] == tuple(*await tiered.rows(_SUM.format(f"({slow})"), *map(to_datetime, span)))
    for width in (60 * NS_PER_SECOND, HOUR_NS):
        bars = BarFilter(instrument="EUR/USD", timeframe_ns=width)
        assert isinstance(bars.timeframe, Timeframe)
        found.append((await queries.bars(bars, limit=1000)).items)
    history = EventHistory(tiered.database, RECORDER)
    found.append([one async for one in history((Quote, Tick), START_NS + 4000 * NS_PER_SECOND)])
    async with opened_spool(folder) as spool:
        log = EventLog(tiered.database, RECORDER, spool)
        all_of_both: Wanted = {Quote: None, Tick: None}
        some: Wanted = {Tick: ["GBP/USD"]}
        for wanted in (all_of_both, some):
            pages = log.pages(wanted, _NUMBER + 999, _NUMBER + 5000)
            async with aclosing(pages):
                found.append([one async for rows, _ in pages for one in rows])
            assert found[-1]
    return found


async def test_readers_find_the_same_before_and_after(
    recorded: TieredDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiered = recorded
    monkeypatch.setattr(packer, "_MOST_AT_ONCE", 300)  # an hour is several transactions
    await store(tiered.database, *market(1), *market(2, 40, "other"))
    before = await read(tiered, tmp_path / "before")
    await settle(tiered)
    assert await read(tiered, tmp_path / "after") == before
    if tiered.engine == "plain":
        for table in ("quotes", "ticks"):
            assert await stored(tiered, table) == (0, 2 * COUNT + 2 * 40)
            assert await tiered.value(f"SELECT max(_rows) FROM {table}_packed") <= MOST_ROWS  # noqa: S608 - ours
        await tiered.prepare()  # a restart
        await tiered.worker.run_once()
        assert await read(tiered, tmp_path / "restarted") == before


async def test_late_events_are_there_at_once_and_a_repeated_print_is_none(plain: TieredDatabase) -> None:
    tiered, first, again = plain, market(3), market(3)
    await store(tiered.database, *first)
    await settle(tiered)
    before = await sums(tiered)
    prints = sum(isinstance(one, Tick) and one.trade_id is not None for a in first for one in a.batch.events)
    # From another emitter: its sequence numbers are new, the ids of the venue are not.
    (late,) = [replace(again[0], batch=replace(again[0].batch, source="late"))]
    known = [isinstance(one, Tick) and one.trade_id is not None for one in late.batch.events]
    assert 0 < sum(known) < prints
    (ack,) = await store(tiered.database, late)
    assert sum(ack.dropped.values()) == sum(known)
    added = len(known) - sum(known)
    counts = [count + extra for (count, _), extra in zip(before, await _late(tiered), strict=True)]
    assert sum(extra for extra in await _late(tiered)) == added
    assert [count for count, _ in await sums(tiered)] == counts
    after = await sums(tiered)
    await tiered.worker.run_once()
    assert await sums(tiered) == after
    assert await _late(tiered) == [0, 0], "they are many enough for packed rows of their own"
    (few,) = [replace(late, batch=replace(late.batch, source="few", events=late.batch.events[:8]))]
    await store(tiered.database, few)
    after = await sums(tiered)
    await tiered.worker.run_once()
    assert await sums(tiered) == after
    assert sum(await _late(tiered)) > 0, "a few stay where they are"


async def _late(tiered: TieredDatabase) -> list[int]:
    return [(await stored(tiered, table))[0] for table in ("quotes", "ticks")]


async def test_a_file_knows_what_is_packed_and_an_import_is_taken_back(recorded: TieredDatabase) -> None:
    tiered, events = recorded, market(4)
    await store(tiered.database, *events)
    await settle(tiered)
    before = await sums(tiered)
    seen = "SELECT first_ns, last_ns FROM instruments ORDER BY instrument"
    times = [tuple(row) for row in await tiered.rows(seen)]
    both = (Quote, Tick)
    of_file = [one for arrived in events for one in arrived.batch.events if isinstance(one, both)]
    async with tiered.database.query() as connection:
        number = await begin_import(connection, RECORDER, 7, "file", "ticks")
        assert all(await KnownEvents(source_of(number)).find(connection, of_file))
        imported = [
            replace(one, time_ns=one.time_ns - DAY_NS // 2, trade_id=f"i{place}")
            for place, one in enumerate(of_file)
            if isinstance(one, Tick)
        ]
        counts = dict.fromkeys(("lines", "stored", "already_there", "refused", "without_events"), 0)
        await update_import(connection, number, counts, [one.time_ns for one in imported])
    await store(tiered.database, arrival(1, imported, source_of(number)))
    await tiered.worker.run_once()
    assert (await sums(tiered))[1][0] == before[1][0] + len(imported)
    if tiered.engine == "plain":
        assert (await stored(tiered, "ticks"))[0] == len(imported), "rows of imports are not packed"
    assert await undo_import(tiered.database, number) == len(imported)
    assert await sums(tiered) == before
    assert [tuple(row) for row in await tiered.rows(seen)] == times


async def test_packing_changes_no_archived_day(plain: TieredDatabase, tmp_path: Path) -> None:
    tiered = plain
    await store(tiered.database, *market(5))

    async def archived(name: str) -> dict[str, int]:
        place = await asyncio.to_thread(FolderStore, tmp_path / name)
        results = await archive(tiered, place, until=to_datetime(START_NS + DAY_NS).date())
        return {name: len(one.written) for name, one in results.items() if one.written}

    def files(name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.parquet")}

    assert set(await archived("before")) == {"quotes", "ticks"}
    await settle(tiered)
    assert await _late(tiered) == [0, 0]
    assert await archived("before") == {}
    assert set(await archived("after")) == {"quotes", "ticks"}
    assert len(files("after")) == 2
    assert files("after") == files("before")


async def test_packed_events_go_with_their_day_and_are_counted(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered.database, *market(6))
    await settle(tiered)
    tiered.clock.advance(29 * DAY_NS)
    await tiered.worker.run_once()
    assert [count for count, _ in await sums(tiered)] == [2 * COUNT] * 2
    tiered.clock.advance(2 * DAY_NS)
    await tiered.worker.run_once()
    assert [count for count, _ in await sums(tiered)] == [0, 0]
    assert await tiered.value("SELECT count(*) FROM expired_rows") == 0

    await store(tiered.database, *(shifted(one, 40 * DAY_NS) for one in market(7)))
    tiered.clock.advance(40 * DAY_NS + START_NS - tiered.clock.time_ns())
    await settle(tiered)
    tiered.clock.advance(DAY_NS)
    tiered.database.settings = replace(tiered.database.settings, max_bytes=1)
    await tiered.prepare([BOOK])
    await tiered.worker.run_once()
    assert [count for count, _ in await sums(tiered)] == [0, 0]
    rows = await tiered.rows("SELECT stream, rows FROM expired_rows")
    assert [tuple(row) for row in rows] == [("events:feed", 4 * COUNT)]


def shifted(one: Arrival, by_ns: int) -> Arrival:
    """The same events later, from a later start of the emitter."""
    events = tuple(replace(event, time_ns=event.time_ns + by_ns) for event in one.batch.events)
    batch = replace(one.batch, events=events, epoch=one.batch.epoch + 1)
    return replace(one, batch=batch, received_ns=one.received_ns + by_ns, number=one.number + by_ns // 1000)


async def test_kill_9_in_the_middle_of_packing_loses_and_doubles_nothing(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered.database, *market(8))
    before = await sums(tiered)
    await tiered.worker.stop()
    # Each group waits when its rows are gone from one table and not in the other yet.
    await tiered.execute("""
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END';
        CREATE TRIGGER hold BEFORE INSERT ON quotes_packed FOR EACH ROW
            WHEN (NEW.instrument = 'GBP/USD') EXECUTE FUNCTION hold();
    """)
    waits = "wait_event = 'advisory' AND query LIKE '%moved%'"
    async with tiered.database.query() as blocker:
        await blocker.execute("SELECT pg_advisory_lock(7)")
        async with packing_process(tiered, 12) as other:
            await until(lambda: tiered.has_backend(waits))
            other.kill()
        assert await sums(tiered) == before, "a reader sees each row once meanwhile"
        await blocker.execute("SELECT pg_advisory_unlock(7)")
    await until(lambda: _nobody(tiered, waits))
    assert await sums(tiered) == before
    await tiered.execute("DROP TRIGGER hold ON quotes_packed")
    await tiered.prepare()
    await settle(tiered)
    assert await sums(tiered) == before
    assert await _late(tiered) == [0, 0]


async def _nobody(tiered: TieredDatabase, condition: str) -> bool:
    return not await tiered.has_backend(condition)


async def test_a_backend_that_dies_in_the_middle_changes_nothing(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered.database, *market(9, 200))
    before = await sums(tiered)
    tiered.clock.advance(12 * HOUR_NS)
    async with locked(tiered, "ticks_packed"):
        packing = asyncio.create_task(tiered.worker.run_once())
        await until(lambda: tiered.has_backend("wait_event_type = 'Lock'"))
        await tiered.end_waiting_backends()
        with pytest.raises(DatabaseError):
            await packing
    assert await sums(tiered) == before
    await tiered.worker.run_once()
    assert await sums(tiered) == before
    assert await _late(tiered) == [0, 0]


@asynccontextmanager
async def locked(tiered: TieredDatabase, table: str) -> AsyncIterator[None]:
    async with tiered.database.query() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


async def test_nothing_is_packed_where_that_is_switched_off(plain: TieredDatabase) -> None:
    tiered = plain
    tiered.settings = replace(tiered.settings, tiers=replace(tiered.settings.tiers, pack_after_hours=0.0))
    await tiered.prepare()
    await store(tiered.database, *market(10, 40))
    await settle(tiered)
    assert await _late(tiered) == [80, 80]


async def test_a_statement_reads_only_the_packed_rows_of_its_time(plain: TieredDatabase) -> None:
    tiered = plain
    for day in range(3):
        await store(
            tiered.database, *(shifted(one, day * DAY_NS) for one in market(11 + day, 200, f"f{day}"))
        )
    tiered.clock.advance(3 * DAY_NS)
    await tiered.worker.run_once()
    await tiered.execute("ANALYZE")
    low, high = (to_datetime(START_NS + DAY_NS + seconds * NS_PER_SECOND) for seconds in (60, 120))
    condition = f"venue = 'sim' AND instrument = 'EUR/USD' AND time >= '{low}' AND time <= '{high}'"
    question = f"SELECT bid FROM quotes_between('{low}', '{high}') AS q WHERE {condition}"  # noqa: S608 - ours
    plan = await tiered.rows(f"EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {question}")
    lines = [line for (line,) in plan if "_packed_" in line and "never executed" not in line]
    assert lines
    assert all("packed_p20231115" in line for line in lines), lines


async def test_a_database_from_before_packing_goes_on(postgres_server: PostgresServer) -> None:
    async with postgres_server.database() as url, tiered_at(url, "plain") as tiered:
        await tiered.prepare()
        first, *others = market(20)
        await store(tiered.database, first)
        for table in ("quotes", "ticks"):  # as the version before it created them
            await tiered.execute(f"""
                DROP VIEW {table} CASCADE; DROP TABLE {table}_packed;
                ALTER TABLE {table}_recent RENAME TO {table};
                ALTER TABLE {table}_recent_default RENAME TO {table}_default;
                DROP INDEX {table}_number;
                CREATE INDEX {table}_number ON {table} USING brin (event_number);
            """)
        await tiered.execute("UPDATE schema_migrations SET time = $1", to_datetime(START_NS - DAY_NS))
        await tiered.prepare()
        await store(tiered.database, *others)
        before = await sums(tiered)
        assert [count for count, _ in before] == [2 * COUNT] * 2
        await tiered.worker.run_once()
        await settle(tiered)
        assert await sums(tiered) == before
        assert await _late(tiered) == [0, 0]
        await tiered.prepare()  # the second start finds nothing to do
        assert await sums(tiered) == before
        indexed = "SELECT count(*) FROM pg_indexes WHERE tablename LIKE $1 AND indexdef LIKE $2"
        assert await tiered.value(indexed, "quotes_recent_p%", "%btree (event_number)") > 0


async def test_programs_insert_into_the_view(plain: TieredDatabase) -> None:
    await plain.execute(
        "INSERT INTO ticks (time, recorder, venue, instrument, missed, price, size, time_ns, received_ns,"
        " source, epoch, sequence) VALUES (now(), 'a', 'b', 'c', 0, 1, 1, $1, 1, 'mine', 1, 1)",
        SystemClock().time_ns(),
    )
    assert await stored(plain, "ticks") == (1, 0)


async def test_a_backup_has_what_is_packed(
    postgres_server: PostgresServer, installation: Installation, tmp_path: Path
) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    async with postgres_server.database() as url:
        async with tiered_at(url, "plain") as tiered:
            await tiered.prepare()
            await tiered.execute("UPDATE schema_migrations SET time = $1", to_datetime(START_NS - DAY_NS))
            await store(tiered.database, *market(21, 200))
            await settle(tiered)
            assert await _late(tiered) == [0, 0]
            before = await sums(tiered)
        await backup.make(url, installation, file, lambda _, __: None)
    async with EmbeddedPostgres(other, installation=installation):
        where = partial(database_url, other)
        await backup.restore(where, DATABASE, installation, file, lambda _, __: None, replace=True)
        async with tiered_at(where(DATABASE), "plain") as restored:
            assert await sums(restored) == before
            await restored.prepare()
            await store(restored.database, *market(22, 100, "more"))
            await settle(restored)
            assert [count for count, _ in await sums(restored)] == [600, 600]
            assert await _late(restored) == [0, 0]
