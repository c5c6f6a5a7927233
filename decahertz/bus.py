"""Publish and subscribe within the process.

The topic ``samples:{collector}`` carries a :class:`~decahertz.sample.SampleBatch`, ``events`` an
:class:`~decahertz.event.Arrival` as it arrives, ``recorded`` the same events once they are durable and
numbered, ``alerts`` an :class:`~decahertz.alert.Alert` that has changed, ``audit`` an
:class:`~decahertz.audit.AuditEntry` that was stored, ``order_requests`` a
:class:`~decahertz.order_requests.RequestChange` that was stored, ``halts`` a
:class:`~decahertz.halts.HaltChange`, ``trading`` a new
:class:`~decahertz.trading_state.TradingState`.
Delivery is synchronous and in order of subscription: a handler stores the message in a queue or cache and
returns at once. The bus logs the errors of a handler and goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import structlog

from decahertz.alert import Alert
from decahertz.audit import AuditEntry
from decahertz.event import Arrival
from decahertz.halts import HaltChange
from decahertz.incident import Incident
from decahertz.order_requests import RequestChange
from decahertz.sample import SampleBatch
from decahertz.topic import Pattern
from decahertz.trading_state import TradingState

EVENTS = "events"
"""Topic of all arriving events."""
RECORDED = "recorded"
"""Topic of all durable events, in the order of their numbers."""

Message: TypeAlias = SampleBatch | Arrival | Alert | AuditEntry | RequestChange | HaltChange | TradingState
Handler: TypeAlias = Callable[[Message], None]


def samples_topic(collector: str) -> str:
    """The bus topic of a collector's samples."""
    return f"samples:{collector}"


class Subscription(Protocol):
    """Returned by :meth:`Bus.subscribe`."""

    def cancel(self) -> None:
        """Stops delivery. Safe to call twice."""
        ...


class Bus(Protocol):
    """The interface of a bus."""

    def publish(self, topic: str, message: Message) -> None:
        """Delivers the message to every handler whose pattern matches the topic."""
        ...

    def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Delivers matching messages to ``handler``. Raises ``TopicError`` for an invalid pattern."""
        ...


class LocalBus:
    """The bus of a single process."""

    def __init__(self) -> None:
        self._handlers: list[_Subscribed] = []
        self._routes: dict[str, tuple[_Subscribed, ...]] = {}
        self._log = structlog.get_logger(part="bus")

    def publish(self, topic: str, message: Message) -> None:
        """Delivers the message to every handler whose pattern matches the topic, in order."""
        route = self._routes.get(topic)
        if route is None:
            route = tuple(entry for entry in self._handlers if entry.pattern.matches(topic))
            self._routes[topic] = route
        for entry in route:
            if entry.is_cancelled:  # by an earlier handler of this message
                continue
            try:
                entry.handler(message)
            except Exception as error:  # noqa: BLE001 - one bad handler must not stop the others
                entry.fail(topic, error, self._log)
            else:
                if entry.incidents:
                    entry.recover(topic)

    def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Delivers matching messages to ``handler``. Raises ``TopicError`` for an invalid pattern."""
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
        self.incidents: dict[str, Incident] = {}  # by topic

    def cancel(self) -> None:
        self.is_cancelled = True
        self._forget(self)

    def fail(self, topic: str, error: Exception, log: structlog.stdlib.BoundLogger) -> None:
        if topic not in self.incidents:
            bound = log.bind(topic=topic, pattern=self.pattern.text)
            self.incidents[topic] = Incident("handler", bound)
        self.incidents[topic].fail(0, error)

    def recover(self, topic: str) -> None:
        incident = self.incidents.pop(topic, None)
        if incident is not None:
            incident.recover()
