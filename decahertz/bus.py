"""Publish and subscribe inside the process.

Two kinds of message travel here: ``samples:{collector}`` carries a
:class:`~decahertz.sample.SampleBatch`, ``events`` an :class:`~decahertz.event.Arrival`. Delivery is
synchronous and in order of subscription: a handler takes the message over (into a queue, a cache)
and returns at once. A handler that raises is counted and logged, and stops nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import structlog

from decahertz.event import Arrival
from decahertz.sample import SampleBatch
from decahertz.topic import Pattern

EVENTS = "events"
"""The topic of all arriving events."""

Message: TypeAlias = SampleBatch | Arrival
Handler: TypeAlias = Callable[[Message], None]


def samples_topic(collector: str) -> str:
    """The bus topic of a collector's samples."""
    return f"samples:{collector}"


class Subscription(Protocol):
    """What :meth:`Bus.subscribe` hands back."""

    def cancel(self) -> None:
        """Stop delivery. Safe to call twice."""
        ...


class Bus(Protocol):
    """What parts need to know of a bus."""

    def publish(self, topic: str, message: Message) -> None:
        """Hand the message to every handler whose pattern matches the topic."""
        ...

    def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Deliver matching messages to ``handler`` from now on. Raises ``TopicError``."""
        ...


class LocalBus:
    """The bus of a single process."""

    def __init__(self) -> None:
        """Start with no handlers."""
        self._handlers: list[_Subscribed] = []
        self._routes: dict[str, tuple[_Subscribed, ...]] = {}
        self._log = structlog.get_logger(part="bus")
        self.errors = 0
        """How often a handler raised."""

    def publish(self, topic: str, message: Message) -> None:
        """Hand the message to every handler whose pattern matches the topic, in order."""
        route = self._routes.get(topic)
        if route is None:
            route = tuple(entry for entry in self._handlers if entry.pattern.matches(topic))
            self._routes[topic] = route
        for entry in route:
            if entry.is_cancelled:  # by a handler that came before it
                continue
            try:
                entry.handler(message)
            except Exception as error:  # noqa: BLE001 - one bad handler must not stop the others
                self.errors += 1
                entry.fail(topic, error, self._log)
            else:
                entry.recover(topic, self._log)

    def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Deliver matching messages to ``handler`` from now on."""
        entry = _Subscribed(Pattern(pattern), handler, self._forget)
        self._handlers.append(entry)
        self._routes.clear()
        return entry

    def _forget(self, entry: _Subscribed) -> None:
        if entry in self._handlers:
            self._handlers.remove(entry)
            self._routes.clear()


class _Subscribed:
    def __init__(
        self,
        pattern: Pattern,
        handler: Handler,
        forget: Callable[[_Subscribed], None],
    ) -> None:
        self.pattern = pattern
        self.handler = handler
        self.is_cancelled = False
        self._forget = forget
        self._failing: set[str] = set()  # topics

    def cancel(self) -> None:
        self.is_cancelled = True
        self._forget(self)

    def fail(self, topic: str, error: Exception, log: structlog.stdlib.BoundLogger) -> None:
        if topic not in self._failing:
            self._failing.add(topic)
            log.error("handler_failed", topic=topic, pattern=self.pattern.text, exc_info=error)

    def recover(self, topic: str, log: structlog.stdlib.BoundLogger) -> None:
        if topic in self._failing:
            self._failing.discard(topic)
            log.info("handler_recovered", topic=topic, pattern=self.pattern.text)
