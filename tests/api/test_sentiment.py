"""Sentiment series, and the topics of headlines."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from api.live.limits import HubLimits
from decahertz.event import News, Regime
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Stack, reader

HOUR_NS = 3600 * 10**9


def news(hours: float, sentiment: float | None, *instruments: str, **fields: str) -> News:
    return News(
        time_ns=START_NS + round(hours * HOUR_NS),
        headline=f"at {hours}",
        instruments=instruments or ("EUR/USD",),
        sentiment=sentiment,
        **fields,
    )


HEADLINES = [
    news(0, 0.8, publisher="wire"),
    news(1, -0.4, scorer="vader"),
    news(1.5, 0.04, "EUR/USD", "BTC-USD"),
    news(2, None),
    news(3, -0.05, scorer="vader"),
    news(3, 0.9, "BTC-USD"),
]
SERIES = (
    f"sentiment/series/EUR/USD?start={START_NS}&end={START_NS + 6 * HOUR_NS}&step=1h&window=3h&half_life=2h"
)


async def test_a_series_is_the_decayed_mean_of_its_window(stored: Stack, stored_caller: Caller) -> None:
    await stored.emit(*HEADLINES)
    await stored.all_stored()
    series = (await stored_caller.get(SERIES)).body
    about = [(0.0, 0.8), (1.0, -0.4), (1.5, 0.04), (3.0, -0.05)]
    assert [point["time_ns"] for point in series["items"]] == [START_NS + h * HOUR_NS for h in range(7)]
    for hour, point in enumerate(series["items"]):
        inside = [(hour - at, value) for at, value in about if hour - 3 < at <= hour]
        weights = [0.5 ** (age / 2) for age, _ in inside]
        assert point["n"] == len(inside)
        assert point["weight"] == pytest.approx(sum(weights))
        assert point["positive"] == sum(value >= 0.05 for _, value in inside)
        assert point["negative"] == sum(value <= -0.05 for _, value in inside)
        if inside:
            mean = sum(w * value for w, (_, value) in zip(weights, inside, strict=True)) / sum(weights)
            assert point["sentiment"] == pytest.approx(mean)
        else:
            assert (point["sentiment"], point["weight"]) == (None, 0)
    assert [point["n"] for point in series["items"]] == [1, 2, 3, 3, 2, 1, 0]
    assert series["scorers"] == [{"scorer": None, "n": 2}, {"scorer": "vader", "n": 2}]
    assert (series["unscored"], series["window_seconds"], series["half_life_seconds"]) == (1, 10800.0, 7200.0)
    of_wire = (await stored_caller.get(f"{SERIES}&publisher=wire")).body
    assert [point["n"] for point in of_wire["items"]] == [1, 1, 1, 0, 0, 0, 0]
    elsewhere = (await stored_caller.get(f"{SERIES}&recorder=other")).body
    assert not any(point["n"] for point in elsewhere["items"])


async def test_the_weight_of_an_old_headline_may_be_nothing(stored: Stack, stored_caller: Caller) -> None:
    await stored.emit(news(0, 1.0), news(1, -1.0))
    await stored.all_stored()
    at = START_NS + HOUR_NS
    path = f"sentiment/series/EUR/USD?start={at}&end={at}&window=366d&half_life=1ms"
    (point,) = (await stored_caller.get(path)).body["items"]
    assert (point["n"], point["sentiment"], point["weight"]) == (2, -1.0, 1.0)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z", "start"),
        ("step=1s", "step"),
        ("step=often", "step"),
        ("window=400d", "window"),
        ("half_life=0s", "half_life"),
        ("weight=1", "weight"),
    ],
)
async def test_what_makes_no_sense_is_refused(caller: Caller, query: str, parameter: str) -> None:
    (error,) = (await caller.get(f"sentiment/series/A?{query}")).problem("invalid-parameter")["errors"]
    assert error["field"] == parameter


TOPICS = [
    (("news",), ["news", "news"]),
    (("news:EUR/USD",), ["news:EUR/USD"]),
    (("news:*",), ["news:EUR/USD", "news:BTC-USD"]),
    (("news:BTC-USD", "news:EUR/USD"), ["news:EUR/USD", "news:BTC-USD"]),
    (("news:GBP/USD",), []),
    (("**",), ["news", "regime", "news"]),
    (("news:BTC-USD", "news"), ["news", "news"]),
]


async def test_a_headline_is_told_once_under_its_first_topic_that_is_wanted() -> None:
    both, regime = news(0, 0.5, "EUR/USD", "BTC-USD"), Regime(time_ns=START_NS, regime="calm")
    async with Stack(limits=HubLimits(resume_seconds=1e10)).running() as stack, AsyncExitStack() as readers:
        live = [await readers.enter_async_context(reader(stack)) for _ in TOPICS]
        for one, (patterns, _) in zip(live, TOPICS, strict=True):
            await one.subscribe(*patterns)
        await stack.emit(both, regime, news(1, 0.5, "BTC-USD"))
        heard = [await one.until_pong() for one in live]
        assert [[message["topic"] for message in each] for each in heard] == [topics for _, topics in TOPICS]
        for (patterns, _), told in zip(TOPICS, heard, strict=True):
            again = await readers.enter_async_context(reader(stack))
            await again.say(type="resume", topics=patterns, epoch=0, sequence=0)
            assert [await again.hear() for _ in told] == told
            assert (await again.hear())["type"] == "snapshot"
