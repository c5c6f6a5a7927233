from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from decahertz.clock import from_datetime
from decahertz.event import Order, OrderState, Side
from decahertz.health import Health
from storage.database import Database, DatabaseUnavailableError
from storage.query.event_history import EventHistory, newest_sample_ns
from storage.settings import StorageSettings
from storage.write.lease import HolderFile, LeaseLostError, LeaseTakenError, RecorderLease
from tests.proxy import PostgresProxy
from tests.storage.write.conftest import SETTINGS
from tests.storage_examples import (
    BOOK,
    CYCLE_NS,
    HOLDER,
    RECORDER,
    START_NS,
    arrival,
    book,
    books,
    fill,
    quotes,
    until,
    writing,
)


@pytest_asyncio.fixture
async def leases(database: Database) -> AsyncIterator[list[RecorderLease]]:
    """Leases of the same name for three data folders."""
    made = [RecorderLease(database, RECORDER, uuid.uuid4()) for _ in range(3)]
    yield made
    for lease in made:
        await lease.stop()


async def expire(database: Database) -> None:
    async with database.query() as connection:
        await connection.execute("UPDATE recorders SET expires_at = now() - interval '1 s'")


async def row(database: Database) -> asyncpg.Record:
    async with database.query() as connection:
        (found,) = await connection.fetch("SELECT * FROM recorders")
    return found


async def test_a_held_name_is_refused_with_its_holder_and_free_when_released(
    leases: list[RecorderLease],
) -> None:
    await leases[0].start()
    with pytest.raises(
        LeaseTakenError, match=r"recorder 'desk' is already running on host .+ \(process \d+\); "
    ):
        await leases[1].start()
    await leases[0].stop()
    await leases[1].take()


async def test_a_data_folder_takes_its_own_lease_back_at_once(database: Database, tmp_path: Path) -> None:
    taken = []
    for _ in range(2):  # the first one releases nothing, as after kill -9
        file = await asyncio.to_thread(HolderFile, tmp_path / "holder")
        taken.append(RecorderLease(database, RECORDER, file.holder))
        await taken[-1].take()
        file.close()
    assert (await row(database))["holder"] == file.holder
    for lease in taken:
        await lease.stop()


def test_a_damaged_holder_file_is_replaced_and_locks_others_out(tmp_path: Path) -> None:
    (tmp_path / "holder").write_text("1234")
    file = HolderFile(tmp_path / "holder")
    with pytest.raises(LeaseTakenError, match="another process records into"):
        HolderFile(tmp_path / "holder")
    file.close()
    assert (tmp_path / "holder").read_text().split() == [str(file.holder), str(os.getpid())]


async def test_one_of_many_gets_a_free_name(database: Database) -> None:
    found = [RecorderLease(database, RECORDER, uuid.uuid4()) for _ in range(8)]
    answers = await asyncio.gather(*(lease.take() for lease in found), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    assert all(answer is None or isinstance(answer, LeaseTakenError) for answer in answers)
    await asyncio.gather(*(lease.stop() for lease in found))


async def test_a_standby_takes_over_when_the_lease_expires(
    database: Database, leases: list[RecorderLease]
) -> None:
    await leases[0].take()  # and never renews it
    standby = RecorderLease(database, RECORDER, uuid.uuid4(), standby=True)
    waiting = asyncio.create_task(standby.start())
    await asyncio.sleep(1.0)
    assert not waiting.done()
    await expire(database)
    async with asyncio.timeout(20):
        await waiting
    assert (await row(database))["holder"] == standby.holder
    await standby.stop()


async def test_a_holder_renews_and_learns_that_it_lost(
    database: Database, leases: list[RecorderLease], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.write.lease.RENEW_SECONDS", 0.05)
    await leases[0].start()
    first = (await row(database))["expires_at"]

    async def is_renewed() -> bool:
        return bool((await row(database))["expires_at"] > first)

    await until(is_renewed)
    assert leases[0].status().health is Health.OK
    async with database.query() as connection:
        await connection.execute("UPDATE recorders SET session = $1", uuid.uuid4())
    async with asyncio.timeout(20):
        assert "another process has taken over" in str(await leases[0].lost())
    assert leases[0].status().health is Health.FAILED


async def test_an_expired_lease_that_nobody_took_still_writes(database: Database) -> None:
    async with writing(database) as bench:
        await expire(database)
        await bench.append(quotes(1, 3), 10)
        assert await bench.value("SELECT count(*) FROM quotes") == 3


async def test_a_writer_whose_name_was_taken_over_stores_nothing_and_keeps_its_spool(
    database: Database, leases: list[RecorderLease], tmp_path: Path
) -> None:
    async with writing(database, tmp_path) as bench:
        await bench.append(quotes(1, 3), 10)
        await expire(database)
        await leases[0].take()
        await bench.spool.append(quotes(4, 6), 10)
        async with asyncio.timeout(20):
            assert isinstance(await bench.lease.lost(), LeaseLostError)
        await until(lambda: bench.writer.status().health is Health.FAILED)
        assert await bench.value("SELECT count(*) FROM quotes") == 3
        assert bench.account("events:loop") == (6, 3, 3, {})


async def test_of_two_processes_with_copies_of_one_data_folder_only_the_newer_one_writes(
    database: Database, tmp_path: Path
) -> None:
    async with writing(database, tmp_path) as older:
        await older.append(quotes(1, 3), 10)
        newer = RecorderLease(database, RECORDER, older.lease.holder)
        await newer.take()
        await older.spool.append(quotes(4, 6), 10)
        async with asyncio.timeout(20):
            assert isinstance(await older.lease.lost(), LeaseLostError)
        assert await older.value("SELECT count(*) FROM quotes") == 3
        await newer.stop()


class LosingLease(RecorderLease):
    """The answer to the first commit of the writer is lost."""

    def __init__(self, database: Database, proxy: PostgresProxy) -> None:
        super().__init__(database, RECORDER, HOLDER)
        self._proxy = proxy

    async def take(self) -> None:
        await super().take()
        self._proxy.lose_answers = 1


async def test_samples_of_a_recorder_that_was_cut_off_fill_gaps_and_double_nothing(
    proxied: tuple[PostgresProxy, Database], tables_url: str, tmp_path: Path
) -> None:
    """One is cut off from the database and goes on sampling; another one stands in, and is killed."""
    proxy, cut_off_database = proxied
    database = Database(tables_url, SETTINGS)
    await database.open()
    rare = book("rare")
    async with writing(cut_off_database, tmp_path) as cut_off:
        cut_off.sample(books(1))
        await cut_off.append(quotes(1, 1))
        await proxy.cut()
        for tick in range(2, 10):
            cut_off.sample(books(tick, book(gaps=1), rare) if tick == 5 else books(tick, book(gaps=1)))
        await cut_off.spool.append(quotes(2, 2), 10)
        await expire(database)
        other = RecorderLease(database, RECORDER, uuid.uuid4())  # which nothing releases, as after kill -9
        async with writing(database, lease=other) as stand_in:
            for tick in (4, 5, 7):
                stand_in.sample(books(tick, book(gaps=2)))
            await stand_in.drained()
        proxy.is_cut = False
        async with asyncio.timeout(20):
            await cut_off.lease.lost()
    await expire(database)
    with capture_logs() as logs:
        async with writing(
            cut_off_database, tmp_path, lease=LosingLease(cut_off_database, proxy)
        ) as restarted:
            restarted.sample(books(10, book(gaps=3)))
            await restarted.drained()
            assert proxy.lost == 1
            assert restarted.account("samples:book") == (11, 8, 0, {"superseded": 3})
            assert restarted.account("events:loop") == (2, 2, 0, {})
            found = await restarted.rows("SELECT instrument, time, gaps FROM book_samples ORDER BY 1, 2")
    await database.close()
    assert [log["event"] for log in logs].count("samples_superseded") == 1
    assert [(row[0], from_datetime(row[1]) - START_NS, row[2]) for row in found] == [
        *(("EUR/USD", tick * CYCLE_NS, 2 if tick in {4, 5, 7} else 1) for tick in range(1, 10)),
        ("EUR/USD", 10 * CYCLE_NS, 3),
        ("rare", 5 * CYCLE_NS, 0),
    ]


async def test_a_take_over_ends_a_transaction_that_stands_still(
    database: Database, leases: list[RecorderLease]
) -> None:
    await leases[0].take()
    await expire(database)
    paused = await database.connect("test")
    transaction = paused.transaction()
    await transaction.start()
    await paused.execute("SELECT FROM recorders WHERE recorder = $1 FOR KEY SHARE", RECORDER)
    async with asyncio.timeout(20):
        await leases[1].take()
    with pytest.raises(DatabaseUnavailableError), database.errors():
        await transaction.commit()
    await database.disconnect(paused)


async def test_a_renewal_does_not_wait_for_a_transaction_of_the_writer(
    database: Database, leases: list[RecorderLease]
) -> None:
    await leases[0].take()
    async with database.query() as connection, connection.transaction():
        await connection.execute("SELECT FROM recorders WHERE recorder = $1 FOR KEY SHARE", RECORDER)
        async with asyncio.timeout(20):
            assert await leases[0]._extend(10.0)


async def test_a_start_without_a_database_fails(unused_tcp_port: int) -> None:
    database = Database(f"postgresql://me@127.0.0.1:{unused_tcp_port}/db", StorageSettings())
    with pytest.raises(DatabaseUnavailableError):
        await RecorderLease(database, RECORDER, uuid.uuid4(), standby=True).start()


async def test_two_recorders_fill_one_database_side_by_side(database: Database) -> None:
    def order(state: OrderState, number: int) -> Order:
        return Order(
            time_ns=START_NS + number,
            strategy="trend",
            venue="sim",
            instrument="EUR/USD",
            order_id="o1",
            state=state,
            side=Side.BUY,
            quantity=1.0,
        )

    other = RecorderLease(database, "other", uuid.uuid4())
    async with writing(database) as one, writing(database, lease=other) as two:
        for bench, source, state, price in (
            (one, "a", OrderState.FILLED, 11.0),
            (two, "b", OrderState.CANCELLED, 15.0),
        ):
            bench.sample(books(1))
            facts: list[Any] = [
                order(state, 1),
                fill(1, Side.BUY, 1.0, 10.0),
                fill(2, Side.SELL, 1.0, price),
                fill(3, Side.BUY, 2.0, price),
            ]
            await asyncio.gather(bench.append(arrival(1, facts, source), 10))
        await two.append(arrival(1, [order(OrderState.FILLED, 1)], "a"), 10)
        assert two.account("events:a") == (1, 0, 0, {"duplicate": 1})
        by_recorder = {
            table: [
                tuple(found)
                for found in await one.rows(f"SELECT recorder, {what} FROM {table} ORDER BY recorder")  # noqa: S608 - the test's own
            ]
            for table, what in (
                ("trades", "pnl"),
                ("orders", "state"),
                ("open_round_trips", "position"),
                ("book_samples", "gaps"),
            )
        }
        histories = {
            name: [event async for event, _, _ in EventHistory(database, name)((Order,), 0)]
            for name in (RECORDER, "other", "third")
        }
    assert by_recorder == {
        "trades": [(RECORDER, 1.0), ("other", 5.0)],
        "orders": [(RECORDER, "filled"), ("other", "filled")],  # by its fill
        "open_round_trips": [(RECORDER, 2.0), ("other", 2.0)],
        "book_samples": [(RECORDER, 1), ("other", 1)],
    }
    assert [len(found) for found in histories.values()] == [1, 1, 0]
    newest = [
        await newest_sample_ns(database, [BOOK], name, START_NS) for name in (RECORDER, "other", "third")
    ]
    assert newest == [START_NS + CYCLE_NS, START_NS + CYCLE_NS, None]
