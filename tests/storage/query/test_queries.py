from __future__ import annotations

import base64

import msgspec
import pytest

from decahertz.event import Fill, Liquidity, Side
from decahertz.wire import Codec, encode
from storage.database import Database, DatabaseUnavailableError
from storage.query.instruments import InstrumentInfo
from storage.query.pagination import CursorError
from storage.query.queries import FillFilter, Page, Queries, RoundTripFilter, StoredFill
from tests.storage_examples import START_NS, arrival, fill, quote, store


def deals(count: int) -> list[Fill]:
    """Buys and sells in turn: every second fill closes a trade."""
    sides = (Side.BUY, Side.SELL)
    return [fill(n, sides[n % 2], 1.0, 10.0 + n, instrument="ab"[n // 2 % 2]) for n in range(count)]


async def test_fills_come_newest_first_with_their_identity(database: Database) -> None:
    given = [fill(1, Side.BUY, 1.5, 10.0), fill(2, Side.SELL, 1.0, 11.0, liquidity=Liquidity.MAKER, risk=3.0)]
    await store(database, arrival(5, given))
    page = await Queries(database).fills(FillFilter(), limit=10)
    assert page.next_cursor is None
    found = [{name: one[name] for name in Fill.__struct_fields__} for one in page.items]
    assert [msgspec.convert(values, Fill) for values in found] == given[::-1]
    newest = page.items[0]
    assert [newest[name] for name in ("source", "epoch", "sequence")] == ["loop", 7, 6]
    assert newest["received_ns"] == START_NS + 5
    assert newest.__struct_fields__ == StoredFill.__struct_fields__


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_hold_every_row_once(database: Database, limit: int) -> None:
    await store(database, arrival(1, deals(20)))
    # The same instants again, from another emitter: the cursor has to tell them apart.
    await store(database, arrival(1, deals(20), "other"))
    queries = Queries(database)
    found = []
    cursor: str | None = None
    while True:
        page = await queries.fills(FillFilter(), limit=limit, cursor=cursor)
        found += [(stored["time_ns"], stored["source"]) for stored in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.items) == limit
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found) == 40


async def test_a_fill_that_comes_in_between_does_not_shift_the_pages(database: Database) -> None:
    queries = Queries(database)
    await store(database, arrival(1, deals(4)))
    first = await queries.fills(FillFilter(), limit=2)
    await store(database, arrival(5, [fill(99, Side.BUY, 1.0, 1.0)]))
    second = await queries.fills(FillFilter(), limit=2, cursor=first.next_cursor)
    numbers = [stored["time_ns"] - START_NS for page in (first, second) for stored in page.items]
    assert numbers == [3, 2, 1, 0]


async def test_fills_can_be_chosen(database: Database) -> None:
    await store(database, arrival(1, deals(6)))
    for which, numbers in [
        (FillFilter(instrument="a"), [5, 4, 1, 0]),
        (FillFilter(instrument="a", order_id="o4"), [4]),
        (FillFilter(start_ns=START_NS + 2, end_ns=START_NS + 4), [3, 2]),
        (FillFilter(instrument="a\0"), []),
        (FillFilter(venue="\ud800"), []),
        (FillFilter(start_ns=-(2**80), end_ns=2**80), [5, 4, 3, 2, 1, 0]),
        (FillFilter(strategy="nobody"), []),
        (FillFilter(venue="sim", strategy="trend", start_ns=START_NS + 5), [5]),
    ]:
        page = await Queries(database).fills(which, limit=10)
        assert [stored["time_ns"] - START_NS for stored in page.items] == numbers, which


async def test_trades_come_last_closed_first_and_by_time_of_closing(database: Database) -> None:
    await store(database, arrival(1, deals(8)))
    queries = Queries(database)
    first = await queries.trades(RoundTripFilter(), limit=3)
    second = await queries.trades(RoundTripFilter(), limit=3, cursor=first.next_cursor)
    assert [trade["closed_ns"] - START_NS for trade in first.items + second.items] == [7, 5, 3, 1]
    assert second.next_cursor is None
    chosen = await queries.trades(
        RoundTripFilter(strategy="trend", instrument="b", start_ns=START_NS + 3, end_ns=START_NS + 7), limit=9
    )
    assert [trade["closed_ns"] - START_NS for trade in chosen.items] == [3]


def forged(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


async def test_a_cursor_that_is_none_is_refused(database: Database) -> None:
    wrong = (b"\x92\xa5fills\x01", b"\x92\xa5fills\x94\xff\xa0\x00\x00")
    for cursor in ("", "x", "?!", "a" * 5000, *map(forged, wrong), "é"):
        with pytest.raises(CursorError):
            await Queries(database).fills(FillFilter(), limit=1, cursor=cursor)


async def test_a_cursor_of_another_list_is_refused(database: Database) -> None:
    await store(database, arrival(1, deals(4)))
    queries = Queries(database)
    page = await queries.fills(FillFilter(), limit=1)
    with pytest.raises(CursorError, match="another list"):
        await queries.trades(RoundTripFilter(), limit=1, cursor=page.next_cursor)


async def test_instruments_are_listed_with_first_and_last_sight(database: Database) -> None:
    await store(database, arrival(1, [quote(3, "b"), quote(1, "a"), quote(2, "a")]))
    assert await Queries(database).instruments() == [
        InstrumentInfo(venue="sim", instrument="a", first_ns=START_NS + 1, last_ns=START_NS + 2),
        InstrumentInfo(venue="sim", instrument="b", first_ns=START_NS + 3, last_ns=START_NS + 3),
    ]


async def test_a_database_that_is_away_is_said_so(database: Database) -> None:
    queries = Queries(database)
    await database.close()
    with pytest.raises(DatabaseUnavailableError):
        await queries.instruments()


NUMBERS = [0.1, 1e-300, 1.7976931348623157e308, 5e-324, 1e16, 100.0, -0.0, 2.0**53 + 2]


@pytest.mark.parametrize("codec", list(Codec))
async def test_a_page_of_rows_is_encoded_like_its_items(database: Database, codec: Codec) -> None:
    start_ns = 2**63 - 1000  # larger than a double can tell apart
    fills = [
        msgspec.structs.replace(
            fill(1, Side.BUY, 1.0, abs(number) or 1.0, instrument='"\\\u2028é🦉', liquidity=Liquidity.TAKER),
            time_ns=start_ns + n,
            fee=number,
        )
        for n, number in enumerate(NUMBERS)
    ]
    await store(database, arrival(1, fills))
    page = await Queries(database).fills(FillFilter(), limit=3)
    for rows in (page, await Queries(database).fills(FillFilter(), limit=9, cursor=page.next_cursor)):
        items = [msgspec.convert(row, StoredFill) for row in rows.items]
        assert encode(codec, rows) == encode(codec, Page(items=items, next_cursor=rows.next_cursor))
        given = {one.time_ns: one.fee for one in fills}
        assert all(given[one.time_ns] == one.fee for one in items)
