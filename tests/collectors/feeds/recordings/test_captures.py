from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from collectors.feeds.recordings import lines as module
from collectors.feeds.recordings.captures import RefusedLine, open_recording, recorded_events
from collectors.feeds.recordings.errors import BarsError, RecordingError, UnknownRecordingError
from decahertz.clock import parse_time
from decahertz.event import Instrument, Quote, Side, Tick

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


def test_a_file_whose_name_tells_no_instrument_needs_one(tmp_path: Path) -> None:
    path = a_file(tmp_path, "-.csv", "timestamp,bid,ask\n2013-01-01T22:00:00Z,1,2\n")
    with pytest.raises(RecordingError, match="set one"):
        open_recording(path)
    assert len(list(recorded_events(path, instrument="EUR/USD"))) == 1
    with pytest.raises(RecordingError, match="is not a valid instrument name"):
        open_recording(path, instrument="a\tb")


def test_every_line_of_a_capture_is_accounted_for(tmp_path: Path) -> None:
    recording = open_recording(a_file(tmp_path, "c.ws", CAPTURE))
    refused: list[RefusedLine] = []
    recording.on_refused = refused.append
    records = list(recording.records())
    assert recording.lines == 8
    assert recording.without_events == {"connections": 1, "sent": 1, "empty": 1}
    assert [(record.line, len(record.events)) for record in records] == [(3, 0), (4, 1), (8, 1)]
    assert [one.line for one in refused] == [5, 6]
    assert refused[0].content == b"not a message\n"
    assert refused[0].reason == "neither a message with its time nor a connection"


def test_prints_of_a_capture_that_come_in_another_order_are_not_repetitions(tmp_path: Path) -> None:
    lines = CAPTURE.splitlines(keepends=True)
    path = a_file(tmp_path, "c.ws", "".join([lines[0], lines[7], lines[3], lines[7]]))
    recording = open_recording(path)
    records = list(recording.records())
    ids = [event.trade_id for record in records for event in record.events if isinstance(event, Tick)]
    assert ids == ["2", "1"]
    assert [record.is_repeated for record in records] == [False, False, True]


def test_a_capture_takes_no_name_for_its_venue(tmp_path: Path) -> None:
    path = a_file(tmp_path, "c.ws", CAPTURE)
    with pytest.raises(RecordingError, match="omit venue"):
        open_recording(path, venue="coinbase")


def test_a_compressed_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "c.ws.gz"
    path.write_bytes(gzip.compress(CAPTURE.encode()))
    recording = open_recording(path)
    records = list(recording.records())
    assert len([record for record in records if record.events]) == 2
    assert records[-1].offset == recording.total_bytes
    path.write_bytes(gzip.compress(CAPTURE.encode() * 100)[:-20])
    with pytest.raises(RecordingError, match="damaged or cut off"):
        list(open_recording(path).records())


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
    found = [event for record in recording.records() for event in record.events]
    # Symbols and pairs tell their definitions; the status messages of Coinbase were not recorded.
    assert sum(not isinstance(event, Instrument) for event in found) == events
    assert recording.venue == venue
    assert not recording.counts.get("malformed")


@pytest.mark.recordings
def test_the_recorded_bars_are_refused(recordings: Path) -> None:
    with pytest.raises(BarsError):
        open_recording(recordings / "btc-perp-1m-202201.csv")
