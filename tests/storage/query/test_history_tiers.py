"""Histories from the tiers of both engines, beside a computation in plain Python."""

from __future__ import annotations

import asyncpg
import pytest

from storage.database import Database
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.tiers.names import Tier, relation_of
from tests.storage.query.buckets_by_hand import answered, naive, some_books, store_books
from tests.storage_examples import BOOK, CYCLE_NS, START_NS, book, books, store
from tests.tiered_database import TieredDatabase

SECOND_NS = 10**9
END_NS = START_NS + 3600 * SECOND_NS
STEPS = {
    1: Tier.S1,
    7: Tier.S1,
    60: Tier.M1,
    120: Tier.M1,
    3600: Tier.H1,
    7200: Tier.H1,
}


@pytest.mark.parametrize("rolled", [False, True])
async def test_every_tier_answers_what_plain_python_makes_of_the_samples(
    tiered_database: TieredDatabase, *, rolled: bool
) -> None:
    samples = some_books(11, 3000, "ab")
    await store_books(tiered_database.database, samples)
    if rolled:
        await tiered_database.worker.run_once()
    queries = Queries(tiered_database.database)
    for seconds, tier in STEPS.items():
        request = ResolutionRequest(step_ns=seconds * SECOND_NS)
        history = await queries.history(BOOK, [], {}, START_NS, END_NS, request=request)
        assert (history.tier, history.step_ns) == (tier, seconds * SECOND_NS)
        for series in history.series:
            assert answered(series) == naive(samples, series.key["instrument"], seconds * SECOND_NS)
        assert len(history.series) == 2


async def test_tiers_and_samples_give_the_same_answers(tiered_database: TieredDatabase) -> None:
    database = tiered_database.database
    await store_books(database, some_books(12, 2000, "a"))
    await tiered_database.worker.run_once()
    await store(database, books(9500, book("a", mid=3.0)))  # the clock stands at 9000
    await assert_same_answers(database)  # what is newer than the last round is there at once
    await store(database, books(-5000, book("a", mid=4.0)), books(1000, book("a", mid=5.0)))
    await tiered_database.worker.run_once()
    await assert_same_answers(database)  # what came late is there with the next round


async def assert_same_answers(database: Database) -> None:
    queries, start_ns = Queries(database), START_NS - 6000 * CYCLE_NS
    for request in (
        ResolutionRequest(step_ns=SECOND_NS),
        ResolutionRequest(step_ns=60 * SECOND_NS),
        ResolutionRequest(max_points=50),
    ):
        by_tier = await queries.history(BOOK, ["gaps", "verdict"], {}, start_ns, END_NS, request=request)
        assert by_tier.tier is not Tier.RAW
        by_hand = await queries.history(
            BOOK,
            ["gaps", "verdict"],
            {},
            start_ns,
            END_NS,
            request=ResolutionRequest(Tier.RAW, by_tier.step_ns),
        )
        assert by_hand.tier is Tier.RAW
        assert by_tier.series == by_hand.series


async def test_a_tier_that_goes_away_is_replaced_by_the_samples(database: Database) -> None:
    await store_books(database, {tick: [book(gaps=tick)] for tick in range(20)})
    queries, request = Queries(database), ResolutionRequest(tier=Tier.S1)

    async def last() -> tuple[Tier, list[object]]:
        history = await queries.history(BOOK, ["gaps"], {}, START_NS, END_NS, request=request)
        found = answered(history.series[0], ["gaps"])
        return history.tier, [row["gaps"] for row in found.values()]

    assert await last() == (Tier.RAW, [9, 19])
    columns = ", ".join(
        f"NULL::{kind} AS {name}"
        for name, kind in {
            "mid_last": "double precision",
            "mid_min": "double precision",
            "mid_max": "double precision",
            "mid_sum": "double precision",
            "mid_count": "bigint",
            "verdict_last": "text",
            "crossed_last": "boolean",
            "samples": "bigint",
        }.items()
    )
    view = f"SELECT time, recorder, venue, instrument, gaps AS gaps_last, {columns} FROM book_samples"  # noqa: S608 - ours
    for tier in (Tier.S1, Tier.M1, Tier.H1):
        await execute(database, f'CREATE VIEW "{relation_of(BOOK, tier)}" AS {view} WHERE gaps = 10')
    assert await last() == (Tier.S1, [10])
    for tier in (Tier.S1, Tier.M1, Tier.H1):
        await execute(database, f'DROP VIEW "{relation_of(BOOK, tier)}"')
    with pytest.raises(asyncpg.UndefinedTableError):
        await execute(database, f'SELECT FROM "{relation_of(BOOK, Tier.S1)}"')
    assert await last() == (Tier.RAW, [9, 19])


async def execute(database: Database, statement: str) -> None:
    async with database.query() as connection:
        await connection.execute(statement)
