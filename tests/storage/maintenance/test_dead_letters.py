"""Dead letters are listed with their reasons, and stored again once the cause is gone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from decahertz.clock import SystemClock
from decahertz.event import Side
from decahertz.sample import SampleSchema
from storage.database import Database
from storage.maintenance.dead_letters import Replayed, count_letters, list_letters, replay_letters
from storage.write.dead_letters import ENTRY, DeadLetterRow, save_dead_letters
from tests.storage_examples import BOOK, RECORDER, START_NS, Bench, arrival, book, books, fill, quote, writing

pytestmark = pytest.mark.timeout(60)


async def replay(
    database: Database, ids: Sequence[int] | None = None, schemas: Sequence[SampleSchema] = (BOOK,)
) -> Replayed:
    return await replay_letters(database, SystemClock(), schemas, ids=ids, report=lambda done: None)  # noqa: ARG005 - nobody looks


async def forbid(bench: Bench, table: str, condition: str) -> None:
    await bench.rows(f"ALTER TABLE {table} ADD CONSTRAINT forbidden CHECK ({condition})")


async def allow(bench: Bench, table: str) -> None:
    await bench.rows(f"ALTER TABLE {table} DROP CONSTRAINT forbidden")


async def test_they_are_listed_newest_first_with_reason_and_content(database: Database) -> None:
    async with writing(database) as bench:
        await forbid(bench, "quotes", "bid < 4")
        await bench.append(arrival(1, [quote(number) for number in range(1, 6)]))
        newest, older, *rest = await list_letters(database, limit=3)
        assert (newest.sequence, older.sequence) == (5, 4)
        assert len(rest) == 1
        assert newest.content["bid"] == 6.0
        assert newest.content["type"] == "quote"
        assert "forbidden" in newest.reason
        assert (newest.source, newest.epoch, newest.stream, newest.kind) == (
            "loop",
            7,
            "events:loop",
            "event",
        )
        assert await count_letters(database) == 3
        assert await count_letters(database, stream="events:other") == 0
        assert await list_letters(database, stream="events:other", limit=10) == []


async def test_an_event_is_stored_as_it_would_have_been_and_only_once(database: Database) -> None:
    async with writing(database) as bench:
        await forbid(bench, "fills", "price <> 110")
        batch = arrival(1, [fill(1, Side.BUY, 2, 100), fill(2, Side.SELL, 2, 110)])
        await bench.append(batch)
        assert await bench.value("SELECT count(*) FROM trades") == 0
        await allow(bench, "fills")
        assert await replay(database) == Replayed(stored=1, refused={})
        row = (await bench.rows("SELECT * FROM fills WHERE sequence = 2"))[0]
        assert (row["source"], row["epoch"], row["fill_id"]) == ("loop", 7, "f2")
        assert row["received_ns"] == batch.received_ns
        assert await bench.value("SELECT pnl FROM trades") == 20
        assert await replay(database) == Replayed(stored=0, refused={})
        receipt = await bench.append(batch)
        assert (receipt.accepted, receipt.duplicates) == (0, 2)
        assert await bench.value("SELECT count(*) FROM fills") == 2


async def test_a_sample_is_stored_under_its_original_time(database: Database) -> None:
    async with writing(database) as bench:
        await forbid(bench, "book_samples", "gaps < 2")
        bench.sample(books(0, book(gaps=1), book("BTC/USD", gaps=2, mid=1.5, crossed=True)))
        await bench.drained()
        assert await count_letters(database, stream="samples:book") == 1
        await allow(bench, "book_samples")
        assert (await replay(database)).stored == 1
        row = (await bench.rows("SELECT * FROM book_samples WHERE instrument = 'BTC/USD'"))[0]
        assert (row["gaps"], row["mid"], row["crossed"], row["verdict"]) == (2, 1.5, True, "live")
        first = (await bench.rows("SELECT * FROM book_samples WHERE instrument = 'EUR/USD'"))[0]
        assert row["time"] == first["time"]


async def test_a_row_that_is_refused_again_stays_with_its_reason(database: Database) -> None:
    async with writing(database) as bench:
        await forbid(bench, "quotes", "bid < 4")
        await bench.append(arrival(1, [quote(number) for number in range(1, 6)]))
        await allow(bench, "quotes")
        await bench.rows("ALTER TABLE quotes ADD CONSTRAINT still CHECK (bid < 6) NOT VALID")
        replayed = await replay(database)
        (left,) = await list_letters(database, limit=10)
        assert replayed.stored == 2
        assert replayed.refused.keys() == {left.id}
        assert "still" in replayed.refused[left.id]
        assert left.sequence == 5
        assert await bench.value("SELECT array_agg(sequence ORDER BY sequence) FROM quotes") == [1, 2, 3, 4]
        # The event still counts as stored, so a resend is a duplicate.
        receipt = await bench.append(arrival(5, [quote(5)]))
        assert receipt.duplicates == 1


async def test_dead_letters_can_be_chosen_by_id(database: Database) -> None:
    async with writing(database) as bench:
        await forbid(bench, "quotes", "bid < 4")
        await bench.append(arrival(1, [quote(number) for number in range(1, 6)]))
        await allow(bench, "quotes")
        chosen = (await list_letters(database, limit=10))[1]
        assert await replay(database, [chosen.id, 10**9]) == Replayed(stored=1, refused={})
        assert [letter.sequence for letter in await list_letters(database, limit=10)] == [5, 3]


async def test_unreadable_rows_are_refused_and_kept(database: Database) -> None:
    async with writing(database) as bench:
        odd = msgspec.msgpack.encode({"type": "quote", "venue": "sim", "colour": "red"})
        known: dict[str, Any] = {
            "reason": "r",
            "batch_id": uuid.uuid4(),
            "row_time_ns": START_NS,
            "received_ns": START_NS,
        }
        event: dict[str, Any] = {"kind": "event", "source": "loop", "epoch": 7, "sequence": 1}
        async with database.query() as connection:
            await save_dead_letters(
                connection,
                RECORDER,
                [
                    DeadLetterRow(**known, **event, stream="events:loop", payload=odd),
                    DeadLetterRow(**known, kind="sample", stream="samples:gone", payload=odd),
                    DeadLetterRow(**known, kind="sample", stream="samples:book", payload=odd),
                    DeadLetterRow(**known, kind=ENTRY, stream="samples:book", rows=7, payload=b"\xc1"),
                ],
            )
        replayed = await replay(database)
        assert replayed.stored == 0
        reasons = [replayed.refused[id_] for id_ in sorted(replayed.refused)]
        assert len(reasons) == 4
        for reason, word in zip(reasons, ("colour", "samples:gone", "declaration", "entry"), strict=True):
            assert word in reason
        assert await bench.value("SELECT count(*) FROM dead_letters") == 4
        assert await count_letters(database) == len(await list_letters(database, limit=10))
