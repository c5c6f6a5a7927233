"""Validates the events of a feed before they enter the pipeline.

Events from other processes are validated when they are decoded. A feed constructs its events, which checks
nothing, so they take the same way: encoded once, and decoded. Storage keeps the encoded bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from decahertz.event import AnyEvent, EventBatch

INVALID = (msgspec.MsgspecError, TypeError, ValueError, OverflowError)
"""Raised for events that are not of the contract."""


class EventGuard:
    """Validates constructed events, in about a microsecond each."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._batches = msgspec.msgpack.Decoder(EventBatch)
        self._events = msgspec.msgpack.Decoder(tuple[AnyEvent, ...])

    def validate(self, batch: EventBatch) -> tuple[EventBatch, bytes]:
        """Returns the valid batch and its MessagePack. Raises one of :data:`INVALID`."""
        encoded = self._encoder.encode(batch)
        return self._batches.decode(encoded), encoded

    def split(self, events: Sequence[AnyEvent]) -> tuple[tuple[AnyEvent, ...], list[str]]:
        """Returns the valid events in their order, and the reason for each invalid one."""
        try:
            return self._events.decode(self._encoder.encode(tuple(events))), []
        except INVALID as error:
            if len(events) == 1:
                return (), [str(error)]
        valid: tuple[AnyEvent, ...] = ()
        reasons: list[str] = []
        middle = len(events) // 2
        for half in (events[:middle], events[middle:]):
            passed, refused = self.split(half)
            valid += passed
            reasons += refused
        return valid, reasons
