from __future__ import annotations

import math

import msgspec
import pytest

from collectors.feeds.guard import INVALID, EventGuard
from decahertz.event import AnyEvent, EventBatch, Heartbeat, MarketEvent, Quote, Side, Tick

TIME_NS = 1_700_000_000_000_000_000


def a_tick(**other: object) -> Tick:
    values = {"time_ns": TIME_NS, "venue": "coinbase", "instrument": "BTC-USD", "price": 1.5, "size": 2.0}
    return Tick(**{**values, **other})  # type: ignore[arg-type] # bad ones on purpose


def test_good_events_pass_as_they_are() -> None:
    events: list[AnyEvent] = [
        a_tick(side=Side.BUY, trade_id="7", sequence=3, missed=1),
        Quote(time_ns=TIME_NS, venue="coinbase", instrument="EUR/USD", bid=1.0),
        Heartbeat(time_ns=TIME_NS, component="feed-x", venue="coinbase"),
    ]
    assert EventGuard().split(events) == (tuple(events), [])
    assert EventGuard().split([]) == ((), [])


def test_a_valid_batch_comes_with_the_bytes_that_it_was_decoded_from() -> None:
    batch = EventBatch(source="feed-x", epoch=1, first_sequence=1, events=(a_tick(), a_tick(sequence=2)))
    valid, encoded = EventGuard().validate(batch)
    assert valid == batch
    assert msgspec.msgpack.decode(encoded, type=EventBatch) == batch
    with pytest.raises(INVALID):
        EventGuard().validate(msgspec.structs.replace(batch, events=(a_tick(price=math.nan),)))


@pytest.mark.parametrize(
    "bad",
    [
        {"price": math.nan},
        {"price": math.inf},
        {"price": None},
        {"price": "1.5"},
        {"size": -1.0},
        {"time_ns": 0},
        {"time_ns": 2**64},
        {"venue": ""},
        {"instrument": "a\tb"},
        {"instrument": "\ud800"},
        {"missed": -1},
        {"trade_id": object()},
    ],
)
def test_a_bad_event_is_split_off_and_the_others_pass(bad: dict[str, object]) -> None:
    before, after = a_tick(sequence=1), a_tick(sequence=2)
    good, reasons = EventGuard().split([before, a_tick(**bad), after])
    assert good == (before, after)
    assert len(reasons) == 1


def test_an_event_of_a_type_that_is_not_in_the_contract_is_refused() -> None:
    class Auction(MarketEvent, frozen=True, kw_only=True):
        pass

    auction = Auction(time_ns=TIME_NS, venue="x", instrument="y")
    good, reasons = EventGuard().split([auction])  # type: ignore[list-item] # a foreign type on purpose
    assert good == ()
    assert len(reasons) == 1
