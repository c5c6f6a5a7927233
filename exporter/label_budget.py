"""Label budgets: how many keys have series of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

OTHER = "__other__"
"""Key label value of the series that sums all keys over budget."""

Key = tuple[str, ...]


class LabelBudget:
    """Admits keys up to a limit.

    A retired key keeps its place for ``ttl_ns``, so a key that comes and goes gets its old series back, and
    the number of new series in Prometheus is bounded over time too.
    """

    def __init__(self, max_keys: int, ttl_ns: int) -> None:
        self._max_keys = max_keys
        self._ttl_ns = ttl_ns
        self._keys: list[Key] = []
        """All keys of the newest call."""
        self._admitted: dict[Key, None] = {}
        """Admitted keys that are present."""
        self._retired_ns: dict[Key, int] = {}
        """Admitted keys that are not, and when they were retired."""
        self._refused: set[Key] = set()
        self.exceeded = 0
        """Refusals since the start; a key that goes away and is refused again is counted again."""

    @property
    def refused(self) -> Collection[Key]:
        """Keys over budget."""
        return self._refused

    def update(self, keys: Iterable[Key], now_ns: int) -> Collection[Key]:
        """Takes all keys present now; returns those over budget. ``now_ns`` is monotonic."""
        listed = list(keys)
        free_ns = now_ns - self._ttl_ns
        is_free = any(retired_ns <= free_ns for retired_ns in self._retired_ns.values())
        if is_free or listed != self._keys:
            self._change(listed, now_ns, free_ns)
        return self._refused

    def _change(self, listed: list[Key], now_ns: int, free_ns: int) -> None:
        admitted, retired = self._admitted, self._retired_ns
        present = dict.fromkeys(listed)
        for key in [key for key in retired if key in present]:
            del retired[key]
            admitted[key] = None
        for key in [key for key, retired_ns in retired.items() if retired_ns <= free_ns]:
            del retired[key]
        for key in [key for key in admitted if key not in present]:
            del admitted[key]
            retired[key] = now_ns
        refused: set[Key] = set()
        for key in [key for key in present if key not in admitted]:
            if len(admitted) + len(retired) < self._max_keys and OTHER not in key:
                admitted[key] = None
            else:
                refused.add(key)
        self.exceeded += len(refused - self._refused)
        self._refused = refused
        self._keys = listed
