"""The reader next to a real Decahertz: what the client has sent comes back, whole and typed."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from api.routes.table import ROUTES
from decahertz_client import Client, ProblemError, Reader
from tests.pipeline.running import RunningDecahertz, environment, running, wait_until

pytestmark = pytest.mark.timeout(120)
FILLS = 2300
START_NS = 1_767_225_600_000_000_001
STEP_NS = 1_000_003
AT: dict[str, Any] = {"venue": "paper", "instrument": "A/B"}


@pytest.fixture(scope="module")
def decahertz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """A recorder with a synthetic market, and the fills of a strategy in its database."""
    folder = tmp_path_factory.mktemp("reader")
    env = environment(
        folder,
        DECAHERTZ_FEEDS_ENABLED="synthetic",
        DECAHERTZ_FEEDS_SYNTHETIC_INSTRUMENTS="3",
        DECAHERTZ_FEEDS_SYNTHETIC_QUOTES_PER_SECOND="20",
    )
    with running(env=env, log=folder / "log") as started:
        emit(started, "first", FILLS)
        yield started


@pytest.fixture
def reader(decahertz: RunningDecahertz) -> Iterator[Reader]:
    with Reader(decahertz.api) as made:
        yield made


def emit(decahertz: RunningDecahertz, strategy: str, count: int, start_ns: int = START_NS) -> None:
    """Emits fills that buy and sell in turn, and waits until they are in the database."""
    with Client(decahertz.api, source=f"test-{strategy}") as client:
        for n in range(count):
            client.fill(
                **AT,
                strategy=strategy,
                order_id=str(n),
                fill_id=f"{strategy}-{n}",
                side="sell" if n % 2 else "buy",
                price=100 + n % 2,
                quantity=1,
                risk=None if n % 4 else 2.5,
                time_ns=start_ns + n * STEP_NS,
            )
        assert client.flush(20)

    def are_stored() -> bool:
        streams = decahertz.get("/api/v1/ledger")["streams"]
        (stored,) = [s["stored"] for s in streams if s["stream"] == f"events:test-{strategy}"]
        return bool(stored == count)

    wait_until("the fills to be stored", 30, are_stored)


def numbers(fills: Any) -> list[int]:  # noqa: ANN401 - an iterable of fills
    return [int(fill["order_id"]) for fill in fills]


def test_a_list_is_read_to_its_end_newest_first_however_many_pages_it_has(reader: Reader) -> None:
    assert numbers(reader.fills(strategy="first")) == list(reversed(range(FILLS)))


@pytest.mark.parametrize("limit", [0, 1, 1000, 1001, 10_000])
def test_a_limit_bounds_the_records_and_not_the_page(reader: Reader, limit: int) -> None:
    assert len(reader.fills(strategy="first", limit=limit).to_list()) == min(limit, FILLS)


def test_rows_that_arrive_while_a_list_is_read_are_neither_skipped_nor_repeated(
    decahertz: RunningDecahertz, reader: Reader
) -> None:
    late = START_NS + 10**12
    emit(decahertz, "growing", 1500, late)
    fills = reader.fills(strategy="growing")
    head = list(itertools.islice(fills, 700))
    emit(decahertz, "other", 600, late + 10**9)
    assert numbers(head + fills.to_list()) == list(reversed(range(1500)))


def test_round_trips_and_their_types_are_those_of_the_route(reader: Reader) -> None:
    trades = reader.trades(strategy="first", limit=3).to_list()
    assert [trade["instrument"] for trade in trades] == ["A/B"] * 3
    assert all(trade["closed_ns"] - trade["opened_ns"] == STEP_NS for trade in trades)


def test_a_list_converts_to_columns_pandas_and_arrow_with_exact_times(reader: Reader) -> None:
    def fills() -> Any:  # noqa: ANN401 - Pages
        return reader.fills(strategy="first", limit=1200)

    columns = fills().to_columns()
    expected = [START_NS + n * STEP_NS for n in reversed(range(FILLS - 1200, FILLS))]
    assert columns["time_ns"] == expected
    frame = fills().to_pandas()
    assert frame["time"].dtype == "datetime64[ns, UTC]"
    assert frame["time"].astype("int64").tolist() == expected
    assert frame["risk"].isna().sum() == 900
    assert frame.loc[frame["side"] == "buy", "price"].unique().tolist() == [100.0]
    table = fills().to_arrow()
    assert table.schema.field("time").type == pa.timestamp("ns", tz="UTC")
    assert table.column("time").cast(pa.int64()).to_pylist() == expected


def test_a_list_without_records_converts_to_columns_without_rows(reader: Reader) -> None:
    assert reader.fills(end=1).to_columns()["price"] == []
    frame = reader.fills(end=1).to_pandas()
    assert (len(frame), frame["time"].dtype) == (0, "datetime64[ns, UTC]")
    assert reader.fills(end=1).to_arrow().num_rows == 0


def test_a_time_that_is_null_is_no_time_in_a_frame(reader: Reader) -> None:
    columns = reader.trades(strategy="first", limit=2).to_columns()
    columns["ends_ns"] = [None, START_NS]
    from decahertz_client._frames import arrow_table, pandas_frame  # noqa: PLC0415 - not a public name

    assert pandas_frame(columns)["ends"].isna().tolist() == [True, False]
    assert pandas_frame(columns)["ends"].iloc[1].value == START_NS
    assert arrow_table(columns).column("ends").null_count == 1


@pytest.mark.parametrize(
    "start",
    [
        START_NS + 999,
        "2026-01-01T00:00:00.000001Z",
        dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 1, 2, 0, 0, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        pd.Timestamp(START_NS + 999, tz="Europe/Berlin"),
    ],
    ids=["nanoseconds", "text", "datetime", "zone", "pandas"],
)
def test_a_range_may_be_given_in_nanoseconds_as_text_or_as_a_datetime(reader: Reader, start: Any) -> None:  # noqa: ANN401
    found = numbers(reader.fills(strategy="first", start=start, end=START_NS + 3 * STEP_NS))
    assert found == [2, 1]


def test_a_time_without_a_zone_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        Reader("http://127.0.0.1:9").fills(start=dt.datetime(2026, 1, 1))  # noqa: DTZ001 - the case


def recent(decahertz: RunningDecahertz) -> tuple[int, int]:
    """The newest second of the past in which the market was sampled ten times and stored."""

    def complete() -> int | None:
        now = time.time_ns() // 10**9 * 10**9
        query = f"collector=market&fields=mid&tier=raw&start={now - 10 * 10**9}&end={now}"
        series = decahertz.get(f"/api/v1/metrics/history?{query}")["series"]
        if len(series) != 3:
            return None
        counts = [Counter(t // 10**9 * 10**9 for t in each["time_ns"]) for each in series]
        ends = (now - ago * 10**9 for ago in range(9))
        return next((end for end in ends if all(each[end - 10**9] == 10 for each in counts)), None)

    wait_until("a second of samples", 30, lambda: complete() is not None)
    end = complete()
    assert end is not None
    return end - 10**9, end


def test_a_raw_history_has_a_column_for_each_metric(decahertz: RunningDecahertz, reader: Reader) -> None:
    start, end = recent(decahertz)
    history = reader.history("market", fields=["mid", "gaps"], start=start, end=end)
    assert (history.tier, history.step_ns, len(history.series)) == ("raw", None, 3)
    for series in history.series:
        assert series.time_ns == list(range(start, end, 10**8))
        assert set(series.columns) == {"mid", "gaps"}
        assert set(series.key) == {"recorder", "venue", "instrument"}
    frame = history.to_pandas()
    assert list(frame.columns) == ["time", "recorder", "venue", "instrument", "mid", "gaps"]
    assert len(frame) == 30
    assert frame["time"].iloc[0].value == start
    assert history.to_arrow().num_rows == 30


def test_buckets_have_a_column_for_each_extreme(decahertz: RunningDecahertz, reader: Reader) -> None:
    start, end = recent(decahertz)
    instrument = reader.metrics_current(collector="market")["items"][0]["key"]["instrument"]
    history = reader.history(
        "market", fields=["mid", "gaps"], start=start, end=end, step="500ms", instrument=instrument
    )
    (series,) = history.series
    assert (history.step_ns, series.time_ns) == (500_000_000, [start, start + 500_000_000])
    assert set(series.columns) == {"mid_last", "mid_min", "mid_max", "mid_avg", "gaps_last"}
    raw = reader.history("market", fields="mid", start=start, end=end, instrument=instrument).series[0]
    assert series.columns["mid_max"] == [max(raw.columns["mid"][:5]), max(raw.columns["mid"][5:])]
    assert series.columns["mid_avg"][0] == pytest.approx(float(np.mean(raw.columns["mid"][:5])))


def test_a_filter_that_is_too_long_for_a_url_travels_in_the_body(
    decahertz: RunningDecahertz, reader: Reader
) -> None:
    start, end = recent(decahertz)
    known = [item["key"]["instrument"] for item in reader.metrics_current(collector="market")["items"]]
    many = [f"an instrument that nobody trades {n}" for n in range(900)]
    history = reader.history("market", fields="mid", start=start, end=end, instrument=[*many, *known[:2]])
    assert sorted(series.key["instrument"] for series in history.series) == sorted(known[:2])


def test_a_history_of_an_unknown_instrument_is_told_from_an_empty_range(reader: Reader) -> None:
    (name,) = {item["key"]["instrument"] for item in reader.metrics_current(collector="market")["items"][:1]}
    assert reader.history("market", instrument=name, start=1, end=2).series == []
    with pytest.raises(ProblemError, match=f"similar: {name}") as raised:
        reader.history("market", instrument=name.lower())
    assert raised.value.kind == "unknown-name"


def test_an_error_of_the_server_names_the_parameter_and_the_request(reader: Reader) -> None:
    with pytest.raises(ProblemError) as raised:
        reader.history("markets")
    problem = raised.value
    assert (problem.kind, problem.status) == ("invalid-parameter", 400)
    assert problem.errors[0]["field"] == "collector"
    assert "'markets' is unknown; known: " in str(problem)
    assert problem.request_id
    assert problem.request_id in str(problem)
    assert reader.ping()["time_ns"] > START_NS, "the connection goes on"


def test_an_unknown_alert_is_not_found(reader: Reader) -> None:
    with pytest.raises(ProblemError) as raised:
        reader.alert("nothing/like this?")
    assert raised.value.kind == "not-found"


def test_every_route_that_reads_has_a_method_with_a_typed_answer(
    decahertz: RunningDecahertz, reader: Reader
) -> None:
    names = {route.name for route in ROUTES if route.method == "GET"}
    names -= {"live", "ready", "metrics_history"}  # for orchestrators; Reader.history
    assert [name for name in sorted(names) if not hasattr(reader, name)] == []
    for name, path in (("health", "health"), ("metrics_catalogue", "metrics/catalogue")):
        assert getattr(reader, name)().keys() == decahertz.get(f"/api/v1/{path}").keys()


def test_an_export_is_written_to_a_file_and_a_failed_one_leaves_none(reader: Reader, tmp_path: Path) -> None:
    size = reader.export(tmp_path / "fills.csv", table="fills", strategy="first")
    with (tmp_path / "fills.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), size) == (FILLS, (tmp_path / "fills.csv").stat().st_size)
    reader.export(tmp_path / "fills.parquet", table="fills", strategy="first")
    assert (tmp_path / "fills.parquet").read_bytes()[:4] == b"PAR1"
    with pytest.raises(ProblemError, match="table"):
        reader.export(tmp_path / "other.csv", table="fill")
    assert {path.name for path in tmp_path.iterdir()} == {"fills.csv", "fills.parquet"}


def test_a_record_has_the_fields_of_its_type(reader: Reader) -> None:
    from decahertz_client import records  # noqa: PLC0415 - next to its use

    fill = next(reader.fills(strategy="first"))
    assert fill.keys() == records.StoredFill.__annotations__.keys()
    assert msgspec.json.encode(fill), "plain values"
