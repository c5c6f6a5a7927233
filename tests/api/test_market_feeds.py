"""Feed truth over REST."""

from __future__ import annotations

from typing import Any

from collectors.market.collector import MarketCollector, MarketOptions
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Heartbeat, Instrument, InstrumentKind, Quote, Tick
from decahertz.testing import START_NS, ManualClock
from tests.api.checked import Caller
from tests.api.helpers import Stack


def traded(clock: ManualClock) -> MarketCollector:
    """A market of two instruments whose feed fell silent after twenty seconds."""
    market = MarketCollector(clock, MarketOptions())
    market.keys.emitter = "feed-x"
    market.on_event(
        Instrument(time_ns=1, venue="v", instrument="B", kind=InstrumentKind.FUTURE, calendar="XNYS"),
        clock.time_ns(),
    )
    for number in range(30):
        now_ns = clock.time_ns()
        market.on_event(Heartbeat(time_ns=now_ns, component="x", venue="v"), now_ns)
        if number < 20:
            at: dict[str, Any] = {
                "time_ns": now_ns - 5,
                "venue": "v",
                "instrument": "A",
                "sequence": 100 + number,
            }
            market.on_event(Quote(**at, bid=1.0, ask=2.0, missed=3 if number == 4 else 0), now_ns)
            market.on_event(Tick(**at, price=1.0, size=1.0), now_ns)
        if number == 0:
            market.on_event(Quote(time_ns=now_ns, venue="v", instrument="B"), now_ns)
        market.sample(now_ns)
        clock.advance(NS_PER_SECOND)
    return market


async def test_feed_truth_has_the_verdict_with_all_that_it_rests_on() -> None:
    clock = ManualClock(START_NS)
    stack = Stack(clock=clock, market=traded(clock))
    async with stack.running(), Caller(stack.api.url) as caller:
        answer = (await caller.get("market/feeds")).body
        assert answer["time_ns"] == START_NS + 30 * NS_PER_SECOND
        first, second = answer["items"]
        assert first == {
            "venue": "v",
            "instrument": "A",
            "feed": "feed-x",
            "verdict": "mute",
            "reason": "feed_silent",
            "connection": "open",
            "heartbeat_ns": START_NS + 29 * NS_PER_SECOND,
            "venue_ns": START_NS + 19 * NS_PER_SECOND - 5,
            "received_ns": START_NS + 19 * NS_PER_SECOND,
            "changed_ns": START_NS,
            "silence_seconds": 11.0,
            "cadence_seconds": 1.0,
            "quote_sequence": 119,
            "tick_sequence": 119,
            "missed": 3,
            "missed_ns": START_NS + 4 * NS_PER_SECOND,
            "late": 0,
            "calendar": None,
            "is_in_session": True,
        }
        assert (second["verdict"], second["reason"]) == ("quiet", "unknown")
        assert (second["calendar"], second["cadence_seconds"]) == ("XNYS", None)
        for query, names in {"verdict=mute": ["A"], "instrument=B": ["B"], "venue=w": []}.items():
            items = (await caller.get(f"market/feeds?{query}")).body["items"]
            assert [item["instrument"] for item in items] == names


async def test_without_the_market_collector_there_is_no_feed_truth() -> None:
    stack = Stack()
    async with stack.running(), Caller(stack.api.url) as caller:
        (await caller.get("market/feeds")).problem("not-enabled")
