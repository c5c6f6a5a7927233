"""Sentiment of headlines: what is scored, by whom, and what a broken scorer does."""

from __future__ import annotations

import math
import re

import pytest

from collectors.host.plugins import load_scorer
from collectors.news.self_metrics import NewsMetrics
from decahertz.bus import EVENTS, LocalBus, Message
from decahertz.clock import SystemClock
from decahertz.event import AnyEvent, Arrival, EventBatch, Log, LogLevel, News
from decahertz.fakes import ManualClock
from decahertz.health import Health
from decahertz.ingest import Ingest
from decahertz.news_scorer import NewsScorer, NewsScores
from tests.client_server import Sink
from tests.pipeline.running import ROOT


class Broken(NewsScorer):
    """Raises, or returns what is no sentiment."""

    result: float | None = None

    def score(self, headline: str) -> float | None:
        if self.result is None:
            raise RuntimeError(f"no idea about {headline}")
        return self.result


def scores(scorer: NewsScorer | None = None, failure: str = "") -> NewsScores:
    if scorer is None and not failure:
        (loaded,) = load_scorer("vader").plugins
        scorer = loaded.scorer
    return NewsScores("vader", scorer, SystemClock(), failure)


def batch(*events: AnyEvent) -> EventBatch:
    return EventBatch(source="test", epoch=1, first_sequence=1, events=events)


def news(headline: str, sentiment: float | None = None) -> News:
    return News(time_ns=1, headline=headline, sentiment=sentiment)


def values(metrics: NewsMetrics) -> dict[str, float]:
    samples = [sample for family in metrics.collect() for sample in family.samples]
    found = {one.name.removeprefix("decahertz_news_"): one.value for one in samples}
    return {name: value for name, value in found.items() if not name.endswith("_created")}


async def test_headlines_without_a_sentiment_are_scored_before_they_are_published() -> None:
    bus, seen, clock, scored = LocalBus(), list[Message](), ManualClock(), scores()
    bus.subscribe(EVENTS, seen.append)
    ingest = Ingest(bus, Sink(), clock, max_future_ns=10**9, timeout_seconds=1.0, scores=scored)
    log = Log(time_ns=1, component="c", level=LogLevel.INFO, message="terrible")
    metrics = NewsMetrics(bus, scored, clock)
    sent = batch(news("Terrible losses"), log, news("Great gains", 0.25), news("The sky"))
    assert set(values(metrics).values()) == {0}
    for _ in range(2):  # the emitter got no answer and sends it again
        await ingest.submit(sent, b"as sent")
    assert values(metrics)["headlines_total"] == 3
    assert values(metrics)["newest_timestamp_seconds"] == clock.time_ns() / 1e9
    (arrival,) = seen
    assert isinstance(arrival, Arrival)
    terrible, second, great, sky = arrival.batch.events
    assert isinstance(terrible, News)
    assert terrible.scorer == "vader"
    assert terrible.sentiment is not None
    assert terrible.sentiment < -0.5
    assert (second, great, sky) == sent.events[1:]


async def test_a_batch_without_such_headlines_stays_as_it_is() -> None:
    same = batch(news("Great", 0.1), Log(time_ns=1, component="c", level=LogLevel.INFO, message="m"))
    assert await scores().completed(same) is same


async def test_thousands_of_headlines_are_scored_in_parts() -> None:
    scored = await scores().completed(batch(*(news("A great day") for _ in range(100))))
    assert {event.scorer for event in scored.events if isinstance(event, News)} == {"vader"}


@pytest.mark.parametrize("result", [None, math.nan, 1.5])
async def test_a_scorer_that_fails_leaves_headlines_alone_and_is_shown(result: float | None) -> None:
    broken = Broken()
    broken.result = result
    one, same = scores(broken), batch(news("Great"))
    metrics = NewsMetrics(LocalBus(), one, SystemClock())
    assert await one.completed(same) is same
    assert one.status().health is Health.DEGRADED
    assert values(metrics)["scorer_failures_total"] == 1
    broken.result = 0.5
    (event,) = (await one.completed(same)).events
    assert isinstance(event, News)
    assert (event.sentiment, event.scorer) == (0.5, "vader")
    assert one.status().health is Health.OK
    assert values(metrics)["scored_total"] == 1


def test_a_scorer_that_cannot_be_loaded_is_shown() -> None:
    assert scores(failure="no such module").status().detail == "headlines are not scored: no such module"


def test_the_examples_of_the_documentation_are_what_vader_says() -> None:
    page = (ROOT / "docs" / "news.md").read_text()
    examples = re.findall(r"^\| ([^|]+) \| (-?\d\.\d\d|none) \| [^|]+ \|$", page, re.MULTILINE)
    assert len(examples) >= 5
    (vader,) = load_scorer("vader").plugins
    for headline, told in examples:
        score = vader.scorer.score(headline)
        assert ("none" if score is None else f"{score:.2f}") == told, headline
