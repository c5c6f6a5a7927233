from __future__ import annotations

from collections.abc import Sequence

import pytest

from storage.database import Database
from storage.query.history import raw_samples as module
from storage.query.history.history import History, Limits, UnknownFieldError
from storage.query.queries import Queries
from tests.storage.query.buckets_by_hand import store_books
from tests.storage_examples import (
    BOOK,
    CYCLE_NS,
    MACHINE,
    RECORDER,
    START_NS,
    Verdict,
    book,
    books,
    machine,
    store,
)

END_NS = START_NS + 3600 * 10**9


async def fill_table(database: Database, ticks: Sequence[int], instruments: str = "ab") -> None:
    samples = {tick: [book(name, mid=tick / 4, gaps=tick) for name in instruments] for tick in ticks}
    await store_books(database, samples)  # not in order of time: so late data arrives


def shape(history: History) -> dict[str, list[int]]:
    """The ticks that were answered, by instrument."""
    return {
        series.key["instrument"]: [(time_ns - START_NS) // CYCLE_NS for time_ns in series.time_ns]
        for series in history.series
    }


async def test_a_history_is_columns_by_key_sorted_by_time(database: Database) -> None:
    await fill_table(database, [2, 0, 1], instruments="ba")
    history = await Queries(database).history(BOOK, ["gaps", "mid"], {}, START_NS, END_NS)
    assert history.tier == "raw"
    assert history.next_start_ns is None
    assert [series.key for series in history.series] == [
        {"recorder": RECORDER, "venue": "sim", "instrument": "a"},
        {"recorder": RECORDER, "venue": "sim", "instrument": "b"},
    ]
    for series in history.series:
        assert series.time_ns == [START_NS + tick * CYCLE_NS for tick in range(3)]
        assert series.fields == {"gaps": [0, 1, 2], "mid": [0.0, 0.25, 0.5]}


async def test_all_fields_come_where_none_is_named(database: Database) -> None:
    await store(database, books(0, book(mid=None, gaps=3, verdict=Verdict.STALE, crossed=True)))
    (series,) = (await Queries(database).history(BOOK, [], {}, START_NS, END_NS)).series
    assert series.fields == {"mid": [None], "gaps": [3], "verdict": ["stale"], "crossed": [True]}


async def test_the_end_of_a_range_is_not_in_it(database: Database) -> None:
    await fill_table(database, range(5))
    queries = Queries(database)

    async def between(start_ns: int, end_ns: int) -> list[int]:
        return shape(await queries.history(BOOK, ["mid"], {}, start_ns, end_ns)).get("a", [])

    first, last = START_NS + CYCLE_NS, START_NS + 3 * CYCLE_NS
    assert await between(first, last) == [1, 2]
    assert await between(first + 1, last + 1) == [2, 3]
    assert await between(first - 1, last - 1) == [1, 2]
    assert await between(last, first) == []
    assert await between(-5, 2**70) == [0, 1, 2, 3, 4]


async def test_keys_can_be_chosen(database: Database) -> None:
    await fill_table(database, range(2), instruments="abc")
    for instruments, found in ((["b"], "b"), (["a", "c", "\0"], "ac"), (["\0"], ""), ([], "")):
        chosen = {"venue": ["sim"], "instrument": instruments}
        history = await Queries(database).history(BOOK, ["mid"], chosen, START_NS, END_NS)
        assert "".join(shape(history)) == found


async def test_values_in_a_filter_are_never_sql(database: Database) -> None:
    await fill_table(database, range(2))
    history = await Queries(database).history(
        BOOK, ["mid"], {"instrument": ["a' OR '1'='1"]}, START_NS, END_NS
    )
    assert history.series == []


async def test_what_is_not_declared_is_refused(database: Database) -> None:
    cases: list[tuple[list[str], dict[str, list[str]]]] = [
        (["nothing"], {}),
        (["venue"], {}),
        ([], {"mid": ["1"]}),
    ]
    for fields, key_filter in cases:
        with pytest.raises(UnknownFieldError):
            await Queries(database).history(BOOK, fields, key_filter, START_NS, END_NS)


async def test_a_capped_answer_says_where_to_go_on(database: Database) -> None:
    await fill_table(database, range(10), instruments="abc")
    for max_rows in (1, 3, 5, 6, 7, 100):
        await assert_complete(database, max_rows)


async def assert_complete(database: Database, max_rows: int) -> None:
    collected: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    start_ns: int | None = START_NS
    answers = 0
    while start_ns is not None:
        history = await Queries(database).history(
            BOOK, ["mid"], {}, start_ns, END_NS, limits=Limits(rows=max_rows)
        )
        found = shape(history)
        assert sum(map(len, found.values())) <= max(3, max_rows)
        for name, ticks in found.items():
            collected[name] += ticks
        start_ns = history.next_start_ns
        answers += 1
    assert collected == {key: list(range(10)) for key in "abc"}
    assert answers >= 30 // max(3, max_rows)


async def test_many_rows_are_fetched_in_parts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    await fill_table(database, range(20), instruments="abc")
    history = await Queries(database).history(BOOK, ["gaps"], {}, START_NS, END_NS)
    assert shape(history) == {key: list(range(20)) for key in "abc"}
    assert [series.fields["gaps"] for series in history.series] == [list(range(20))] * 3
    assert history.next_start_ns is None


async def test_an_instant_larger_than_a_part_comes_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    await fill_table(database, range(4), instruments="abcde")
    history = await Queries(database).history(BOOK, ["gaps"], {}, START_NS, END_NS)
    assert shape(history) == {key: list(range(4)) for key in "abcde"}


async def test_a_sample_without_a_key_is_one_series(database: Database) -> None:
    await store(database, *map(machine, range(3)))
    queries = Queries(database)
    (series,) = (await queries.history(MACHINE, ["load"], {}, START_NS, END_NS)).series
    assert series.key == {"recorder": RECORDER}
    assert series.fields == {"load": [0.0, 1.0, 2.0]}
    assert (await queries.history(MACHINE, ["load"], {}, END_NS, END_NS + 1)).series == []
