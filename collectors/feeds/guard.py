"""What lets nothing bad into the pipeline from a feed of this process.

Events from outside are validated when they are decoded; events that a feed constructs are not, because
constructing one checks nothing. So they take the same way: through the codec.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from decahertz.event import AnyEvent


class EventGuard:
    """Validates constructed events against the contract: about a microsecond each."""

    def __init__(self) -> None:
        """Prepare the codec."""
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[AnyEvent, ...])

    def sift(self, events: Sequence[AnyEvent]) -> tuple[tuple[AnyEvent, ...], list[str]]:
        """The good events in their order, and the reason for each bad one."""
        try:
            return self._decoder.decode(self._encoder.encode(tuple(events))), []
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            if len(events) == 1:
                return (), [str(error)]
        good: tuple[AnyEvent, ...] = ()
        bad: list[str] = []
        middle = len(events) // 2
        for part in (events[:middle], events[middle:]):
            passed, reasons = self.sift(part)
            good += passed
            bad += reasons
        return good, bad
