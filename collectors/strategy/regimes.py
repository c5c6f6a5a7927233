"""The regimes that a strategy, or the desk, has reported, and the regime of a round trip."""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct

_CHANGES_KEPT = 10_000


class RegimeHistory(Struct):
    """When each regime began, by the times of the reports.

    The regime of a time does not change once it was asked for: a report that arrives after that, with an
    earlier time, counts for later times only. So a round trip is withdrawn from the regime it was counted in.
    """

    _begun_ns: list[int] = []
    _names: list[str] = []
    _asked_ns: int = -1
    """The newest time asked for."""

    def add(self, time_ns: int, regime: str) -> None:
        """Adds a report."""
        begun_ns, names = self._begun_ns, self._names
        at = bisect_right(begun_ns, time_ns)
        if at and names[at - 1] == regime:
            return
        time_ns = max(time_ns, self._asked_ns + 1)
        if at < len(names):
            if begun_ns[at] <= time_ns:
                return  # it lasted until a time that was asked for
            if names[at] == regime:
                begun_ns[at] = time_ns
                return
        begun_ns.insert(at, time_ns)
        names.insert(at, regime)
        if len(names) > _CHANGES_KEPT:
            del begun_ns[0], names[0]

    def at(self, time_ns: int) -> str | None:
        """Returns the newest regime at a time; ``None`` if there was none."""
        self._asked_ns = max(self._asked_ns, time_ns)
        at = bisect_right(self._begun_ns, time_ns) - 1
        return self._names[at] if at >= 0 else None
