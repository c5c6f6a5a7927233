from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from decahertz.bus import EVENTS, LocalBus, Message, samples_topic
from decahertz.event import Arrival, EventBatch
from decahertz.topic import TopicError

MESSAGE = Arrival(batch=EventBatch(source="s", epoch=1, first_sequence=1, events=()), received_ns=1)


def test_a_message_reaches_every_matching_handler_in_order_of_subscription() -> None:
    bus, calls = LocalBus(), list[str]()
    bus.subscribe("samples:*", lambda _: calls.append("first"))
    bus.subscribe("samples:market", lambda _: calls.append("second"))
    bus.subscribe("samples:system", lambda _: calls.append("other"))
    bus.subscribe("**", lambda _: calls.append("third"))
    bus.publish(samples_topic("market"), MESSAGE)
    assert calls == ["first", "second", "third"]


def test_a_subscription_after_the_first_message_gets_the_next_one_unchanged() -> None:
    bus, seen = LocalBus(), list[Message]()
    bus.publish(EVENTS, MESSAGE)  # without a handler: no error
    bus.subscribe(EVENTS, seen.append)
    bus.publish(EVENTS, MESSAGE)
    assert len(seen) == 1
    assert seen[0] is MESSAGE


def test_a_bad_pattern_is_refused() -> None:
    with pytest.raises(TopicError):
        LocalBus().subscribe("samples:**:x", lambda _: None)


def test_a_handler_that_raises_stops_no_other_and_is_logged_once_for_each_topic_as_is_its_recovery() -> None:
    bus, failing, seen = LocalBus(), {"samples:a"}, list[Message]()

    def fail(message: Message) -> None:
        if topics[-1] in failing:
            raise RuntimeError(str(message)[:3])

    topics: list[str] = []
    bus.subscribe("samples:*", fail)
    bus.subscribe("samples:*", seen.append)
    with capture_logs() as logs:
        for _ in range(5):
            for topic in ("samples:a", "samples:b"):
                topics.append(topic)
                bus.publish(topic, MESSAGE)
        failing.clear()
        for topic in ("samples:a", "samples:b"):
            topics.append(topic)
            bus.publish(topic, MESSAGE)
    assert [(line["event"], line["topic"]) for line in logs] == [
        ("handler_failed", "samples:a"),
        ("handler_recovered", "samples:a"),
    ]
    assert len(seen) == 12


def test_the_same_handler_twice_is_two_subscriptions_that_can_be_cancelled_again_and_again() -> None:
    bus, seen = LocalBus(), list[Message]()
    subscriptions = [bus.subscribe(EVENTS, seen.append) for _ in range(2)]
    for left in (2, 1, 0):
        seen.clear()
        bus.publish(EVENTS, MESSAGE)
        assert len(seen) == left
        for subscription in subscriptions[: 3 - left]:
            subscription.cancel()


def test_a_handler_may_cancel_itself_and_later_ones_and_subscribe_another_for_the_next_message() -> None:
    bus, calls = LocalBus(), list[str]()

    def once(message: Message) -> None:
        assert message is MESSAGE
        calls.append("once")
        subscription.cancel()
        later.cancel()
        bus.subscribe(EVENTS, lambda _: calls.append("added"))

    subscription = bus.subscribe(EVENTS, once)
    later = bus.subscribe(EVENTS, lambda _: calls.append("later"))
    bus.subscribe(EVENTS, lambda _: calls.append("always"))
    bus.publish(EVENTS, MESSAGE)
    assert calls == ["once", "always"]
    bus.publish(EVENTS, MESSAGE)
    assert calls == ["once", "always", "always", "added"]


def test_a_handler_may_publish() -> None:
    bus, calls = LocalBus(), list[str]()
    bus.subscribe("events", lambda message: bus.publish("samples:a", message))
    bus.subscribe("events", lambda _: calls.append("events"))
    bus.subscribe("samples:*", lambda _: calls.append("samples"))
    bus.publish("events", MESSAGE)
    assert calls == ["samples", "events"]
