"""The newest signals, to which orders refer."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct, field

from decahertz.event import Signal


class SignalRecord(Struct, gc=False, array_like=True):
    """The facts about a signal that its orders need."""

    time_ns: int
    price: float | None
    received_ns: int
    is_measured: bool = False
    """Whether the latency to its first order has been measured; later slices are late on purpose."""


class Signals(Struct):
    """The newest ``limit`` signals by strategy and id; the oldest go first."""

    limit: int
    _records: OrderedDict[tuple[str, str], SignalRecord] = field(default_factory=OrderedDict)

    def add(self, signal: Signal, received_ns: int) -> None:
        """Adds a signal; a repeated id is ignored."""
        key = (signal.strategy, signal.signal_id)
        if key in self._records:
            return
        self._records[key] = SignalRecord(signal.time_ns, signal.price, received_ns)
        if len(self._records) > self.limit:
            self._records.popitem(last=False)

    def get(self, strategy: str, signal_id: str) -> SignalRecord | None:
        """Returns the signal with this id, or ``None``."""
        return self._records.get((strategy, signal_id))

    def retire(self, before_ns: int) -> None:
        """Drops signals received before ``before_ns``."""
        while self._records and next(iter(self._records.values())).received_ns < before_ns:
            self._records.popitem(last=False)
