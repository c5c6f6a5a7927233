"""Exports, as the API streams them."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from structlog.testing import capture_logs

from api.routes.export import ExportQuery
from decahertz.clock import CYCLE_NS
from decahertz.event import EVENT_BY_TABLE
from storage.database import Database
from storage.settings import StorageSettings
from tests.api.checked import Caller
from tests.api.helpers import (
    LIMIT_SECONDS,
    START_NS,
    Stack,
    create_api_tables,
    open_database,
    quote,
)
from tests.postgres_server import PostgresServer
from tests.proxy import PostgresProxy
from tests.storage_examples import RECORDER, until

MANY = 400_000


@pytest.fixture
async def asked(stored: Stack, stored_caller: Caller) -> Caller:
    """The API of a database with a few samples and an event."""
    for number in range(10):
        stored.publish_cycle(number, ["A", "B,C"])
    await stored.emit(quote("A", 1.25))
    await stored.all_stored(20)
    return stored_caller


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A database with many samples, which tests only read."""
    async with postgres_server.database(create_api_tables) as url:
        async with open_database(url) as database, database.session("test") as connection:
            await connection.execute(
                "INSERT INTO probe_samples (time, recorder, venue, instrument, mid, ticks)"
                " SELECT to_timestamp($1::bigint / 1e9) + n * interval '100 ms', 'desk', 'SIM', 'A', n, n"
                " FROM generate_series(1, $2::bigint) AS n",
                START_NS,
                MANY,
            )
        yield url


@pytest_asyncio.fixture
async def large(large_url: str) -> AsyncIterator[Stack]:
    """The API of the database with many samples."""
    async with open_database(large_url) as database, Stack(database=database).running() as running:
        yield running


EXPORTS = "FROM pg_stat_activity WHERE application_name = 'decahertz export' AND datname = current_database()"


async def wait_for_exports(database: Database, count: int) -> None:
    async def so_many_run() -> bool:
        async with database.query() as connection:
            return bool(await connection.fetchval(f"SELECT count(*) {EXPORTS}") == count)

    await until(so_many_run)


@pytest.mark.parametrize("table", EVENT_BY_TABLE)
def test_every_table_of_events_can_be_exported(table: str) -> None:
    assert msgspec.convert({"table": table}, ExportQuery).table == table


async def test_samples_are_exported_as_csv(asked: Caller) -> None:
    answer = await asked.get(f"export?collector=probe&fields=ticks&start={START_NS + 8 * CYCLE_NS}")
    assert answer.headers["Content-Type"] == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="probe.csv"'
    assert list(csv.reader(io.StringIO(answer.raw.decode()))) == [
        ["time_ns", "recorder", "venue", "instrument", "ticks"],
        *(
            [str(START_NS + number * CYCLE_NS), RECORDER, "SIM", name, str(number)]
            for number in (8, 9)
            for name in ("A", "B,C")
        ),
    ]


async def test_events_are_exported_as_parquet(asked: Caller) -> None:
    answer = await asked.get("export?table=quotes&format=parquet&instrument=A&fields=bid,ask")
    assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
    table = pyarrow.parquet.read_table(io.BytesIO(answer.raw))
    assert table.to_pylist() == [{"time_ns": START_NS, "recorder": RECORDER, "bid": 1.25, "ask": 2.25}]


async def test_filters_narrow_an_export(asked: Caller) -> None:
    answer = await asked.get("export?collector=probe&instrument=B,C&fields=mid")
    assert answer.raw.count(b"B,C") == 10
    assert answer.raw.count(b"SIM") == 10
    nothing = await asked.get("export?table=quotes&source=nobody")
    assert nothing.raw.count(b"\n") == 1


async def test_a_head_has_no_body(asked: Caller) -> None:
    answer = await asked.ask("HEAD", "export?collector=probe")
    assert (answer.status, answer.raw) == (200, b"")


async def test_without_pyarrow_parquet_is_not_installed(
    asked: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await asked.get("export?collector=probe&format=parquet")
    assert (answer.status, answer.problem("not-installed")["status"]) == (501, 501)
    assert (await asked.get("export?collector=probe")).status == 200


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_without_a_database_the_answer_is_to_try_again(caller: Caller, form: str) -> None:
    answer = await caller.get(f"export?collector=probe&format={form}")
    assert (answer.status, answer.problem("database-unavailable")["status"]) == (503, 503)


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_frozen_database_is_told_after_the_time_of_a_read(
    database_url: str, tmp_path: Path, form: str
) -> None:
    settings = StorageSettings(read_timeout_seconds=0.5, connect_timeout_seconds=60)
    async with PostgresProxy(database_url, tmp_path).running() as proxy:
        database = Database(proxy.url, settings)
        await database.open()
        async with Stack(database=database).running() as running, Caller(running.api.url) as caller:
            proxy.delay_seconds = 60.0
            async with asyncio.timeout(10):
                answer = await caller.get(f"export?collector=probe&format={form}")
            assert (answer.status, answer.problem("database-unavailable")["status"]) == (503, 503)
        await database.close()


async def test_a_large_export_is_whole(large: Stack) -> None:
    async with ClientSession(large.api.url) as session:
        async with session.get("/api/v1/export?collector=probe&fields=ticks") as response:
            lines = (await response.text()).splitlines()
        async with session.get("/api/v1/export?collector=probe&fields=ticks&format=parquet") as response:
            table = pyarrow.parquet.read_table(io.BytesIO(await response.read()))
    assert [line.rpartition(",")[2] for line in lines] == ["ticks", *map(str, range(1, MANY + 1))]
    assert table.column("ticks").to_pylist() == list(range(1, MANY + 1))


@asynccontextmanager
async def reading_nothing(stack: Stack, path: str, version: str = "1.1") -> AsyncIterator[socket.socket]:
    """A client that has asked and reads nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", stack.api.port))
    head = f"GET /api/v1/{path} HTTP/{version}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(raw, head.encode())
    with raw:
        yield raw


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_client_that_goes_away_stops_the_query(large: Stack, form: str) -> None:
    async with reading_nothing(large, f"export?collector=probe&format={form}"):
        await wait_for_exports(large.database, 1)
    await wait_for_exports(large.database, 0)


async def test_a_client_that_goes_away_is_no_error(large: Stack) -> None:
    with capture_logs() as logs:
        async with reading_nothing(large, "export?collector=probe"):
            await until(lambda: is_held_up(large.database))
        await wait_for_exports(large.database, 0)
    assert {entry["log_level"] for entry in logs} <= {"debug"}


async def test_a_client_that_goes_away_before_the_first_row_stops_the_query(large: Stack) -> None:
    async with large.database.query() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE probe_samples")
        async with reading_nothing(large, "export?collector=probe"):
            await wait_for_exports(large.database, 1)
        await wait_for_exports(large.database, 0)


async def test_a_client_that_reads_slowly_gets_everything_and_slows_the_query(large: Stack) -> None:
    async with reading_nothing(large, "export?collector=probe&fields=ticks") as raw:
        await until(lambda: is_held_up(large.database))
        loop = asyncio.get_running_loop()
        size, tail = 0, b""
        async with asyncio.timeout(LIMIT_SECONDS * 2):
            while piece := await loop.sock_recv(raw, 2**20):
                size += len(piece)
                tail = (tail + piece)[-64:]
    assert tail.endswith(f",{MANY}\n\r\n0\r\n\r\n".encode())
    assert size > MANY * 20


async def is_held_up(database: Database) -> bool:
    async with database.query() as connection:
        return bool(await connection.fetchval(f"SELECT wait_event {EXPORTS}") == "ClientWrite")


async def test_an_error_in_mid_stream_aborts_the_response(large: Stack) -> None:
    async with reading_nothing(large, "export?collector=probe") as raw:
        await until(lambda: is_held_up(large.database))
        async with large.database.query() as connection:
            await connection.execute(f"SELECT pg_terminate_backend(pid) {EXPORTS}")
        received = await everything(raw)
    assert not received.endswith(b"0\r\n\r\n")
    assert received.count(b"\n") < MANY


async def test_over_http_1_0_an_incomplete_response_ends_with_a_reset(large: Stack) -> None:
    async with reading_nothing(large, "export?collector=probe", "1.0") as raw:
        await until(lambda: is_held_up(large.database))
        async with large.database.query() as connection:
            await connection.execute(f"SELECT pg_terminate_backend(pid) {EXPORTS}")
        with pytest.raises(ConnectionResetError):
            await to_the_end(raw)


async def everything(raw: socket.socket) -> bytes:
    """Everything that arrives until the connection ends."""
    pieces: list[bytes] = []
    with contextlib.suppress(ConnectionResetError):
        await to_the_end(raw, pieces.append)
    return b"".join(pieces)


async def to_the_end(raw: socket.socket, take: Callable[[bytes], object] = len) -> None:
    """Reads until the connection ends. Raises ``ConnectionResetError`` if it is reset."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT_SECONDS):
        while piece := await loop.sock_recv(raw, 2**20):
            take(piece)
