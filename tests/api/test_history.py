"""Histories in buckets and by a body, as the API answers them."""

from __future__ import annotations

from typing import Any

import pytest

from decahertz.clock import CYCLE_NS, NS_PER_SECOND, format_time
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import START_NS, Stack, StoringSink, wait_for

TICKS = 50
SPAN = f"start={START_NS}&end={START_NS + TICKS * CYCLE_NS}"
BODY = {"collector": "probe", "start": START_NS, "end": START_NS + TICKS * CYCLE_NS}


@pytest.fixture
async def asked(stored: Stack, stored_caller: Caller) -> Caller:
    """The API of a database with some samples of two instruments."""
    for number in range(TICKS):
        stored.publish_cycle(number, ["A", "B"])
    writer = stored.sink
    assert isinstance(writer, StoringSink)
    await wait_for(lambda: writer.samples_stored == 2 * TICKS, "the samples are stored")
    return stored_caller


async def test_a_step_gives_buckets_with_last_min_max_and_average_of_gauges(asked: Caller) -> None:
    answer = await asked.get(f"metrics/history?collector=probe&instrument=B&step=1s&{SPAN}")
    assert answer.body["step_ns"] == NS_PER_SECOND
    (series,) = answer.body["series"]
    assert series["time_ns"] == [START_NS + second * NS_PER_SECOND for second in range(5)]
    assert series["fields"] == {
        "mid": {"last": [1.5] * 5, "min": [1.5] * 5, "max": [1.5] * 5, "avg": [1.5] * 5},
        "prints": {"last": [9, 19, 29, 39, 49]},
    }


async def test_max_points_bounds_every_series(asked: Caller) -> None:
    answer = await asked.get(f"metrics/history?collector=probe&max_points=7&fields=prints&{SPAN}")
    assert answer.body["step_ns"] == NS_PER_SECOND
    assert [len(series["time_ns"]) for series in answer.body["series"]] == [5, 5]
    enough = await asked.get(f"metrics/history?collector=probe&max_points={TICKS}&fields=prints&{SPAN}")
    assert (enough.body["tier"], enough.body["step_ns"]) == ("raw", None)
    assert enough.body["series"][0]["fields"]["prints"] == list(range(TICKS))


async def test_a_tier_is_answered_in_its_buckets(asked: Caller) -> None:
    answer = await asked.get(f"metrics/history?collector=probe&tier=1m&fields=prints&{SPAN}")
    assert answer.body["step_ns"] == 60 * NS_PER_SECOND
    assert [series["fields"]["prints"]["last"] for series in answer.body["series"]] == [[49], [49]]


async def test_a_long_range_is_answered_in_buckets_and_as_taken_where_that_is_asked_for(
    asked: Caller,
) -> None:
    day = f"start={START_NS}&end={START_NS + 86_400 * NS_PER_SECOND}"
    short = await asked.get(f"metrics/history?collector=probe&fields=prints&{day}")
    assert short.body["step_ns"] == 60 * NS_PER_SECOND
    taken = await asked.get(f"metrics/history?collector=probe&fields=prints&tier=raw&{day}")
    assert (taken.body["tier"], taken.body["step_ns"]) == ("raw", None)
    assert len(taken.body["series"][0]["time_ns"]) == TICKS


@pytest.mark.parametrize("codec", ["application/json", MSGPACK])
async def test_a_body_asks_the_same_as_an_address(asked: Caller, codec: str) -> None:
    by_address = await asked.get(f"metrics/history?collector=probe&instrument=B&fields=mid&step=2s&{SPAN}")
    body = BODY | {"key": {"instrument": ["B"]}, "fields": ["mid"], "step": "2s"}
    by_body = await asked.send(body, codec, "metrics/history")
    assert by_body.body == by_address.body
    times = {name: format_time(BODY[name]) for name in ("start", "end")}  # type: ignore[arg-type]
    assert (await asked.send(body | times, codec, "metrics/history")).body == by_address.body


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tier=10s", "tier"),
        ("tier=", "tier"),
        ("step=0s", "step"),
        ("step=-1s", "step"),
        ("step=1.5s", "step"),
        ("step=1w", "step"),
        ("step=50ms", "step"),
        ("step=150ms", "step"),
        ("step=367d", "step"),
        ("step=99999999999999999d", "step"),
        ("step=1s&tier=1m", "step"),
        ("max_points=1", "max_points"),
        ("max_points=50001", "max_points"),
        ("max_points=many", "max_points"),
    ],
)
async def test_a_wish_that_cannot_be_fulfilled_is_refused_by_name(
    caller: Caller, query: str, field: str
) -> None:
    answer = await caller.get(f"metrics/history?collector=probe&{query}")
    assert answer.status == 400
    assert [error["field"] for error in answer.problem("invalid-parameter")["errors"]] == [field]


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
