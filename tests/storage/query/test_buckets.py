"""Histories in buckets, from the raw samples, beside a computation in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from decahertz.fakes import ManualClock
from storage.database import Database
from storage.query.history import buckets as module
from storage.query.history.buckets import Summary
from storage.query.history.history import Limits
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.settings import RetentionSettings
from storage.tiers.names import Tier
from tests.storage.query.buckets_by_hand import answered, naive, some_books, store_books, summary
from tests.storage_examples import BOOK, CYCLE_NS, MACHINE, RECORDER, START_NS, book, books, machine, store

SECOND_NS = 10**9
END_NS = START_NS + 3600 * SECOND_NS


@pytest.mark.parametrize("step_ns", [CYCLE_NS, 3 * CYCLE_NS, SECOND_NS, 7 * SECOND_NS, 60 * SECOND_NS])
async def test_buckets_of_raw_samples_are_what_plain_python_makes_of_them(
    database: Database, step_ns: int
) -> None:
    samples = some_books(step_ns % 97, 900, "ab")
    await store_books(database, samples)
    history = await Queries(database).history(
        BOOK, [], {}, START_NS, END_NS, request=ResolutionRequest(step_ns=step_ns)
    )
    assert (history.tier, history.step_ns, history.next_start_ns) == (Tier.RAW, step_ns, None)
    assert [series.key["instrument"] for series in history.series] == ["a", "b"]
    for series in history.series:
        assert series.time_ns == sorted(series.time_ns)
        assert answered(series) == naive(samples, series.key["instrument"], step_ns)


async def test_late_samples_count_where_they_belong(database: Database) -> None:
    await store_books(database, {tick: [book(mid=float(tick), gaps=tick)] for tick in (3, 1, 2, 0)})
    request = ResolutionRequest(step_ns=SECOND_NS)
    (series,) = (
        await Queries(database).history(BOOK, ["mid", "gaps"], {}, START_NS, END_NS, request=request)
    ).series
    assert summary(series, "mid") == Summary(last=[3.0], min=[0.0], max=[3.0], avg=[1.5])
    assert summary(series, "gaps") == Summary(last=[3])


async def test_no_spike_disappears_however_few_points_are_wished_for(database: Database) -> None:
    spike = 777
    await store_books(database, {n: [book(mid=-50.0 if n == spike else 1.0)] for n in range(1000)})
    for most in (2, 3, 10, 99, 500):
        history = await Queries(database).history(
            BOOK,
            ["mid"],
            {},
            START_NS,
            START_NS + 1000 * CYCLE_NS,
            request=ResolutionRequest(max_points=most),
        )
        (series,) = history.series
        assert len(series.time_ns) <= most
        low = summary(series, "mid").min
        assert isinstance(low, list)
        position = low.index(-50.0)
        assert history.step_ns is not None
        assert (
            series.time_ns[position]
            <= START_NS + spike * CYCLE_NS
            < series.time_ns[position] + history.step_ns
        )


async def test_few_samples_are_answered_as_they_were_taken(database: Database) -> None:
    await store_books(database, {tick: [book(mid=float(tick))] for tick in range(10)})
    history = await Queries(database).history(
        BOOK, ["mid"], {}, START_NS, START_NS + 10 * CYCLE_NS, request=ResolutionRequest(max_points=10)
    )
    assert (history.tier, history.step_ns) == (Tier.RAW, None)
    assert history.series[0].fields == {"mid": [float(tick) for tick in range(10)]}


async def test_a_bucket_at_either_end_is_answered_whole(database: Database) -> None:
    await store_books(database, {tick: [book(gaps=tick)] for tick in range(30)})
    inside = (START_NS + 5 * CYCLE_NS, START_NS + 11 * CYCLE_NS + 1)
    request = ResolutionRequest(step_ns=SECOND_NS)
    (series,) = (await Queries(database).history(BOOK, ["gaps"], {}, *inside, request=request)).series
    assert series.time_ns == [START_NS, START_NS + SECOND_NS]
    assert summary(series, "gaps").last == [9, 19]


@pytest.mark.parametrize("at_once", [2, 1000])
async def test_a_capped_answer_says_where_to_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
    await store_books(database, {tick: [book(name, gaps=tick) for name in "abc"] for tick in range(100)})
    for max_rows in (1, 3, 4, 6, 7, 100):
        await assert_complete(database, max_rows)


async def assert_complete(database: Database, max_rows: int) -> None:
    collected: dict[str, list[Any]] = {"a": [], "b": [], "c": []}
    start_ns: int | None = START_NS
    while start_ns is not None:
        history = await Queries(database).history(
            BOOK,
            ["gaps"],
            {},
            start_ns,
            END_NS,
            request=ResolutionRequest(step_ns=SECOND_NS),
            limits=Limits(rows=max_rows),
        )
        assert 0 < sum(len(series.time_ns) for series in history.series) <= max(3, max_rows)
        for series in history.series:
            collected[series.key["instrument"]] += summary(series, "gaps").last
        start_ns = history.next_start_ns
    assert collected == {name: list(range(9, 100, 10)) for name in "abc"}


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"instrument": ["b"]}, "b"),
        ({"instrument": ["a", "c"], "venue": ["sim"]}, "ac"),
        ({"venue": ["\0"]}, ""),
    ],
)
async def test_keys_narrow_buckets_as_they_narrow_samples(
    database: Database, keys: dict[str, Sequence[str]], found: str
) -> None:
    await store_books(database, {0: [book(name) for name in "abc"]})
    history = await Queries(database).history(
        BOOK, [], keys, START_NS, END_NS, request=ResolutionRequest(step_ns=SECOND_NS)
    )
    assert [series.key["instrument"] for series in history.series] == list(found)


async def test_a_sample_without_a_key_is_one_series(database: Database) -> None:
    await store(database, *map(machine, range(20)))
    request = ResolutionRequest(tier=Tier.S1)
    (series,) = (await Queries(database).history(MACHINE, [], {}, START_NS, END_NS, request=request)).series
    assert series.key == {"recorder": RECORDER}
    assert summary(series, "load") == Summary(
        last=[9.0, 19.0], min=[0.0, 10.0], max=[9.0, 19.0], avg=[4.5, 14.5]
    )


async def test_what_raw_no_longer_keeps_is_answered_by_the_finest_tier_that_does(database: Database) -> None:
    await store(database, books(0, book(gaps=5)))
    clock = ManualClock(START_NS + 40 * 86_400 * SECOND_NS)
    queries = Queries(database, clock, RetentionSettings())
    history = await queries.history(
        BOOK, ["gaps"], {}, START_NS, START_NS + SECOND_NS, request=ResolutionRequest()
    )
    assert history.step_ns == 60 * SECOND_NS
    as_taken = await queries.history(BOOK, ["gaps"], {}, START_NS, START_NS + SECOND_NS)
    assert as_taken.step_ns is None
