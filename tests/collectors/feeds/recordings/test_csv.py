from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.feeds.recordings.captures import RefusedLine, open_recording
from collectors.feeds.recordings.csv import instrument_of
from collectors.feeds.recordings.errors import RowError, UnknownRecordingError
from collectors.feeds.recordings.times import time_of, zone_of
from decahertz.clock import format_time, parse_time
from decahertz.event import Quote, Side, Tick

TRADES = "timestamp,trade_id,price,quantity\n"
QUOTES = "timestamp,bid,ask\n"


def read(
    folder: Path, text: str, name: str = "btcusdt.csv", **options: object
) -> tuple[list[Quote | Tick], list[RefusedLine]]:
    """The events of a CSV file, and its refused lines."""
    path = folder / name
    path.write_text(text)
    recording = open_recording(path, **options)  # type: ignore[arg-type] # options of the test
    refused: list[RefusedLine] = []
    recording.on_refused = refused.append
    events = [event for record in recording.records() for event in record.events]
    without = recording.without_events.total()
    assert len(events) + len(refused) + without == recording.lines == len(text.splitlines())
    return [event for event in events if isinstance(event, (Quote, Tick))], refused


def ticks(folder: Path, text: str, name: str = "btcusdt.csv", **options: object) -> list[Tick]:
    """The ticks of a file without refused lines."""
    events, refused = read(folder, text, name, **options)
    assert refused == []
    return [event for event in events if isinstance(event, Tick)]


def test_trades_tell_ids_and_the_aggressor_in_any_order(tmp_path: Path) -> None:
    rows = [f"2021-01-08T00:00:0{number}Z,{number},39432.48,0.5,true" for number in (5, 4, 6, 4)]
    header = "timestamp,trade_id,price,quantity,buyer_maker\n"
    found = ticks(tmp_path, header + "\n".join(rows))
    assert [tick.trade_id for tick in found] == ["5", "4", "6", "4"]
    assert [tick.missed for tick in found] == [0, 0, 0, 0]
    assert {(tick.venue, tick.instrument, tick.side) for tick in found} == {("binance", "BTCUSDT", Side.SELL)}


def test_ids_that_ascend_tell_what_is_missing(tmp_path: Path) -> None:
    rows = "".join(f"2021-01-08T00:00:00Z,{number},1,1\n" for number in (1, 1, 4, 5, 2, 9))
    assert [tick.missed for tick in ticks(tmp_path, TRADES + rows)] == [0, 0, 2, 0, 0, 0]


def test_an_id_may_be_any_text(tmp_path: Path) -> None:
    rows = "2021-01-08T00:00:00Z,0b6f8f0e-6f5c-4c1a-9b5e-0d3b1c2a4f5d,1,1\n2021-01-08T00:00:00Z,,1,1\n"
    (first, second) = ticks(tmp_path, TRADES + rows)
    assert (first.trade_id, first.sequence) == ("0b6f8f0e-6f5c-4c1a-9b5e-0d3b1c2a4f5d", None)
    assert second.trade_id is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1610064000", "2021-01-08T00:00:00.000000000Z"),
        ("1610064000.278", "2021-01-08T00:00:00.278000000Z"),
        ("1610064000278", "2021-01-08T00:00:00.278000000Z"),
        ("1610064000278.5", "2021-01-08T00:00:00.278500000Z"),
        ("1610064000278123", "2021-01-08T00:00:00.278123000Z"),
        ("1610064000278123456", "2021-01-08T00:00:00.278123456Z"),
        ("100000000", "1973-03-03T09:46:40.000000000Z"),
        ("2021-01-08T00:00:00.278+00:00", "2021-01-08T00:00:00.278000000Z"),
        ("2021-01-08 00:00:00", "2021-01-08T00:00:00.000000000Z"),
        ("20240702 170000123", "2024-07-02T22:00:00.123000000Z"),
        ("20240102 170000123", "2024-01-02T22:00:00.123000000Z"),
    ],
)
def test_times_of_any_form(text: str, expected: str) -> None:
    assert format_time(time_of(text, None)) == expected


@given(st.integers(10**9, 4 * 10**9), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_the_magnitude_of_an_epoch_number_tells_its_unit(seconds: int, per_second: int) -> None:
    assert time_of(str(seconds * per_second), None) == seconds * 10**9


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("Europe/Berlin", "2024-07-02 17:00:00", "2024-07-02T15:00:00Z"),
        ("Europe/Berlin", "2024-01-02 17:00:00", "2024-01-02T16:00:00Z"),
        ("Europe/Berlin", "2024-01-02 17:00:00Z", "2024-01-02T17:00:00Z"),
        ("-05:00", "2024-07-02T17:00:00.5", "2024-07-02T22:00:00.5Z"),
        ("UTC", "20240702 170000123", "2024-07-02T17:00:00.123Z"),
        ("America/New_York", "20240702 170000123", "2024-07-02T21:00:00.123Z"),
    ],
)
def test_times_without_a_zone_are_in_the_one_given(zone: str, text: str, expected: str) -> None:
    assert time_of(text, zone_of(zone)) == parse_time(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("07/02/2024 17:00", "is not RFC 3339"),
        ("soon", "is not RFC 3339"),
        ("", "is not RFC 3339"),
        ("2013-13-01T22:00:00Z", "not a valid time"),
        ("1950-01-01T22:00:00Z", "not between 1970 and 2262"),
        ("2400-01-01T22:00:00Z", "not between 1970 and 2262"),
        ("20240702", "the unit of so small a number"),
        ("9999999999999999999", "too large"),
        ("20240702 250000123", "not a valid time"),
    ],
)
def test_other_times_are_refused(text: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        time_of(text, None)


@pytest.mark.parametrize("text", ["2024-10-27 02:30:00", "2024-03-31 02:30:00"])
def test_a_local_time_that_exists_twice_or_never_is_refused(text: str) -> None:
    with pytest.raises(RowError, match="does not exist or occurs twice"):
        time_of(text, zone_of("Europe/Berlin"))


@pytest.mark.parametrize("text", ["Mars/Olympus", "", "../etc/passwd", "+5", "x" * 500])
def test_an_unknown_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a time zone"):
        zone_of(text)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2021-01-08T00:00:00Z,2,nan,1", "price 'nan' is not a number"),
        ("2021-01-08T00:00:00Z,3,1e999,1", "price '1e999' is too large"),
        ('2021-01-08T00:00:00Z,4,"1,250.5",1', "price '1,250.5' is not a number"),
        ("2021-01-08T00:00:00Z,5,1,-3", "quantity -3 is negative"),
        ("2021-01-08T00:00:00Z,6,1,1,1", "5 cells instead of 4"),
        ("2021-01-08T00:00:00Z,7,1", "3 cells instead of 4"),
        ("01/08/2021 00:00:00,8,1,1", "time '01/08/2021 00:00:00' is not RFC 3339"),
        ("2021-01-08T00:00:00Z,9,,1", "price is empty"),
        ("2021-01-08T00:00:00Z,10,1,", "quantity is empty"),
        ("2021-01-08T00:00:00Z,11,1_000,1", "price '1_000' is not a number"),
        ('"2021-01-08T00:00:00Z,12,1,1', "unexpected end of data"),
        ("2021-01-08T00:00:00Z,13,1," + "2" * 5_000, "too long"),
        (f"2021-01-08T00:00:00Z,{'x' * 300},1,1", "trade_id"),
    ],
)
def test_a_row_that_is_not_understood_is_refused_with_its_line_and_reason(
    tmp_path: Path, row: str, reason: str
) -> None:
    good = "2021-01-08T00:00:00Z,1,1,1\n"
    events, (refused,) = read(tmp_path, f"{TRADES}{good}\n{row}\n{good}")
    assert len(events) == 2
    assert refused.line == 4
    assert reason in refused.reason
    assert refused.content == f"{row}\n".encode()


def test_quotes_may_have_one_side(tmp_path: Path) -> None:
    rows = "2021-01-08T00:00:00Z,1.5,\n2021-01-08T00:00:00Z,,1.6\n2021-01-08T00:00:00Z,,\n"
    events, (refused,) = read(tmp_path, QUOTES + rows, "eurusd.csv")
    assert [(one.bid, one.ask) for one in events if isinstance(one, Quote)] == [(1.5, None), (None, 1.6)]
    assert (refused.line, refused.reason) == (4, "bid and ask are empty")


def test_columns_name_instrument_side_and_venue(tmp_path: Path) -> None:
    text = (
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
        "deribit,BTC-PERPETUAL,1610064000278123,1610064000278999,a,buy,1,2\n"
        "bitmex,XBTUSD,1610064000278123,1610064000278999,b,SELL,1,2\n"
        "bitmex,XBTUSD,1610064000278123,1610064000278999,c,unknown,1,2\n"
        "bitmex,,1610064000278123,1610064000278999,d,buy,1,2\n"
        "bitmex,XBTUSD,1610064000278123,1610064000278999,e,long,1,2\n"
    )
    events, refused = read(tmp_path, text)
    assert [(one.venue, one.instrument, one.side) for one in events if isinstance(one, Tick)] == [
        ("deribit", "BTC-PERPETUAL", Side.BUY),
        ("bitmex", "XBTUSD", Side.SELL),
        ("bitmex", "XBTUSD", None),
    ]
    assert [(one.line, one.reason.split(" ")[0]) for one in refused] == [(5, "symbol"), (6, "side")]


def test_an_option_replaces_the_one_name_of_a_column(tmp_path: Path) -> None:
    rows = "2021-01-08T00:00:00Z,XBT,1,1\n" * 2 + "2021-01-08T00:00:00Z,ETH,1,1\n"
    events, (refused,) = read(
        tmp_path, "timestamp,symbol,price,quantity\n" + rows, instrument="BTC/USD", venue="sim"
    )
    assert {(one.venue, one.instrument) for one in events} == {("sim", "BTC/USD")}
    assert refused.line == 4
    assert "--instrument names only one" in refused.reason


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_separators(tmp_path: Path, delimiter: str) -> None:
    text = "time,price,size\n2021-01-08T00:00:00Z,1.5,2\n".replace(",", delimiter)
    (tick,) = ticks(tmp_path, text)
    assert (tick.price, tick.size) == (1.5, 2.0)


def test_an_unknown_file_is_told_the_columns_wanted(tmp_path: Path) -> None:
    with pytest.raises(UnknownRecordingError, match=r"timestamp,price,quantity .*begins with when,cost"):
        read(tmp_path, "when,cost\n1,2\n")


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("DAT_ASCII_EURUSD_T_202407.csv", "EUR/USD"),
        ("usdjpy-quotes.csv", "USD/JPY"),
        ("btcusdt-trades-20210108.csv.gz", "BTCUSDT"),
        ("-.csv", None),
    ],
)
def test_the_name_of_a_file_tells_its_instrument(name: str, instrument: str | None) -> None:
    assert instrument_of(Path(name)) == instrument


def test_rows_without_a_header_are_histdata(tmp_path: Path) -> None:
    (quote,), refused = read(
        tmp_path,
        "20200101 170000065,1.121200,1.121720,0\n",
        "eurusd.csv",
        venue="dukascopy",
        instrument="EURUSD",
    )
    assert refused == []
    assert quote == Quote(
        time_ns=parse_time("2020-01-01T22:00:00.065Z"),
        venue="dukascopy",
        instrument="EURUSD",
        bid=1.1212,
        ask=1.12172,
    )


@pytest.mark.parametrize(
    ("name", "header", "venue", "instrument"),
    [
        ("BTCUSDT-trades-2021.csv", "trade_id,price,quantity,timestamp,buyer_maker", "binance", "BTCUSDT"),
        ("BTCUSDT-trades.csv", "id,price,qty,quote_qty,time,is_buyer_maker", "binance-usdm", "BTCUSDT"),
        (
            "BTCUSDT-aggTrades.csv",
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
            "binance-usdm",
            "BTCUSDT",
        ),
        (
            "BTCUSD_PERP-trades.csv",
            "id,price,qty,base_qty,time,is_buyer_maker",
            "binance-coinm",
            "BTCUSD_PERP",
        ),
        (
            "BTCUSD_260327-aggTrades-2026-01.csv",
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
            "binance-coinm",
            "BTCUSD_260327",
        ),
    ],
)
def test_the_market_of_a_binance_file_is_told_by_its_columns_and_name(
    tmp_path: Path, name: str, header: str, venue: str, instrument: str
) -> None:
    values = {"price": "1", "qty": "1", "quantity": "1", "is_buyer_maker": "true", "buyer_maker": "true"}
    times = dict.fromkeys(("timestamp", "time", "transact_time"), "1610064000000")
    row = ",".join((values | times).get(column, "7") for column in header.split(","))
    (tick,) = ticks(tmp_path, f"{header}\n{row}\n", name)
    assert (tick.venue, tick.instrument) == (venue, instrument)
