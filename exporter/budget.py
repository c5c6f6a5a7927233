"""Label budgets: how many keys have series of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

OTHER = "__other__"
"""Key label value of the series that sums all keys over budget."""

Key = tuple[str, ...]


class KeyBudget:
    """Admits keys up to a limit.

    A retired key keeps its place for ``ttl_ns``, so a key that comes and goes gets its old series back, and
    the number of new series in Prometheus is bounded over time too.
    """

    def __init__(self, max_keys: int, ttl_ns: int) -> None:
        self._max_keys = max_keys
        self._ttl_ns = ttl_ns
        self._retired_ns: dict[Key, int | None] = {}
        """Admitted keys, and when they were retired; ``None`` for keys still present."""
        self._refused: set[Key] = set()
        self.exceeded = 0
        """Refusals since the start; a key that goes away and is refused again is counted again."""

    @property
    def refused(self) -> Collection[Key]:
        """Keys over budget."""
        return self._refused

    def update(self, keys: Iterable[Key], now_ns: int) -> Collection[Key]:
        """Takes all keys present now; returns those over budget. ``now_ns`` is monotonic."""
        present = dict.fromkeys(keys)
        admitted = self._retired_ns
        for key, retired_ns in list(admitted.items()):
            if key in present:
                admitted[key] = None
            elif retired_ns is None:
                admitted[key] = now_ns
            elif now_ns - retired_ns >= self._ttl_ns:
                del admitted[key]
        refused: set[Key] = set()
        for key in present:
            if key in admitted:
                continue
            if len(admitted) < self._max_keys and OTHER not in key:
                admitted[key] = None
            else:
                refused.add(key)
        self.exceeded += len(refused - self._refused)
        self._refused = refused
        return refused
