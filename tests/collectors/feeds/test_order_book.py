from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.feeds.order_book import BookSide, OrderBook, TopOfBook

_PRICES = st.integers(1, 30).map(lambda ticks: ticks / 4)
_SIZES = st.sampled_from([0.0, 0.5, 1.0, 7.25])
_LEVELS = st.lists(st.tuples(_PRICES, _SIZES), max_size=60)


@settings(max_examples=200)
@given(snapshot=_LEVELS, changes=_LEVELS, depth=st.none() | st.integers(1, 5), is_bid=st.booleans())
def test_levels_are_those_of_a_naive_book_and_behind_the_depth_they_are_forgotten(
    snapshot: list[tuple[float, float]],
    changes: list[tuple[float, float]],
    depth: int | None,
    is_bid: bool,  # noqa: FBT001 - hypothesis passes by name
) -> None:
    side = BookSide(is_bid=is_bid, depth=depth)
    side.replace(snapshot)

    def cut(levels: dict[float, float]) -> dict[float, float]:
        kept = sorted((price for price, size in levels.items() if size), reverse=is_bid)[:depth]
        return {price: levels[price] for price in kept}

    naive = cut(dict(snapshot))  # which may name a price twice: the last one counts, deleted or not
    assert side.best == next(iter(naive.items()), None)
    for price, size in changes:
        side.set(price, size)
        naive = cut({**naive, price: size})
        assert len(side._keys) == len(naive)
        assert side.best == next(iter(naive.items()), None)


def test_an_empty_side_has_neither_price_nor_size() -> None:
    book = OrderBook()
    book.asks.set(101.0, 2.0)
    assert book.top == TopOfBook(None, None, 101.0, 2.0)


def test_deleting_a_level_that_is_not_there_changes_nothing() -> None:
    side = BookSide(is_bid=True)
    side.set(100.0, 1.0)
    side.set(99.0, 0.0)
    assert side.best == (100.0, 1.0)
    assert len(side._keys) == 1
