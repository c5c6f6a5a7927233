from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.topic import Pattern, TopicError, segment, segment_name

segments = st.text(st.sampled_from("ab/. -"), min_size=1, max_size=3)
topics = st.lists(segments, min_size=1, max_size=5).map(":".join)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.one_of(segments, st.just("*")), min_size=1, max_size=4))
    return ":".join([*parts, "**"] if draw(st.booleans()) else parts)


def as_regex(pattern: str) -> re.Pattern[str]:
    """The plainest reading of a pattern."""
    parts = []
    for part in pattern.split(":"):
        if part == "**":
            parts.append(r"[^:]+(?::[^:]+)*")
        else:
            parts.append(r"[^:]+" if part == "*" else re.escape(part))
    return re.compile(":".join(parts))


@given(patterns(), topics)
def test_a_pattern_matches_what_the_plain_reading_matches(pattern: str, topic: str) -> None:
    assert Pattern(pattern).matches(topic) == bool(as_regex(pattern).fullmatch(topic))


@given(topics, st.data())
def test_a_pattern_made_from_a_topic_matches_it(topic: str, data: st.DataObject) -> None:
    parts = topic.split(":")
    stars = data.draw(st.sets(st.integers(0, len(parts) - 1)))
    pattern = ["*" if n in stars else part for n, part in enumerate(parts)]
    cut = data.draw(st.integers(0, len(parts)))
    assert Pattern(":".join(pattern)).matches(topic)
    assert Pattern(":".join([*pattern[:cut], "**"])).matches(topic) == (cut < len(parts))


@given(st.text(st.sampled_from("aé/:*%2A3"), min_size=1))
def test_a_name_is_one_segment_and_comes_back(name: str) -> None:
    assert segment_name(segment(name)) == name
    assert Pattern(f"quotes:{segment(name)}").segments == ("quotes", segment(name))
    assert Pattern("quotes:*").matches(f"quotes:{segment(name)}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EUR/USD", "EUR/USD"),
        ("1000PEPE/USDT:USDT", "1000PEPE/USDT%3AUSDT"),
        ("a*b", "a%2Ab"),
        ("50%", "50%25"),
        ("ES=F", "ES=F"),
        ("贵州茅台", "贵州茅台"),
    ],
)
def test_only_what_topics_need_is_escaped(name: str, expected: str) -> None:
    assert segment(name) == expected


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("ticks:EUR/USD", "ticks:EUR/USD", True),
        ("ticks:*", "ticks:BRK.B US-2", True),
        ("ticks:*", "ticks", False),
        ("ticks:*", "ticks:a:b", False),
        ("metrics:market:**", "metrics:market:kraken:BTC/USD", True),
        ("metrics:market:**", "metrics:market", False),
        ("metrics:*:kraken:*", "metrics:market:kraken:BTC/USD", True),
        ("**", "anything:at:all", True),
        ("ticks:EUR", "ticks:EUR/USD", False),
        ("a.c", "abc", False),
    ],
)
def test_examples(pattern: str, topic: str, *, matches: bool) -> None:
    assert Pattern(pattern).matches(topic) is matches


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", ":a", "a::b", "**:a", "a:**:b", "a*", "a:b*:c", "***", "*a", "a:" * 255 + "abc"],
)
def test_an_invalid_pattern_is_refused(text: str) -> None:
    with pytest.raises(TopicError):
        Pattern(text)


@pytest.mark.parametrize("text", ["a:%", "a:%2a", "a:%zz", "a:b%2", "a:%2B"])
def test_an_escape_that_no_topic_has_is_refused(text: str) -> None:
    with pytest.raises(TopicError, match="write %25 for %"):
        Pattern(text)


def test_patterns_of_the_same_text_are_equal_and_can_be_keys() -> None:
    assert {Pattern("a:*"): 1}[Pattern("a:*")] == 1
    assert Pattern("a:*") != Pattern("a:**")


def test_a_pattern_without_asterisks_is_exact() -> None:
    assert Pattern("a:b").is_exact
    assert not Pattern("a:*").is_exact
