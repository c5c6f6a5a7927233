"""``decahertz import`` and ``decahertz imports``, called in this process on a database of their own."""

from __future__ import annotations

import asyncio
import csv
import gzip
import random
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from decahertz.app.import_ import ImportOptions, run_import, timezone_option
from decahertz.app.imports import run_list, run_undo
from decahertz.app.settings import Settings
from decahertz.app.start_error import StartError
from decahertz.bar import Bar
from decahertz.clock import parse_time
from decahertz.event import AnyEvent, Instrument, InstrumentKind, Tick
from storage.database import Database
from storage.query.bars import BarFilter
from storage.query.queries import Queries
from storage.write.bulk_import import DirectWriter
from tests.embedded_server import connected
from tests.pipeline.running import command
from tests.proxy import PostgresProxy
from tests.small_disk import small_disk
from tests.storage_examples import START_NS, arrival, store, until

pytestmark = pytest.mark.timeout(120)
TRADES = "timestamp,trade_id,price,quantity\n"
CONNECTION = "wss://ws-feed.pro.coinbase.com <-> 1618677816.84\n"


def match(trade_id: int) -> str:
    """A line of a Coinbase capture."""
    return (
        f'{1618677817 + trade_id}.5: {{"type":"match","trade_id":{trade_id},"side":"sell","size":"1",'
        f'"price":"{10 + trade_id}","product_id":"A-B","sequence":{trade_id},'
        '"time":"2021-04-17T16:43:37.4Z"}\n'
    )


class Importer:
    """Imports files into one database, and looks at what is stored."""

    def __init__(self, url: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = Settings(database_url=url, recorder="desk", data_dir=folder)
        self._folder = folder
        self._capsys = capsys

    def file(self, content: str | bytes, name: str = "btcusdt.csv") -> Path:
        """A file with this content."""
        path = self._folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    async def run(self, content: str | bytes, name: str = "btcusdt.csv", **options: Any) -> str:  # noqa: ANN401 - options
        """The report of an import that succeeds."""
        return await self.run_file(self.file(content, name), **options)

    async def run_file(self, path: Path, code: int = 0, **options: Any) -> str:  # noqa: ANN401 - options
        """The report of an import that ends with ``code``."""
        assert await run_import(self.settings, path, ImportOptions(**options)) == code
        return self._capsys.readouterr().out

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with connected(self.settings.database_url) as connection:
            return [tuple(row) for row in await connection.fetch(query)]

    async def prints(self) -> list[str]:
        """Trade ids, sorted."""
        return [row[0] for row in await self.rows("SELECT trade_id FROM ticks ORDER BY trade_id")]

    async def store(self, events: Sequence[AnyEvent], source: str = "feed-coinbase") -> None:
        """Stores events as a live feed does."""
        database = Database(self.settings.database_url, self.settings.storage)
        await store(database, arrival(1, events, source=source))

    async def bars(self, instrument: str, width_ns: int) -> list[Bar]:
        database = Database(self.settings.database_url, self.settings.storage)
        await database.open()
        try:
            which = BarFilter(instrument=instrument, timeframe_ns=width_ns)
            return (await Queries(database).bars(which, limit=1_000)).items
        finally:
            await database.close()


@pytest.fixture
def importer(migrated_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Importer:
    return Importer(migrated_url, tmp_path, capsys)


def trades(*ids: int) -> str:
    return TRADES + "".join(f"2021-01-08T00:00:00.{id_:03}Z,{id_},{id_},1\n" for id_ in ids)


async def test_trades_in_any_order_are_all_stored(importer: Importer) -> None:
    assert "4 lines: 3 stored, 0 already there, 0 refused, 1 without" in await importer.run(trades(5, 4, 6))
    assert await importer.prints() == ["4", "5", "6"]


@pytest.mark.recordings
async def test_a_real_file_newest_first_or_shuffled_gives_the_same_bars(
    importer: Importer, recordings: Path
) -> None:
    header, *rows = (recordings / "btcusdt-trades-20210108.csv").read_text().splitlines(keepends=True)
    seen = []
    for number, order in enumerate((rows, rows[::-1], random.Random(1).sample(rows, len(rows))), start=1):
        report = await importer.run(header + "".join(order))
        assert "2,002 lines: 2,001 stored, 0 already there, 0 refused, 1 without" in report
        seen.append([structs.replace(bar, volume=0, vwap=0) for bar in await importer.bars("BTCUSDT", 10**9)])
        await run_undo(importer.settings, number)
        assert await importer.rows("SELECT count(*) FROM ticks") == [(0,)]
    assert len(seen[0]) == 47
    assert seen[0] == seen[1] == seen[2]


async def test_what_is_not_understood_is_counted_and_shown(importer: Importer, tmp_path: Path) -> None:
    good = "2021-01-08T00:00:00Z,0b6f8f0e-6f5c-4c1a-9b5e-0d3b1c2a4f5d,1,1\n"
    bad = [
        "2021-01-08T00:00:00Z,2,nan,1\n",
        '2021-01-08T00:00:00Z,3,"1,250.5",1\n',
        "2021-01-08T00:00:00Z,4,1,-3\n",
        "2021-01-08T00:00:00Z,5,1,1,1\n",
        "01/08/2021 00:00,6,1,1\n",
    ]
    refused = tmp_path / "refused.csv"
    text = TRADES + good + "".join(bad) + "\n"
    report = await importer.run_file(importer.file(text), code=1, refused=refused, is_strict=True)
    assert "5 refused, so nothing was stored (--strict)" in report
    assert await importer.rows("SELECT FROM imports") == []
    report = await importer.run(text, refused=refused)
    assert "8 lines: 1 stored, 0 already there, 5 refused, 2 without an event (1 empty, 1 header)" in report
    assert "line 3: price 'nan' is not a number\n" in report
    assert "line 6: 5 cells instead of 4\n" in report
    with refused.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["line"] for row in rows] == ["3", "4", "5", "6", "7"]
    assert rows[1]["content"] == bad[1].strip()
    assert rows[1]["reason"] == "price '1,250.5' is not a number"


async def test_the_first_ten_refused_lines_are_shown(importer: Importer) -> None:
    report = await importer.run(trades(1) + "nothing\n" * 25)
    assert report.count("1 cells instead of 4") == 10
    assert "and 15 more: --refused FILE writes all of them" in report


async def test_epoch_times_of_every_unit_are_understood_and_the_far_future_is_refused(
    importer: Importer,
) -> None:
    times = ["1610064000", "1610064000278", "1610064000278123", "1610064000278123456", "4102444800", "12345"]
    rows = "".join(f"{time},{number},1,1\n" for number, time in enumerate(times))
    report = await importer.run(TRADES + rows)
    assert "4 stored, 0 already there, 2 refused" in report
    assert "line 6: time 2100-01-01" in report
    assert "line 7: time '12345' is not an epoch time" in report
    days = await importer.rows("SELECT DISTINCT time::date::text FROM ticks")
    assert days == [("2021-01-08",)]


async def test_a_capture_that_grew_and_one_that_overlaps_are_stored_once(importer: Importer) -> None:
    await importer.run(CONNECTION + match(1) + match(2), "c.ws")
    grown = await importer.run(CONNECTION + match(1) + match(2) + match(3), "c.ws")
    assert "4 lines: 1 stored, 2 already there, 0 refused, 1 without an event (1 connections)" in grown
    overlapping = await importer.run(CONNECTION + match(4) + match(2) + match(3) + match(4), "d.ws")
    assert "5 lines: 1 stored, 3 already there, 0 refused, 1 without" in overlapping
    assert await importer.prints() == ["1", "2", "3", "4"]
    assert [bar.volume for bar in await importer.bars("A-B", 86_400 * 10**9)] == [4.0]


async def test_a_live_feed_and_its_capture_are_stored_once(importer: Importer) -> None:
    await importer.run(CONNECTION + match(9), "c.ws")  # creates the tables
    live = [
        Tick(
            time_ns=parse_time("2021-04-17T16:43:37.4Z"),
            venue="coinbase",
            instrument="A-B",
            price=10.0 + number,
            size=1.0,
            trade_id=str(number),
        )
        for number in (1, 2)
    ]
    await importer.store(live)
    report = await importer.run(CONNECTION + match(1) + match(2) + match(3), "c.ws")
    assert "1 stored, 2 already there" in report
    await importer.store(live, source="feed-coinbase after a restart")
    assert await importer.prints() == ["1", "2", "3", "9"]


@pytest.mark.recordings
@pytest.mark.parametrize("name", ["coinbase.ws", "kraken.ws", "binance.ws", "usdjpy-quotes-20130101.csv"])
async def test_half_a_recording_and_then_the_whole_are_the_recording(
    importer: Importer, recordings: Path, name: str
) -> None:
    """Also for quotes and for trades without an id."""
    lines = (recordings / name).read_bytes().splitlines(keepends=True)
    counts = "SELECT (SELECT count(*) FROM quotes), (SELECT count(*) FROM ticks)"
    await importer.run(b"".join(lines[: len(lines) // 2]), name)
    half = await importer.rows(counts)
    report = await importer.run_file(recordings / name)
    whole = await importer.rows(counts)
    assert whole > half
    again = await importer.run(gzip.compress(b"".join(lines)), name)
    assert " 0 stored, " in again
    assert await importer.rows(counts) == whole
    assert sum(whole[0]) == {"coinbase.ws": 1_999, "kraken.ws": 810, "binance.ws": 86}.get(name, 1_000)
    assert f"{len(lines):,} lines: " in report
    totals = await importer.rows(
        "SELECT lines - stored - already_there - refused - without_events FROM imports"
    )
    assert totals == [(0,)] * 3


async def test_equal_trades_without_an_id_are_stored_as_often_as_a_file_has_them(importer: Importer) -> None:
    row = "2021-01-08T00:00:00Z,10,1\n"
    for rows, stored in ((row * 2, 2), (row * 2, 2), (row * 3 + row.replace("10", "11"), 4), (row, 4)):
        await importer.run("timestamp,price,quantity\n" + rows)
        assert await importer.rows("SELECT count(*) FROM ticks") == [(stored,)]


async def test_equal_trades_without_an_id_may_be_read_in_several_parts(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decahertz.app.import_._EVENTS_AT_ONCE", 2)
    text = "timestamp,price,quantity\n" + "2021-01-08T00:00:00Z,10,1\n" * 7
    await importer.run(text)
    assert " 1 stored, 7 already there" in await importer.run(text + "2021-01-08T00:00:00Z,10,1\n")
    assert await importer.rows("SELECT count(*) FROM ticks") == [(8,)]


async def test_a_dry_run_says_what_an_import_would_do_and_stores_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decahertz.app.import_._EVENTS_AT_ONCE", 2)
    await importer.run(trades(1, 2))
    text = trades(1, 2, 3, 4, 5, 3, 1) + "nothing\n"
    dry = await importer.run(text, is_dry_run=True)
    assert "9 lines: 3 stored, 4 already there, 1 refused, 1 without an event (1 header)" in dry
    assert "Dry run: nothing was stored." in dry
    assert await importer.prints() == ["1", "2"]
    assert await importer.rows("SELECT count(*) FROM imports") == [(1,)]
    assert dry.splitlines()[:3] == (await importer.run(text)).splitlines()[:3]


async def test_a_wrong_name_is_put_right(importer: Importer, capsys: pytest.CaptureFixture[str]) -> None:
    await importer.run(trades(1, 2), "wrong.csv")
    await importer.run(trades(1, 2), "wrong.csv", venue="binance", instrument="BTCUSDT")
    await run_list(importer.settings, limit=20, as_json=False)
    listed = capsys.readouterr().out
    assert "trades, instrument WRONG, venue csv" in listed
    assert "instrument BTCUSDT (as asked for), venue binance (as asked for)" in listed
    assert listed.endswith("2 imports\n")
    await run_undo(importer.settings, 1)
    assert "import 1 was taken back: 2 rows deleted" in capsys.readouterr().out
    names = await importer.rows("SELECT DISTINCT venue, instrument FROM ticks")
    assert names == [("binance", "BTCUSDT")]
    assert await importer.rows("SELECT venue, instrument FROM instruments") == names
    for number, reason in ((1, "was taken back already"), (7, "does not exist"), (0, "out of range")):
        with pytest.raises(StartError, match=reason):
            await run_undo(importer.settings, number)
    assert "2 stored, 0 already there" in await importer.run(trades(1, 2), "wrong.csv")


async def test_undo_leaves_what_other_sources_brought(importer: Importer) -> None:
    await importer.run(trades(2, 3))
    await importer.run(trades(1, 2, 3, 4))
    await run_undo(importer.settings, 2)
    assert await importer.prints() == ["2", "3"]
    first, last = (await importer.rows("SELECT first_ns, last_ns FROM instruments"))[0]
    assert (first, last) == (parse_time("2021-01-08T00:00:00.002Z"), parse_time("2021-01-08T00:00:00.003Z"))
    assert "2 stored, 2 already there" in await importer.run(trades(1, 2, 3, 4))


async def test_undo_of_a_running_import_leaves_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_part = DirectWriter.store
    parts = 0

    async def undone_before_the_second_part(writer: DirectWriter, *arguments: Any) -> Any:  # noqa: ANN401 - of the method
        nonlocal parts
        parts += 1
        if parts == 2:  # its times are in the table of imports already
            await run_undo(importer.settings, 1)
        return await store_part(writer, *arguments)

    monkeypatch.setattr(DirectWriter, "store", undone_before_the_second_part)
    lines = "".join(f"2026-01-02T00:00:00.{number:06}Z,{number},1,1\n" for number in range(12_000))
    with pytest.raises(StartError, match="import 1 was taken back meanwhile"):
        await importer.run(TRADES + lines)
    assert parts == 2
    assert await importer.prints() == []
    assert await importer.rows("SELECT instrument FROM instruments") == []
    assert await importer.rows("SELECT id FROM imports WHERE undone_at IS NULL") == []


async def test_undo_restores_the_definition_of_an_instrument(importer: Importer) -> None:
    await importer.run(trades(9))  # creates the tables
    defined = [
        Instrument(
            time_ns=START_NS, venue="coinbase", instrument="A-B", kind=InstrumentKind.SPOT, tick_size=0.5
        )
    ]
    await importer.store(defined)
    subscribed = (
        '1718677817.1: {"type":"subscriptions","channels":[{"name":"matches","product_ids":["A-B"]}]}\n'
    )
    status = (
        '1718677817.2: {"type":"status","products":[{"id":"A-B","base_currency":"A","quote_currency":"B",'
        '"base_increment":"0.1","quote_increment":"0.01","display_name":"A/B"}],"currencies":[]}\n'
    )
    size = "SELECT tick_size FROM instruments WHERE instrument = 'A-B'"
    await importer.run(CONNECTION + subscribed + status, "c.ws")
    assert await importer.rows(size) == [(0.01,)]
    assert " 0 stored, 1 already there" in await importer.run(CONNECTION + subscribed + status, "c.ws")
    await run_undo(importer.settings, 2)
    assert await importer.rows(size) == [(0.5,)]


async def test_an_interrupted_import_is_resumed_by_another_one(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("decahertz.app.import_._EVENTS_AT_ONCE", 2)
    whole = DirectWriter.store
    calls = 0

    async def once(self: DirectWriter, *values: Any) -> Any:  # noqa: ANN401
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return await whole(self, *values)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(DirectWriter, "store", once)
        with pytest.raises(KeyboardInterrupt):
            await importer.run(trades(1, 2, 3))
    out = capsys.readouterr().out
    assert "stopped at line 4: 2 stored, 0 already there, 0 refused, 1 without an event, 1 not" in out
    assert "`decahertz imports undo 1` takes this import back" in out
    await run_list(importer.settings, limit=20, as_json=False)
    assert "not finished" in capsys.readouterr().out
    assert "1 stored, 2 already there" in await importer.run(trades(1, 2, 3))
    await run_undo(importer.settings, 1)
    assert await importer.prints() == ["3"]


async def test_histdata_is_eastern_standard_time_unless_told_otherwise(importer: Importer) -> None:
    row = "20240702 170000123,1.1,1.2,0\n"
    await importer.run(row, "DAT_ASCII_EURUSD_T_202407.csv")
    await importer.run(row, "gbpusd.csv", zone=timezone_option("UTC"))
    assert await importer.rows("SELECT instrument, time_ns FROM quotes ORDER BY instrument") == [
        ("EUR/USD", parse_time("2024-07-02T22:00:00.123Z")),
        ("GBP/USD", parse_time("2024-07-02T17:00:00.123Z")),
    ]


@pytest.mark.parametrize("text", [TRADES, TRADES + "nothing\n"])
async def test_a_file_without_events_is_an_error(importer: Importer, text: str) -> None:
    with pytest.raises(StartError, match="it contains no event"):
        await importer.run(text)


async def test_wrong_options_are_refused(importer: Importer, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="--timezone 'Mars' is neither"):
        timezone_option("Mars")
    path = tmp_path / "btcusdt.csv"
    with pytest.raises(StartError, match="is the file to import"):
        await importer.run(trades(1), refused=path)
    assert path.read_text() == trades(1)
    with pytest.raises(StartError, match="No such file") as caught:
        await importer.run_file(tmp_path / "missing.csv")
    assert str(caught.value).count("missing.csv") == 1


async def test_an_import_goes_on_after_an_outage_of_the_database(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decahertz.app.import_._EVENTS_AT_ONCE", 2)
    whole = DirectWriter.store

    async def after_outage(self: DirectWriter, *values: Any) -> Any:  # noqa: ANN401
        async with connected(importer.settings.database_url) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        return await whole(self, *values)

    monkeypatch.setattr(DirectWriter, "store", after_outage)
    assert "6 stored" in await importer.run(trades(*range(6)))
    assert len(await importer.prints()) == 6


async def test_an_import_whose_database_is_lost_says_how_far_it_came(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("decahertz.app.import_._EVENTS_AT_ONCE", 2)
    monkeypatch.setattr("decahertz.app.import_._ATTEMPT_SECONDS", 0.1)
    whole = DirectWriter.store
    folder = tmp_path / "proxy"
    folder.mkdir()
    async with PostgresProxy(importer.settings.database_url, folder).running() as proxy:

        async def then_lost(self: DirectWriter, *values: Any) -> None:  # noqa: ANN401
            await whole(self, *values)
            await proxy.cut()

        monkeypatch.setattr(DirectWriter, "store", then_lost)
        settings = structs.replace(importer.settings, database_url=proxy.url)
        with pytest.raises(StartError, match="run the import again to resume it"):
            await run_import(settings, importer.file(trades(1, 2, 3, 4)), ImportOptions())
    out = capsys.readouterr().out
    assert "stopped at line 5: 2 stored, 0 already there, 0 refused, 1 without an event, 2 not" in out
    assert "`decahertz imports undo 1` takes this import back" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_import_that_is_ended_by_a_signal_says_how_far_it_came(
    importer: Importer, env: dict[str, str], number: signal.Signals, code: int
) -> None:
    rows = "".join(f"2021-01-08T00:00:{i // 10_000:02}.{i % 10_000:04}Z,{i},{i},1\n" for i in range(400_000))
    file = importer.file(TRADES + rows)
    process = await asyncio.create_subprocess_exec(
        *command("import", str(file)),
        env=env | {"DECAHERTZ_DATABASE_URL": importer.settings.database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def has_begun() -> bool:
        return bool(await importer.rows("SELECT id FROM imports WHERE stored > 0"))

    try:
        await until(has_begun)
        process.send_signal(number)
        out = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == code
    found = re.search(r"stopped at line [\d,]+: ([\d,]+) stored", out)
    assert found, out
    stored = int(found[1].replace(",", ""))
    assert "`decahertz imports undo 1` takes this import back" in out
    assert (await importer.rows("SELECT stored FROM imports"))[0] == (stored,)
    assert 0 < stored <= (await importer.rows("SELECT count(*) FROM ticks"))[0][0] < 400_000
    await run_undo(importer.settings, 1)
    assert await importer.prints() == []


async def test_a_full_disk_for_the_refused_lines_is_told_by_the_name_of_their_file(
    importer: Importer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / "small" / "refused.csv"
    full = f"cannot write {name}: No space left on device"
    with small_disk(name.parent, "64k"), pytest.raises(StartError, match=full):
        await importer.run(trades(1) + "nonsense,1,1,1\n" * 10_000, refused=name)
    out = capsys.readouterr().out
    assert "10,000 refused" in out or "stopped at line" in out
