"""Histories in buckets and by a body, as the API answers them."""

from __future__ import annotations

from typing import Any

import pytest

from decahertz.clock import CYCLE_NS, NS_PER_SECOND, format_time
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import START_NS, Stack

CYCLES = 50
SPAN = f"start={START_NS}&end={START_NS + CYCLES * CYCLE_NS}"
BODY = {"collector": "probe", "start": START_NS, "end": START_NS + CYCLES * CYCLE_NS}


@pytest.fixture
async def asked(stored: Stack, stored_caller: Caller) -> Caller:
    """The API of a database with some samples of two instruments."""
    for number in range(CYCLES):
        stored.publish_cycle(number, ["A", "B"])
    await stored.all_stored(2 * CYCLES)
    return stored_caller


async def test_a_step_gives_buckets_with_last_min_max_and_average_of_gauges(asked: Caller) -> None:
    answer = await asked.get(f"metrics/history?collector=probe&instrument=B&step=1s&{SPAN}")
    assert answer.body["step_ns"] == NS_PER_SECOND
    (series,) = answer.body["series"]
    assert series["time_ns"] == [START_NS + second * NS_PER_SECOND for second in range(5)]
    assert series["fields"] == {
        "mid": {"last": [1.5] * 5, "min": [1.5] * 5, "max": [1.5] * 5, "avg": [1.5] * 5},
        "ticks": {"last": [9, 19, 29, 39, 49]},
    }


async def test_max_points_bounds_every_series(asked: Caller) -> None:
    answer = await asked.get(f"metrics/history?collector=probe&max_points=7&fields=ticks&{SPAN}")
    assert answer.body["step_ns"] == NS_PER_SECOND
    assert [len(series["time_ns"]) for series in answer.body["series"]] == [5, 5]
    enough = await asked.get(f"metrics/history?collector=probe&max_points={CYCLES}&fields=ticks&{SPAN}")
    assert (enough.body["tier"], enough.body["step_ns"]) == ("raw", None)
    assert enough.body["series"][0]["fields"]["ticks"] == list(range(CYCLES))


async def test_a_tier_is_answered_in_its_buckets(asked: Caller) -> None:
    answer = await asked.get(f"metrics/history?collector=probe&tier=1m&fields=ticks&{SPAN}")
    assert answer.body["step_ns"] == 60 * NS_PER_SECOND
    assert [series["fields"]["ticks"]["last"] for series in answer.body["series"]] == [[49], [49]]


async def test_a_long_range_is_answered_in_buckets_and_as_taken_where_that_is_asked_for(
    asked: Caller,
) -> None:
    day = f"start={START_NS}&end={START_NS + 86_400 * NS_PER_SECOND}"
    short = await asked.get(f"metrics/history?collector=probe&fields=ticks&{day}")
    assert short.body["step_ns"] == 60 * NS_PER_SECOND
    taken = await asked.get(f"metrics/history?collector=probe&fields=ticks&tier=raw&{day}")
    assert (taken.body["tier"], taken.body["step_ns"]) == ("raw", None)
    assert len(taken.body["series"][0]["time_ns"]) == CYCLES


@pytest.mark.parametrize("codec", ["application/json", MSGPACK])
async def test_a_body_asks_the_same_as_an_address(asked: Caller, codec: str) -> None:
    by_address = await asked.get(f"metrics/history?collector=probe&instrument=B&fields=mid&step=2s&{SPAN}")
    body = BODY | {"key": {"instrument": ["B"]}, "fields": ["mid"], "step": "2s"}
    by_body = await asked.send(body, codec, "metrics/history")
    assert by_body.body == by_address.body
    times = {name: format_time(BODY[name]) for name in ("start", "end")}  # type: ignore[arg-type]
    assert (await asked.send(body | times, codec, "metrics/history")).body == by_address.body


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"tier": "10s"}, 422, "invalid-body"),
        ({"step": "0s"}, 422, "invalid-body"),
        ({"step": "50ms"}, 400, "invalid-parameter"),
        ({"max_points": 1}, 422, "invalid-body"),
        ({"start": -1}, 422, "invalid-body"),
        ({"start": "yesterday"}, 422, "invalid-body"),
        ({"end": "2300-01-01T00:00:00Z"}, 422, "invalid-body"),
        ({"start": 2, "end": 1}, 400, "invalid-parameter"),
        ({"collector": "nothing"}, 400, "invalid-parameter"),
        ({"key": {"strategy": ["s"]}}, 400, "invalid-parameter"),
        ({"key": {"venue": []}}, 422, "invalid-body"),
        ({"fields": ["nothing"]}, 400, "invalid-parameter"),
        ({"sort": "up"}, 422, "invalid-body"),
    ],
)
async def test_a_bad_body_is_refused(caller: Caller, change: dict[str, Any], status: int, kind: str) -> None:
    answer = await caller.send(BODY | change, path="metrics/history")
    assert (answer.status, answer.problem(kind)["status"]) == (status, status)
