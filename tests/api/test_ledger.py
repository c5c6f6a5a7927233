"""The loss ledger, asked for."""

from __future__ import annotations

from tests.api.checked import Caller
from tests.api.helpers import Stack

QUOTE = {"type": "quote", "time_ns": 1_700_000_000_000_000_000, "venue": "sim", "instrument": "x", "bid": 1.0}


async def test_every_stream_says_where_its_rows_are(stored: Stack, stored_caller: Caller) -> None:
    sent = {
        "source": "bot",
        "epoch": 7,
        "first_sequence": 1,
        "events": [QUOTE, QUOTE],
        "dropped": {"ring_full": 3},
    }
    assert (await stored_caller.send(sent)).status == 200
    stored.publish_cycle(1, ["A", "B"])
    ledger = (await stored_caller.get("ledger")).body
    assert ledger["balanced"]
    streams = {stream.pop("stream"): stream for stream in ledger["streams"]}
    assert streams["events:bot"] == {
        "emitted": 5,
        "stored": 2,
        "spooled": 0,
        "dropped": {"client_ring_full": 3},
        "imbalance": 0,
        "expired": 0,
    }
    assert {"samples:probe", "samples:desk"} <= set(streams)


async def test_without_a_spool_there_is_nothing_to_account_for(caller: Caller) -> None:
    assert (await caller.get("ledger")).body["streams"] == []
