"""Finds the subscribers of a topic.

Clients that subscribe to the same pattern form one group, and a topic finds its clients through the groups
that match it. A client that joins or leaves an existing group costs nothing per topic, and matching is done
once per topic and pattern, not per message. Topics with the same groups share one :class:`Audience`, so that
their messages can be written to each client together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from decahertz.topic import Pattern

ClientT = TypeVar("ClientT", bound=Hashable)
KeyT = TypeVar("KeyT", bound=Hashable)

_MAX_TOPICS = 100_000
"""Bound of the cache by topic: emitters choose the names of instruments."""


class Group(Generic[ClientT]):
    """Clients that subscribe to one pattern."""

    __slots__ = ("clients", "pattern")

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.clients: dict[ClientT, None] = {}


class Audience(Generic[ClientT]):
    """Clients of all topics that match exactly these groups."""

    __slots__ = ("_clients", "_parts", "groups")

    def __init__(self, groups: tuple[Group[ClientT], ...]) -> None:
        """An audience without groups stays empty."""
        self.groups = groups
        self._clients: tuple[ClientT, ...] | None = None if groups else ()
        self._parts: tuple[tuple[Any, tuple[ClientT, ...]], ...] | None = None

    @property
    def clients(self) -> tuple[ClientT, ...]:
        """Each client once, however many of its patterns match."""
        if self._clients is None:
            self._clients = tuple(dict.fromkeys(c for group in self.groups for c in group.clients))
        return self._clients

    def parts(self, key: Callable[[ClientT], KeyT]) -> tuple[tuple[KeyT, tuple[ClientT, ...]], ...]:
        """The clients by a key of theirs that never changes; always call it with the same function."""
        if self._parts is None:
            by_key: dict[KeyT, list[ClientT]] = {}
            for client in self.clients:
                by_key.setdefault(key(client), []).append(client)
            self._parts = tuple((value, tuple(clients)) for value, clients in by_key.items())
        return self._parts

    def invalidate(self) -> None:
        """Drops the cached clients after a group has changed."""
        self._clients = self._parts = None

    def __bool__(self) -> bool:
        """Whether there are any clients."""
        return bool(self.clients)


class Subscriptions(Generic[ClientT]):
    """Patterns of all clients."""

    def __init__(self) -> None:
        self._groups: dict[str, Group[ClientT]] = {}
        self._audiences: dict[tuple[Group[ClientT], ...], Audience[ClientT]] = {(): Audience(())}
        self._topics: dict[str, Audience[ClientT]] = {}
        self._prefixes: dict[tuple[str, ...], bool] = {}

    def add(self, pattern: Pattern, client: ClientT) -> None:
        """Subscribes the client to a pattern; idempotent."""
        group = self._groups.get(pattern.text)
        if group is None:
            group = self._groups[pattern.text] = Group(pattern)
            self._add_to_topics(group)
        group.clients[client] = None
        self._members_changed(group)

    def remove(self, pattern: Pattern, client: ClientT) -> None:
        """Unsubscribes the client from a pattern; idempotent."""
        group = self._groups.get(pattern.text)
        if group is None or client not in group.clients:
            return
        del group.clients[client]
        if group.clients:
            self._members_changed(group)
        else:
            del self._groups[pattern.text]
            self._remove_from_topics(group)

    def audience(self, topic: str) -> Audience[ClientT]:
        """Returns the audience of a topic."""
        known = self._topics.get(topic)
        if known is not None:
            return known
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        audience = self._interned([g for g in self._groups.values() if g.pattern.matches(topic)])
        self._topics[topic] = audience
        return audience

    def wants(self, *prefix: str) -> bool:
        """Whether a pattern may match a topic that begins with these segments; may be a false positive."""
        known = self._prefixes.get(prefix)
        if known is None:
            known = any(_can_match(group.pattern.segments, prefix) for group in self._groups.values())
            self._prefixes[prefix] = known
        return known

    def _interned(self, groups: Iterable[Group[ClientT]]) -> Audience[ClientT]:
        key = tuple(sorted(groups, key=lambda group: group.pattern.text))
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(key)
        return audience

    def _members_changed(self, group: Group[ClientT]) -> None:
        for audience in self._audiences.values():
            if group in audience.groups:
                audience.invalidate()

    def _add_to_topics(self, group: Group[ClientT]) -> None:
        self._prefixes.clear()
        pattern = group.pattern
        known = (pattern.text,) if pattern.is_exact else tuple(self._topics)
        for topic in known:
            audience = self._topics.get(topic)
            if audience is not None and pattern.matches(topic):
                self._topics[topic] = self._interned((*audience.groups, group))

    def _remove_from_topics(self, group: Group[ClientT]) -> None:
        self._prefixes.clear()
        for topic, audience in self._topics.items():
            if group in audience.groups:
                self._topics[topic] = self._interned(g for g in audience.groups if g is not group)
        self._audiences = {
            key: audience for key, audience in self._audiences.items() if group not in audience.groups
        }


def _can_match(segments: Sequence[str], prefix: Sequence[str]) -> bool:
    for position, segment in enumerate(prefix):
        if position >= len(segments):
            return False
        if segments[position] == "**":
            return True
        if segments[position] not in ("*", segment):
            return False
    return True
