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

    def add(self, signal: Signal, received_ns: int, kept_ns: int) -> None:
        """Adds a signal; an id repeated within ``kept_ns`` is ignored."""
        key = (signal.strategy, signal.signal_id)
        if self.get(*key, received_ns - kept_ns) is not None:
            return
        self._records.pop(key, None)
        self._records[key] = SignalRecord(signal.time_ns, signal.price, received_ns)
        if len(self._records) > self.limit:
            self._records.popitem(last=False)

    def get(self, strategy: str, signal_id: str, before_ns: int) -> SignalRecord | None:
        """Returns the signal with this id; ``None`` if there is none that was received since ``before_ns``.

        So the time of :meth:`retire` changes nothing.
        """
        signal = self._records.get((strategy, signal_id))
        return signal if signal is not None and signal.received_ns >= before_ns else None

    def retire(self, before_ns: int) -> None:
        """Drops signals received before ``before_ns``."""
        while self._records and next(iter(self._records.values())).received_ns < before_ns:
            self._records.popitem(last=False)
