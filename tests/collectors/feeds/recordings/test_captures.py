from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from collectors.feeds.recordings import captures as module
from collectors.feeds.recordings.captures import import_source, open_recording, recorded_events
from collectors.feeds.recordings.errors import BarsError, RecordingError, UnknownRecordingError
from decahertz.clock import parse_time
from decahertz.event import Quote, Side, Tick

CAPTURE = """\
wss://ws-feed.pro.coinbase.com <-> 1618677816.84
wss://ws-feed.pro.coinbase.com <- 1618677817.02: {"type":"subscribe"}
1618677817.061845: {"type":"subscriptions","channels":[]}
1618677817.5: {"type":"match","trade_id":1,"side":"sell","size":"1","price":"10","product_id":"A-B",\
"sequence":5,"time":"2021-04-17T16:43:37.4Z"}
not a message
1618677818: {"type":"match"}

1618677819.000000001: {"type":"match","trade_id":2,"side":"buy","size":"2","price":"11","product_id":"A-B",\
"sequence":6,"time":"2021-04-17T16:43:38.9Z"}
"""


def a_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_capture_gives_its_events_with_their_times_and_counts_lines_that_are_no_message(
    tmp_path: Path,
) -> None:
    path = a_file(tmp_path, "c.ws", CAPTURE)
    events = list(recorded_events(path))
    assert [received_ns for received_ns, _ in events] == [1618677817500000000, 1618677819000000001]
    first, second = (event for _, (event,) in events)
    assert isinstance(first, Tick)
    assert isinstance(second, Tick)
    assert first.time_ns == parse_time("2021-04-17T16:43:37.4Z")
    assert (first.side, second.side, second.missed) == (Side.BUY, Side.SELL, 0)
    recording = open_recording(path)
    records = list(recording.records())
    assert recording.counts["malformed"] == 2
    assert records[-1].offset == recording.total_bytes


def test_a_line_too_long_to_be_read_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINE_BYTES", 300)
    lines = CAPTURE.splitlines(keepends=True)
    path = a_file(tmp_path, "c.ws", "".join([*lines[:4], "1618677818: " + "x" * 1_000 + "\n", *lines[4:]]))
    recording = open_recording(path)
    assert sum(len(record.events) for record in recording.records()) == 2
    assert recording.counts["malformed"] == 3


def test_a_new_connection_in_a_capture_voids_the_books(tmp_path: Path) -> None:
    snapshot = '{"type":"snapshot","product_id":"A-B","bids":[["1","1"]],"asks":[["2","1"]]}'
    text = (
        "wss://ws-feed.pro.coinbase.com <-> 1.5\n"
        f"2.0: {snapshot}\n"
        "wss://ws-feed.pro.coinbase.com <-> 3.5\n"
        '4.0: {"type":"l2update","product_id":"A-B","changes":[["buy","1.5","1"]]}\n'
    )
    assert len(list(recorded_events(a_file(tmp_path, "c.ws", text)))) == 1


NO_RECORDINGS = ("", "\n\n", "hello\n", "a,b,c\n1,2,3\n", '"unclosed\n', "\udcff")
BARS = "timestamp,open,high,low,close,volume\n2021-12-31 23:01:00,1,2,1,2,5\n"


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        *((text, UnknownRecordingError, "neither a WebSocket capture nor CSV") for text in NO_RECORDINGS),
        ("wss://ws.notcoinbase.example <-> 1.5\n", UnknownRecordingError, r"ws\.notcoinbase\.example"),
        (BARS, BarsError, "it holds bars"),
    ],
)
def test_a_file_without_events_of_a_known_venue_is_refused(
    tmp_path: Path, text: str, error: type[RecordingError], reason: str
) -> None:
    path = tmp_path / "eurusd.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(error, match=reason):
        open_recording(path)


def test_quotes_with_a_header_name_their_pair_by_the_file(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        "usdjpy-quotes.csv",
        "timestamp,bid,ask,ask_size\n2013-01-01 22:00:00.295000+00:00,86.655,86.728,\n",
    )
    ((received_ns, (quote,)),) = recorded_events(path)
    assert received_ns == parse_time("2013-01-01T22:00:00.295Z")
    assert quote == Quote(time_ns=received_ns, venue="fx", instrument="USD/JPY", bid=86.655, ask=86.728)


def test_quotes_without_a_header_are_taken_as_utc(tmp_path: Path) -> None:
    path = a_file(tmp_path, "eurusd.csv", "20200101 170000065,1.121200,1.121720,0\n")
    ((received_ns, (quote,)),) = recorded_events(path, venue="dukascopy", instrument="EURUSD")
    assert received_ns == quote.time_ns == parse_time("2020-01-01T17:00:00.065Z")
    assert isinstance(quote, Quote)
    assert (quote.venue, quote.instrument, quote.bid, quote.ask) == ("dukascopy", "EURUSD", 1.1212, 1.12172)


def test_trades_tell_gaps_repetitions_and_the_aggressor(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        "btcusdt-trades.csv",
        "timestamp,trade_id,price,quantity,buyer_maker\n"
        "2021-01-08T00:00:00.278+00:00,1,39432.48,0.5,true\n"
        "2021-01-08T00:00:00.278+00:00,1,39432.48,0.5,true\n"
        "2021-01-08T00:00:01,4,39432.49,0.25,false\n",
    )
    recording = open_recording(path)
    first, second = (event for record in recording.records() for event in record.events)
    assert isinstance(first, Tick)
    assert isinstance(second, Tick)
    what = (first.venue, first.instrument, first.side, first.trade_id)
    assert what == ("binance", "BTCUSDT", Side.SELL, "1")
    assert (second.missed, second.side, second.time_ns) == (2, Side.BUY, parse_time("2021-01-08T00:00:01Z"))
    assert recording.counts["duplicates"] == 1


@pytest.mark.parametrize(
    "row",
    [
        "2013-01-01T22:00:00Z,1",
        "2013-01-01T22:00:00Z,1,2,3",
        "2013-01-01T22:00:00Z,NaN,2",
        "2013-01-01T22:00:00Z,1e999,2",
        "2013-13-01T22:00:00Z,1,2",
        "1950-01-01T22:00:00Z,1,2",
        "soon,1,2",
        ",1,2",
        '"2013-01-01T22:00:00Z,1,2',
        "2013-01-01T22:00:00Z,1," + "2" * 5_000,
        "2013-01-01T22:00:00Z,one,2",
    ],
)
def test_a_malformed_row_is_counted_and_skipped(tmp_path: Path, row: str) -> None:
    path = a_file(tmp_path, "eurusd.csv", f"timestamp,bid,ask\n{row}\n2013-01-01T22:00:00Z,1,2\n")
    recording = open_recording(path)
    assert len(list(recording.records())) == 1
    assert recording.counts["malformed"] == 1


def test_a_file_whose_name_tells_no_instrument_needs_one(tmp_path: Path) -> None:
    path = a_file(tmp_path, "-.csv", "timestamp,bid,ask\n2013-01-01T22:00:00Z,1,2\n")
    with pytest.raises(RecordingError, match="set one"):
        open_recording(path)
    assert len(list(recorded_events(path, instrument="EUR/USD"))) == 1
    with pytest.raises(RecordingError, match="is not a valid instrument name"):
        open_recording(path, instrument="a\tb")


def test_the_same_content_has_the_same_identity_under_any_name(tmp_path: Path) -> None:
    path = a_file(tmp_path, "c.ws", CAPTURE)
    copy = Path(shutil.copy(path, tmp_path / "other.ws"))
    assert import_source(path) == import_source(copy)
    source, epoch = import_source(path)
    assert source.startswith("import-")
    assert epoch == 1618677817500000000
    changed = a_file(tmp_path, "changed.ws", CAPTURE.replace('"10"', '"12"'))
    assert import_source(changed)[0] != source


def test_what_a_file_is_taken_for_belongs_to_its_identity(tmp_path: Path) -> None:
    path = a_file(tmp_path, "eurusd.csv", "timestamp,bid,ask\n2013-01-01T22:00:00Z,1,2\n")
    assert import_source(path)[0] != import_source(path, instrument="GBP/USD")[0]


def test_a_recording_without_any_event_has_no_identity(tmp_path: Path) -> None:
    path = a_file(tmp_path, "eurusd.csv", "timestamp,bid,ask\n")
    with pytest.raises(UnknownRecordingError, match="it contains no event"):
        import_source(path)


@pytest.mark.recordings
@pytest.mark.parametrize(
    ("name", "venue", "events"),
    [
        ("coinbase.ws", "coinbase", 1_999),
        ("kraken.ws", "kraken", 810),
        ("binance.ws", "binance", 86),
        ("eurusd-quotes-20200101.csv", "fx", 9_500),
        ("usdjpy-quotes-20130101.csv", "fx", 1_000),
        ("btcusdt-trades-20210108.csv", "binance", 2_001),
    ],
)
def test_every_line_of_the_recordings_is_understood(
    recordings: Path,
    name: str,
    venue: str,
    events: int,
) -> None:
    recording = open_recording(recordings / name)
    assert sum(len(record.events) for record in recording.records()) == events
    assert recording.venue == venue
    assert not recording.counts.get("malformed")


@pytest.mark.recordings
def test_the_recorded_bars_are_refused(recordings: Path) -> None:
    with pytest.raises(BarsError):
        open_recording(recordings / "btc-perp-1m-202201.csv")
