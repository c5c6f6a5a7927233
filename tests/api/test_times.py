"""Times in parameters, and nanoseconds as strings in answers."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from api.http.problems import ProblemError
from api.http.query import QueryParser, Time
from decahertz.clock import NS_PER_SECOND, format_time
from decahertz.fakes import ManualClock, example_events
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import START_NS, Stack

MINUTE_NS = 60 * NS_PER_SECOND


class RangeQuery(Struct, frozen=True, forbid_unknown_fields=True):
    start: Time | None = None
    end: Time | None = None
    count: Annotated[int, Meta(ge=0)] = 0


def fill(time_ns: int, number: int) -> dict[str, Any]:
    return {
        "type": "fill",
        "time_ns": time_ns,
        "strategy": "s",
        "venue": "SIM",
        "instrument": "A",
        "order_id": "o",
        "fill_id": f"f{number}",
        "side": "buy",
        "price": 1.0,
        "quantity": 1.0,
    }


@pytest.mark.parametrize(
    ("text", "before_ns"),
    [
        ("-10m", 10 * MINUTE_NS),
        ("-250ms", 250_000_000),
        ("-1s", NS_PER_SECOND),
        ("-2h", 120 * MINUTE_NS),
        ("-7d", 7 * 1440 * MINUTE_NS),
        ("-999999d", START_NS),
    ],
)
def test_a_relative_time_is_a_duration_before_now(text: str, before_ns: int) -> None:
    parsed = QueryParser(RangeQuery, ManualClock(START_NS)).parse(f"start={text}")
    assert parsed.query.start == START_NS - before_ns


def test_a_relative_time_is_relative_to_each_request() -> None:
    clock = ManualClock(START_NS)
    parser = QueryParser(RangeQuery, clock)
    for _ in range(3):
        parsed = parser.parse("start=-1m&end=-1s&count=1").query
        assert (parsed.start, parsed.end) == (clock.time_ns() - MINUTE_NS, clock.time_ns() - NS_PER_SECOND)
        clock.advance(NS_PER_SECOND)


@pytest.mark.parametrize("text", ["-", "-1", "-0m", "-1y", "-1.5h", "--1m", "-1m\n", "- 1m", "1m", "now"])
def test_another_text_is_refused_and_named(text: str) -> None:
    with pytest.raises(ProblemError, match="start"):
        QueryParser(RangeQuery, ManualClock(START_NS)).parse(f"start={text}")


@pytest.mark.parametrize(
    ("text", "unit"),
    [("1735689600", "seconds"), ("1735689600000", "milliseconds"), ("1735689600000000", "microseconds")],
)
def test_an_integer_in_another_unit_is_refused_with_the_unit(text: str, unit: str) -> None:
    meant = rf"start: {text} is a time in {unit}; write nanoseconds: 1735689600000000000"
    with pytest.raises(ProblemError, match=meant):
        QueryParser(RangeQuery, ManualClock(START_NS)).parse(f"start={text}")


@pytest.mark.parametrize("text", ["0", "99999999", "100000000000000000", "1735689600000000000"])
def test_an_integer_in_nanoseconds_is_taken(text: str) -> None:
    parsed = QueryParser(RangeQuery, ManualClock(START_NS)).parse(f"start={text}")
    assert parsed.query.start == int(text)


async def test_a_list_in_seconds_is_refused(caller: Caller) -> None:
    problem = (await caller.get("fills?start=1735689600")).problem("invalid-parameter")
    assert problem["errors"][0]["field"] == "start"
    assert "seconds" in problem["detail"]


async def test_a_list_takes_a_relative_range(stored: Stack, stored_caller: Caller) -> None:
    now_ns = stored.clock.time_ns()
    fills = [fill(now_ns - minutes * MINUTE_NS, minutes) for minutes in (5, 20, 90)]
    await stored_caller.send({"source": "bot", "epoch": 7, "first_sequence": 1, "events": fills})
    for query, found in {
        "start=-10m": ["f5"],
        "start=-1h&end=-10m": ["f20"],
        "end=-1h": ["f90"],
        f"start={format_time(now_ns - 30 * MINUTE_NS)}&end=-10m": ["f20"],
    }.items():
        answer = await stored_caller.get(f"fills?{query}")
        assert [item["fill_id"] for item in answer.body["items"]] == found, query


async def test_a_history_takes_a_relative_range_in_query_and_body(
    stored: Stack, stored_caller: Caller
) -> None:
    now_ns = stored.clock.time_ns()
    number = (now_ns - START_NS) // 100_000_000
    for minutes in (5, 50):
        stored.publish_cycle(number - minutes * 600)
    await stored.all_stored(2)
    answer = await stored_caller.get("metrics/history?collector=probe&start=-10m")
    assert answer.body["series"][0]["fields"]["ticks"] == [number - 3000]
    by_body = await stored_caller.post(
        "metrics/history", json={"collector": "probe", "start": "-1h", "end": "-10m"}
    )
    assert by_body.body["series"][0]["fields"]["ticks"] == [number - 30_000]


@pytest.mark.parametrize("codec", ["application/json", MSGPACK])
async def test_nanoseconds_are_strings_on_request(stored_caller: Caller, codec: str) -> None:
    times = [START_NS, START_NS + 60]  # 60 ns apart: the same double
    fills = [fill(time_ns, number) for number, time_ns in enumerate(times)]
    batch = {"source": "bot", "epoch": START_NS + 1, "first_sequence": 1, "events": fills}
    await stored_caller.send(batch)
    plain = (await stored_caller.get("fills", headers={"Accept": codec})).body["items"]
    assert [item["time_ns"] for item in plain] == times[::-1]
    texts = (await stored_caller.get("fills?times=string", headers={"Accept": codec})).body["items"]
    assert [item["time_ns"] for item in texts] == [str(time_ns) for time_ns in times[::-1]]
    assert texts[0]["epoch"] == str(START_NS + 1)
    assert texts[0]["sequence"] == 2
    assert texts[0]["received_ns"].isdigit()
    found = (await stored_caller.get(f"fills?times=string&start={texts[0]['time_ns']}")).body["items"]
    assert [item["fill_id"] for item in found] == ["f1"]


async def test_the_times_of_a_history_are_strings_on_request(stored: Stack, stored_caller: Caller) -> None:
    first_ns = stored.publish_cycle(1)
    await stored.all_stored(1)
    answer = await stored_caller.get(
        f"metrics/history?collector=probe&times=string&start={START_NS}&end={START_NS + MINUTE_NS}"
    )
    (series,) = answer.body["series"]
    assert series["time_ns"] == [str(first_ns)]
    assert series["fields"] == {"mid": [1.5], "ticks": [1]}


async def test_a_parameter_chooses_the_codec(caller: Caller) -> None:
    answer = await caller.get("ping?format=msgpack&times=string", headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"] == MSGPACK
    assert answer.body["time_ns"].isdigit()
    packed = await caller.get("ping?format=json", headers={"Accept": MSGPACK})
    assert packed.headers["Content-Type"] == "application/json"


async def test_alerts_and_bars_take_both(stored: Stack, stored_caller: Caller) -> None:
    await stored.emit(*example_events(START_NS))
    await stored.all_stored()
    bars = (await stored_caller.get("market/bars/EUR/USD?timeframe=1d&times=string")).body["items"]
    assert [bar["time_ns"] for bar in bars] == [str(START_NS)]
    assert (await stored_caller.get("alerts?start=-1d&times=string")).body["items"] == []
