"""How the recorder's own limits stand."""

from __future__ import annotations

from msgspec import Struct

from decahertz.risk_limits import OWN_PREFIX, Level, Limit


class Standing(Struct):
    """One limit of one strategy, or of the desk."""

    strategy: str
    """The strategy; ``desk`` for all together."""
    limit: Limit
    value: float | None = None
    """Newest value of the measure; ``None`` while it is not known."""
    reason: str = ""
    """Why it is not known."""
    level: Level = Level.OK
    """The limit that it exceeds, or has exceeded within the hold time."""
    since_ns: int = 0
    """Since when the level holds."""
    below_ns: int | None = None
    """Since when the value is below the level."""

    @property
    def name(self) -> str:
        """Name of the measure in samples and events."""
        return OWN_PREFIX + self.limit.measure

    @property
    def usage(self) -> float | None:
        """The value relative to the hard limit."""
        return None if self.value is None else self.value / self.limit.hard

    def update(self, value: float | None, reason: str, now_ns: int, hold_ns: int) -> bool:
        """Takes the newest value; returns whether the level has changed.

        The level rises at once. It falls after the value has stayed below for ``hold_ns``: a value that
        swings about its limit is one breach. An unknown value changes nothing.
        """
        self.value, self.reason = value, reason
        if value is None:
            return False
        level = self.limit.level(value)
        if level >= self.level:
            self.below_ns = None
            if level == self.level:
                return False
        else:
            if self.below_ns is None or self.below_ns > now_ns:
                self.below_ns = now_ns
            if now_ns - self.below_ns < hold_ns:
                return False
            self.below_ns = None
        self.level, self.since_ns = level, now_ns
        return True
