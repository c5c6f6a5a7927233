"""The feed ``rss`` against a web server: what is news, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.feeds.rss.feed import STATE_FILE, RssFeed, RssOptions
from collectors.feeds.rss.titles import RecentTitles, title_of
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import AnyEvent, Heartbeat, News
from tests.collectors.feeds.rss.server import Item, Page, Publisher, atom, rss

HOUR_NS = 3600 * NS_PER_SECOND
NOW_NS = SystemClock().time_ns() // NS_PER_SECOND * NS_PER_SECOND
LIMIT_SECONDS = 10.0


class Reading:
    """A running feed and what it has emitted."""

    def __init__(self, feed: RssFeed) -> None:
        self.feed = feed
        self.news: list[News] = []
        self.rounds = 0
        self.task: asyncio.Task[None]

    async def emit(self, events: Sequence[AnyEvent], received_ns: int) -> None:
        assert received_ns >= NOW_NS
        self.news += [event for event in events if isinstance(event, News)]
        self.rounds += sum(isinstance(event, Heartbeat) for event in events)

    async def polled(self, rounds: int = 1) -> list[News]:
        """Waits for so many more rounds; returns the news since the last call."""
        wanted = self.rounds + rounds
        await until(lambda: self.rounds >= wanted or self.task.done())
        assert not self.task.done(), self.task.exception()
        news, self.news = self.news, []
        return news


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds
            await asyncio.sleep(0.002)


@asynccontextmanager
async def reading(*urls: str, folder: Path | None = None, **options: object) -> AsyncIterator[Reading]:
    """The feed, polling these addresses all the time."""
    given = {"urls": urls, "poll_seconds": 0.02, "timeout_seconds": 5.0, **options}
    one = Reading(RssFeed(SystemClock(), RssOptions(**given), folder=folder))  # type: ignore[arg-type] # options of the test
    one.task = task = asyncio.create_task(one.feed.run(one.emit))
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def item(number: int, title: str, hours_ago: float = 1.0) -> Item:
    return f"n-{number}", title, NOW_NS - round(hours_ago * HOUR_NS)


async def test_each_entry_is_news_once_and_unchanged_documents_are_not_read_again() -> None:
    first = item(1, "Bitcoin &amp; <b>ether</b> rally", 3)
    wire, ticker = Page(rss(first), etag='"1"'), Page(atom(item(7, "ECB leaves rates unchanged", 2)))
    async with Publisher({"wire": wire, "ticker": ticker}).serving() as url:
        words = ("BTC-USD=bitcoin/btc", "EUR/USD=ecb")
        async with reading(f"{url}wire", f"{url}ticker", instruments=words) as one:
            found = sorted(await one.polled(), key=lambda news: news.time_ns)
            assert found == [
                News(
                    time_ns=NOW_NS - 3 * HOUR_NS,
                    headline="Bitcoin & ether rally",
                    publisher="The Wire",
                    instruments=("BTC-USD",),
                    news_id="n-1",
                    url="http://wire.example/n-1",
                ),
                News(
                    time_ns=NOW_NS - 2 * HOUR_NS,
                    headline="ECB leaves rates unchanged",
                    publisher="The Ticker",
                    instruments=("EUR/USD",),
                    news_id="n-7",
                    url="http://ticker.example/n-7",
                ),
            ]
            assert await one.polled(2) == []
            assert wire.asked[-1]["If-None-Match"] == '"1"'
            assert one.feed.counters["unchanged"]
            wire.body, wire.etag = rss(first, item(2, "Oil falls", 0)), '"2"'
            await until(lambda: one.news)
            assert [news.news_id for news in await one.polled()] == ["n-2"]
            assert one.feed.is_connected


async def test_a_repeated_title_an_old_entry_and_one_without_a_title_are_no_news() -> None:
    document = rss(
        item(1, "Exchange halts withdrawals after wallet breach - The Wire", 5),
        item(2, "Exchange halts withdrawals after wallet breach | Daily Coin", 4),
        item(3, "Exchange resumes withdrawals after wallet breach", 3),
        item(4, "Old story", 100),
        item(5, "", 1),
        ("n-6", "From tomorrow", NOW_NS + 24 * HOUR_NS),
    )
    async with Publisher({"wire": Page(document)}).serving() as url, reading(f"{url}wire") as one:
        found = await one.polled()
        assert [news.news_id for news in found] == ["n-1", "n-3", "n-6"]
        assert found[-1].time_ns <= SystemClock().time_ns()
        assert (one.feed.counters["duplicates"], one.feed.counters["old"]) == (1, 1)


@pytest.mark.parametrize(
    ("title", "is_new"),
    [
        ("Fed raises rates by 25 basis points, stocks fall", False),
        ("Stocks fall: Fed raises rates by 25 basis points", False),
        ("FED RAISES RATES BY 25 BASIS POINTS, STOCKS FALL SHARPLY", False),
        ("Fed raises rates by 50 basis points, stocks fall", True),
        ("Fed raises rates by 0.25 basis points, stocks fall", True),
        ("Fed cuts rates by 25 basis points, bonds rise", True),
        ("", True),
    ],
)
def test_near_equal_titles_have_most_words_and_all_numbers_in_common(title: str, is_new: bool) -> None:  # noqa: FBT001 - a parameter
    titles = RecentTitles(0.8, HOUR_NS, 10)
    assert titles.is_new(title_of("Fed raises rates by 25 basis points, stocks fall", 0))
    assert titles.is_new(title_of(title, 1)) is is_new
    assert titles.is_new(title_of(title, 2 * HOUR_NS + 1))


async def test_a_document_that_cannot_be_read_is_reported_without_its_address_and_stops_no_other() -> None:
    good = rss(item(1, "All is well"))
    pages = {
        "busy": Page(status=503, headers={"Retry-After": "3600"}),
        "page": Page("<html><body>Please enable scripts</body></html>"),
        "noise": Page(bytes(range(256)) * 40),
        "empty": Page(""),
        "huge": Page(rss(*(item(n, "word " * 40) for n in range(60)))),
        "silent": Page(is_silent=True),
        "good": Page(good),
    }
    async with Publisher(pages).serving() as url:
        urls = [f"{url}{name}?token=hunter2" for name in pages]
        async with reading(*urls, max_bytes=10_000, timeout_seconds=0.3) as one:
            assert [news.headline for news in await one.polled()] == ["All is well"]
            errors = {
                key.partition("?")[0].rpartition("/")[2]: text for key, text in one.feed._errors.items()
            }
            assert errors.keys() == pages.keys() - {"good"}
            assert errors["busy"].endswith(": HTTP 503")
            assert errors["page"].partition(": ")[2].startswith("neither RSS nor Atom")
            assert errors["huge"].endswith(": more than 10000 bytes")
            assert errors["silent"].endswith(": no answer within 0.3 s")
            assert not any("hunter2" in text for text in errors.values())
            assert one.feed.is_connected
            assert one.feed.last_error in errors.values()
            pages["empty"].body = rss(item(2, "Back again"))
            await until(lambda: one.news)
            assert [news.headline for news in one.news] == ["Back again"]
            assert not any("/empty?" in key for key in one.feed._errors)
            assert len(pages["busy"].asked) == 1  # for an hour


async def test_without_any_document_the_feed_is_not_connected() -> None:
    async with reading("http://127.0.0.1:9/wire") as one:
        await one.polled()
        assert not one.feed.is_connected
        assert one.feed.last_error == "127.0.0.1:9: no connection: Connection refused"


async def test_a_restart_repeats_nothing_and_asks_for_changes_only(tmp_path: Path) -> None:
    wire = Page(
        rss(item(1, "One"), item(2, "Two")), headers={"Last-Modified": "Fri, 02 Jan 2026 15:00:00 GMT"}
    )
    async with Publisher({"wire": wire}).serving() as url:
        async with reading(f"{url}wire", folder=tmp_path / "rss") as one:
            assert len(await one.polled(2)) == 2
        wire.asked.clear()
        wire.body = rss(item(2, "Two, corrected"), item(3, "Three"), item(4, "two"))
        async with reading(f"{url}wire", folder=tmp_path / "rss") as one:
            assert [news.headline for news in await one.polled(2)] == ["Three"]
        assert wire.asked[0]["If-Modified-Since"] == "Fri, 02 Jan 2026 15:00:00 GMT"
        (tmp_path / "rss" / STATE_FILE).write_text("{")
        async with reading(f"{url}wire", folder=tmp_path / "rss") as one:
            assert len(await one.polled()) == 3


async def test_without_addresses_the_feed_ends_and_words_are_checked() -> None:
    await RssFeed(SystemClock(), RssOptions()).run(Reading.emit)  # type: ignore[arg-type] # not called
    with pytest.raises(ValueError, match="has no words"):
        RssFeed(SystemClock(), RssOptions(instruments=("BTC-USD=/",)))
