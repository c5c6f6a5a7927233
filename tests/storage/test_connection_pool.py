from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest
import pytest_asyncio

from storage.connection_pool import ConnectionPool

if TYPE_CHECKING:
    from storage.connection_pool import Connection


class Pool:
    """A pool of two connections, and how many were opened."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened = 0
        self.pool = ConnectionPool(self.connect, 2, idle_seconds=0.05)

    async def connect(self) -> Connection:
        self.opened += 1
        return await asyncpg.connect(self.url)

    async def acquire(self, seconds: float = 5.0) -> Connection:
        return await self.pool.acquire(seconds)


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = Pool(database_url)
    yield pool
    await pool.pool.close(1.0)


async def test_a_connection_is_used_again_as_it_is(pool: Pool) -> None:
    first = await pool.acquire()
    await first.execute("SET application_name = 'mine'")
    pool.pool.release(first)
    second = await pool.acquire()
    assert second is first
    assert await second.fetchval("SHOW application_name") == "mine"
    assert pool.opened == 1


async def test_a_connection_within_a_transaction_is_given_up(pool: Pool) -> None:
    first = await pool.acquire()
    await first.execute("BEGIN")
    pool.pool.release(first)
    assert first.is_closed()
    assert await (await pool.acquire()).fetchval("SELECT 1") == 1


async def test_the_queue_is_served_in_order_also_where_connections_are_lost(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    held[0].terminate()
    pool.pool.release(held[0])
    lost = await waiting[0]
    assert lost is not held[0]
    pool.pool.release(held[1])
    assert await waiting[1] is held[1]
    assert not waiting[2].done()
    pool.pool.release(lost)
    assert await waiting[2] is lost
    assert pool.opened == 3


async def test_who_waits_too_long_or_leaves_takes_no_connection(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    with pytest.raises(TimeoutError):
        await pool.acquire(0.01)
    leaving, staying = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.pool.release(held[0])  # it is the turn of the first, which leaves before it runs
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await staying is held[0]


async def test_a_failed_connection_leaves_its_place_to_others(database_url: str) -> None:
    pool = Pool(database_url)
    pool.url = "postgresql://127.0.0.1:1/nowhere"
    for _ in range(3):
        with pytest.raises(OSError, match=r"refused|Connect"):
            await pool.acquire()
    pool.url = database_url
    assert await (await pool.acquire()).fetchval("SELECT 1") == 1
    await pool.pool.close(0.1)


async def test_unused_connections_are_closed(pool: Pool) -> None:
    connections = [await pool.acquire(), await pool.acquire()]
    closed: asyncio.Queue[object] = asyncio.Queue()
    for connection in connections:
        connection.add_termination_listener(closed.put_nowait)
        pool.pool.release(connection)
    async with asyncio.timeout(20):
        assert {await closed.get(), await closed.get()} == set(connections)
    assert await (await pool.acquire()).fetchval("SELECT 1") == 1
    assert pool.opened == 3


async def test_closing_waits_for_queries_but_not_for_ever(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.pool.close(0.05))
    with pytest.raises(asyncpg.InterfaceError, match="closing"):
        await waiting
    pool.pool.release(held[0])
    await closing
    assert all(connection.is_closed() for connection in held)
