"""The messages of the WebSocket protocol, version 1. docs/websocket.md explains them to readers.

Every message is an object whose ``type`` says which of these it is. Times are integer nanoseconds UTC.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from decahertz.wire import Codec

PROTOCOLS: Final = {f"decahertz.v1.{codec.value}": codec for codec in (Codec.JSON, Codec.MSGPACK)}
"""Subprotocols by name; the first is spoken with a client that names none."""

Patterns: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(max_length=512)], ...], Meta(min_length=1, max_length=256)
]


class CloseCode(IntEnum):
    """Why the server closed a connection."""

    GOING_AWAY = 1001
    """The server stops; connect again later."""
    ABUSE = 1008
    """Too many messages that could not be understood."""
    INTERNAL = 1011
    """Something failed on the server's side; it is in its log."""
    SLOW_CONSUMER = 4008
    """Events came faster than the reader took them; none was dropped silently, so the connection ends."""
    SILENT = 4009
    """Nothing was heard from the reader, not even an answer to a ping."""


class ErrorCode(StrEnum):
    """What was wrong with a message from the client."""

    MALFORMED = "malformed"
    """It is not of the codec that was agreed on."""
    INVALID = "invalid"
    """It was decoded, but it is no message of this protocol."""
    BAD_TOPIC = "bad_topic"
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions"


class ClientMessage(Struct, frozen=True, tag_field="type", tag=str.lower, forbid_unknown_fields=True):
    """Base of what a client sends."""


class Subscribe(ClientMessage, frozen=True, tag="subscribe"):
    """Ask for topics, by pattern. Answered with a snapshot of those that are new to this client."""

    topics: Patterns


class Unsubscribe(ClientMessage, frozen=True, tag="unsubscribe"):
    """Give up patterns, spelled as they were subscribed to. Unknown ones are ignored."""

    topics: Patterns


class Ping(ClientMessage, frozen=True, tag="ping"):
    """Ask for a pong. Messages are answered in order, so the pong also says that the earlier ones took."""

    id: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


AnyClientMessage: TypeAlias = Subscribe | Unsubscribe | Ping


class ServerMessage(Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """Base of what the server sends."""


class Connected(ServerMessage, frozen=True, kw_only=True, tag="connected"):
    """The first message."""

    client_id: str
    protocol: str
    version: str
    """Of Decahertz."""
    time_ns: int
    epoch: int
    """When this server's hub started, nanoseconds UTC. Sequences of different epochs do not compare."""
    heartbeat_seconds: float
    """How often the server pings (the WebSocket's own ping)."""
    dead_after_seconds: float
    """A client that is not heard of for so long is disconnected."""


class State(Struct, frozen=True, kw_only=True, gc=False):
    """The state of one topic in a snapshot."""

    topic: str
    time_ns: int
    data: Any


class Snapshot(ServerMessage, frozen=True, kw_only=True, tag="snapshot"):
    """The present state of newly subscribed topics; later states follow as updates, without a hole."""

    topics: tuple[str, ...]
    """The patterns of the subscription that this answers."""
    sequence: int
    """The newest event's sequence: every later one of these topics will be sent."""
    items: tuple[State, ...]
    complete: bool
    """False: more items of the same snapshot follow in the next message."""


class Update(ServerMessage, frozen=True, kw_only=True, tag="update"):
    """A newer state of a topic."""

    topic: str
    time_ns: int
    data: Any
    conflated: int = 0
    """States between the previous message of this topic and this one that were not sent."""


class EventMessage(ServerMessage, frozen=True, kw_only=True, tag="event"):
    """Something that happened once."""

    topic: str
    sequence: int
    """Grows by one per event of the whole server: of the topics asked for, numbers may be left out."""
    time_ns: int
    data: Any


class Pong(ServerMessage, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    time_ns: int
    id: str | UnsetType = UNSET


class Error(ServerMessage, frozen=True, kw_only=True, tag="error"):
    """A message of the client was refused, whole. The connection stays."""

    code: ErrorCode
    text: str
