"""Who wants a topic, whatever came and went before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.live.audience import Subscriptions
from decahertz.topic import Pattern

TOPICS = ["a", "c", "a:a", "a:b", "b:a", "a:b:a", "b:b:c"]
PATTERNS = st.builds(
    lambda head, tail: ":".join([*head, *tail]),
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=2),
    st.lists(st.sampled_from(["a", "*", "**"]), min_size=1, max_size=1),
)
CLIENTS = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("add"), PATTERNS, CLIENTS),
    st.tuples(st.just("remove"), PATTERNS, CLIENTS),
    st.tuples(st.just("ask"), st.just(""), CLIENTS),
)


@given(st.lists(STEPS, max_size=60))
def test_the_audience_is_every_client_with_a_pattern_that_matches(steps: list[tuple[str, str, int]]) -> None:
    subscriptions: Subscriptions[int] = Subscriptions()
    held: dict[tuple[str, int], Pattern] = {}
    for step, text, client in steps:
        if step == "add":
            held[text, client] = Pattern(text)
            subscriptions.add(Pattern(text), client)
        elif step == "remove":
            held.pop((text, client), None)
            subscriptions.remove(Pattern(text), client)
        else:
            for topic in TOPICS:
                wanted = {who for (_, who), pattern in held.items() if pattern.matches(topic)}
                assert sorted(subscriptions.audience(topic).clients) == sorted(wanted)
                if wanted:
                    assert subscriptions.wants(*topic.split(":"))
                    assert subscriptions.wants(topic.split(":")[0])


def test_topics_with_the_same_clients_by_the_same_patterns_share_one_audience() -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    subscriptions.add(Pattern("metrics:market:**"), "one")
    first = subscriptions.audience("metrics:market:X:A")
    assert first is subscriptions.audience("metrics:market:X:B")
    subscriptions.add(Pattern("metrics:market:X:B"), "two")
    assert subscriptions.audience("metrics:market:X:A") is first
    assert sorted(subscriptions.audience("metrics:market:X:B").clients) == ["one", "two"]


def test_a_family_that_no_pattern_can_match_is_not_wanted() -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    subscriptions.add(Pattern("quotes:*"), "one")
    assert subscriptions.wants("quotes")
    assert not subscriptions.wants("ticks")
    assert not subscriptions.wants("metrics", "market")
    subscriptions.remove(Pattern("quotes:*"), "one")
    assert not subscriptions.wants("quotes")
