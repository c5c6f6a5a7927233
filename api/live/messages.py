"""Messages of the WebSocket protocol, version 1; docs/websocket.md is its reference.

Every message is an object with a ``type``. Times are integer nanoseconds UTC.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from decahertz.wire import Codec

PROTOCOLS: Final = {f"decahertz.v1.{codec.value}": codec for codec in (Codec.JSON, Codec.MSGPACK)}
"""Subprotocols by name; the first is the default."""

Patterns: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(max_length=512)], ...], Meta(min_length=1, max_length=256)
]

MaxHz: TypeAlias = Annotated[float, Meta(gt=0, le=1000)]
Position: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]


class CloseCode(IntEnum):
    """Reason for which the server closed a connection."""

    GOING_AWAY = 1001
    """The server is stopping; reconnect later."""
    ABUSE = 1008
    """Too many refused messages."""
    INTERNAL = 1011
    """Internal error; see the server's log."""
    UNAUTHORIZED = 4001
    """No valid key; or the key has expired or was revoked since."""
    SLOW_CONSUMER = 4008
    """The client read events too slowly. Events are never dropped silently, so the connection closes."""
    HEARTBEAT_TIMEOUT = 4009
    """The client sent nothing, not even a pong, before the timeout."""


class ErrorCode(StrEnum):
    """Reason for which a message of the client was refused."""

    MALFORMED = "malformed"
    """Not in the negotiated codec."""
    INVALID = "invalid"
    """Decoded, but not a message of this protocol."""
    UNAUTHORIZED = "unauthorized"
    """A key is required, or the key is not valid. The connection is closed."""
    INSUFFICIENT_SCOPE = "insufficient_scope"
    """The key does not permit this topic."""
    BAD_TOPIC = "bad_topic"
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions"
    CANNOT_RESUME = "cannot_resume"
    """Not a position of this recorder, too old, or a pattern is subscribed already."""
    RATE_LIMITED = "rate_limited"
    """The key or the address of the client has sent too many messages; send it again later."""
    UNAVAILABLE = "unavailable"
    """The database does not respond."""


class ClientMessage(Struct, frozen=True, tag_field="type", tag=str.lower, forbid_unknown_fields=True):
    """Base of the messages that a client sends."""


class Authenticate(ClientMessage, frozen=True, tag="authenticate"):
    """Sends a key, for clients that cannot set the header ``Authorization``. It must be the first message."""

    key: Annotated[str, Meta(max_length=256)]

    def __repr__(self) -> str:
        """Without the key."""
        return "Authenticate(…)"


class Subscribe(ClientMessage, frozen=True, tag="subscribe"):
    """Subscribes to patterns. The reply is a snapshot of the topics that are new to this client."""

    topics: Patterns
    max_hz: MaxHz | UnsetType | None = UNSET
    """Most updates of each topic a second, on this connection from now on; ``None``: every state."""
    batch: bool | UnsetType = UNSET
    """Whether states come in ``updates``, many in a message, on this connection from now on."""


class Resume(ClientMessage, frozen=True, tag="resume"):
    """Subscribes to patterns, and has the events sent that came after the last one received.

    The reply is these events in order, then a snapshot as for ``subscribe``.
    """

    topics: Patterns
    epoch: Position
    """From the ``connected`` of the connection that was lost."""
    sequence: Position
    """From the last ``event`` or ``snapshot`` received."""
    max_hz: MaxHz | UnsetType | None = UNSET
    """As in ``subscribe``."""
    batch: bool | UnsetType = UNSET
    """As in ``subscribe``."""


class Unsubscribe(ClientMessage, frozen=True, tag="unsubscribe"):
    """Unsubscribes from patterns, spelled as in the subscription. Unknown patterns are ignored."""

    topics: Patterns


class Ping(ClientMessage, frozen=True, tag="ping"):
    """Requests a pong. Messages are processed in order, so the pong also confirms the earlier ones."""

    id: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


AnyClientMessage: TypeAlias = Authenticate | Subscribe | Resume | Unsubscribe | Ping


class ServerMessage(Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """Base of the messages that the server sends."""


class Connected(ServerMessage, frozen=True, kw_only=True, tag="connected"):
    """First message of every connection."""

    recorder: str
    """Name of the recorder that serves this connection."""
    client_id: str
    protocol: str
    version: str
    """Version of Decahertz."""
    time_ns: int
    epoch: int
    """Sequences of events that are recorded from this start of the server on are higher."""
    heartbeat_seconds: float
    """Interval of the server's WebSocket pings."""
    dead_after_seconds: float
    """Silence after which a client is disconnected."""


class TopicState(Struct, frozen=True, kw_only=True, gc=False):
    """State of one topic in a snapshot."""

    topic: str
    time_ns: int
    data: Any


class Snapshot(ServerMessage, frozen=True, kw_only=True, tag="snapshot"):
    """Current state of newly subscribed topics; later states follow as updates, without a gap."""

    recorder: str
    """Name of the recorder whose samples these are."""
    topics: tuple[str, ...]
    """Patterns of the subscription that this message replies to."""
    sequence: int
    """Sequence of the newest event: every later event of these topics will be sent."""
    items: tuple[TopicState, ...]
    complete: bool
    """False if more items of the same snapshot follow in the next message."""


class Update(ServerMessage, frozen=True, kw_only=True, tag="update"):
    """New state of a topic."""

    topic: str
    time_ns: int
    data: Any
    conflated: int = 0
    """States of this topic that were skipped since the previous message."""


class TopicUpdate(TopicState, frozen=True, kw_only=True, gc=False):
    """New state of a topic in ``updates``."""

    conflated: int = 0
    """As in ``update``."""


class Updates(ServerMessage, frozen=True, kw_only=True, tag="updates"):
    """New states of topics, for a client that has asked for batches."""

    items: list[TopicUpdate]


class EventMessage(ServerMessage, frozen=True, kw_only=True, tag="event"):
    """An event."""

    topic: str
    sequence: int
    """Ascends with every event of the recorder, across restarts too; not without gaps."""
    time_ns: int
    data: Any


class Pong(ServerMessage, frozen=True, kw_only=True, tag="pong"):
    """Reply to a ping."""

    time_ns: int
    id: str | UnsetType = UNSET


class Error(ServerMessage, frozen=True, kw_only=True, tag="error"):
    """A message of the client was refused as a whole. The connection stays open unless ``code`` says more."""

    code: ErrorCode
    text: str
    field: str | UnsetType = UNSET
    """The field that is wrong, if it is one."""
