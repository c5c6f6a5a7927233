"""Who wants a topic.

Equal patterns of different clients are one group, and the clients of a topic are found through its groups.
So a client that joins or leaves a pattern that others have costs nothing per topic, and matching is done once
per topic and pattern, not per message. Topics with the same groups share one :class:`Audience`: their
messages can be written to each client together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from decahertz.topic import Pattern

ClientT = TypeVar("ClientT", bound=Hashable)

_TOPICS_KEPT = 100_000
"""Instruments are named from outside, so what is remembered per topic is bounded."""


class Group(Generic[ClientT]):
    """The clients of one pattern."""

    __slots__ = ("clients", "pattern")

    def __init__(self, pattern: Pattern) -> None:
        """Start without clients."""
        self.pattern = pattern
        self.clients: dict[ClientT, None] = {}


class Audience(Generic[ClientT]):
    """The clients of all topics that exactly these groups match."""

    __slots__ = ("_clients", "groups")

    def __init__(self, groups: tuple[Group[ClientT], ...]) -> None:
        """An audience without groups is empty for ever."""
        self.groups = groups
        self._clients: tuple[ClientT, ...] | None = None if groups else ()

    @property
    def clients(self) -> tuple[ClientT, ...]:
        """Each client once, whichever of its patterns match."""
        if self._clients is None:
            self._clients = tuple(dict.fromkeys(c for group in self.groups for c in group.clients))
        return self._clients

    def forget(self) -> None:
        """The clients of a group changed."""
        self._clients = None

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self.clients)


class Subscriptions(Generic[ClientT]):
    """All patterns of all clients."""

    def __init__(self) -> None:
        """Start empty."""
        self._groups: dict[str, Group[ClientT]] = {}
        self._nobody: Audience[ClientT] = Audience(())
        self._audiences: dict[tuple[Group[ClientT], ...], Audience[ClientT]] = {(): self._nobody}
        self._topics: dict[str, Audience[ClientT]] = {}
        self._wanted: dict[tuple[str, ...], bool] = {}

    def add(self, pattern: Pattern, client: ClientT) -> None:
        """Let the client have what the pattern matches; again is no change."""
        group = self._groups.get(pattern.text)
        if group is None:
            group = self._groups[pattern.text] = Group(pattern)
            self._widen(group)
        group.clients[client] = None
        self._members_changed(group)

    def remove(self, pattern: Pattern, client: ClientT) -> None:
        """Undo :meth:`add`; without it, no change."""
        group = self._groups.get(pattern.text)
        if group is None or client not in group.clients:
            return
        del group.clients[client]
        if group.clients:
            self._members_changed(group)
        else:
            del self._groups[pattern.text]
            self._narrow(group)

    def audience(self, topic: str) -> Audience[ClientT]:
        """Who wants this topic."""
        known = self._topics.get(topic)
        if known is not None:
            return known
        if len(self._topics) >= _TOPICS_KEPT:
            self._topics.clear()
        audience = self._interned([g for g in self._groups.values() if g.pattern.matches(topic)])
        self._topics[topic] = audience
        return audience

    def wants(self, *prefix: str) -> bool:
        """Whether some pattern can match a topic that begins with these segments; cheap, may err to yes."""
        known = self._wanted.get(prefix)
        if known is None:
            known = any(_can_match(group.pattern.segments, prefix) for group in self._groups.values())
            self._wanted[prefix] = known
        return known

    def __len__(self) -> int:
        """How many different patterns there are."""
        return len(self._groups)

    def _interned(self, groups: Iterable[Group[ClientT]]) -> Audience[ClientT]:
        key = tuple(sorted(groups, key=lambda group: group.pattern.text))
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(key)
        return audience

    def _members_changed(self, group: Group[ClientT]) -> None:
        for audience in self._audiences.values():
            if group in audience.groups:
                audience.forget()

    def _widen(self, group: Group[ClientT]) -> None:
        self._wanted.clear()
        pattern = group.pattern
        known = (pattern.text,) if pattern.is_exact else tuple(self._topics)
        for topic in known:
            audience = self._topics.get(topic)
            if audience is not None and pattern.matches(topic):
                self._topics[topic] = self._interned((*audience.groups, group))

    def _narrow(self, group: Group[ClientT]) -> None:
        self._wanted.clear()
        for topic, audience in self._topics.items():
            if group in audience.groups:
                self._topics[topic] = self._interned(g for g in audience.groups if g is not group)
        self._audiences = {
            key: audience for key, audience in self._audiences.items() if group not in audience.groups
        }


def _can_match(segments: Sequence[str], prefix: Sequence[str]) -> bool:
    for position, have in enumerate(prefix):
        if position >= len(segments):
            return False
        if segments[position] == "**":
            return True
        if segments[position] not in ("*", have):
            return False
    return True
