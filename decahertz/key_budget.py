"""Key budgets: how many keys a collector keeps state of, and how many of these one emitter may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from decahertz.clock import NS_PER_SECOND

Key: TypeAlias = tuple[str, ...]

DEFAULT_MAX_KEYS = 1_000
DEFAULT_MAX_KEYS_PER_EMITTER = 500
MAX_LISTED = 10_000
"""Refused keys that are remembered; there may be more."""
MAKE_ROOM_NS = 3600 * NS_PER_SECOND
"""Interval, in the time of the events, between calls of ``make_room``."""
RECENTLY_NS = 60 * NS_PER_SECOND
"""A key counts as over budget for this long after the last event that was refused because of it."""

MaxKeys = Annotated[
    int,
    Meta(
        ge=1, le=1_000_000, description="Key budget: keys that are sampled. Others are only stored as events."
    ),
]
MaxKeysPerEmitter = Annotated[
    int,
    Meta(ge=1, le=1_000_000, description="How many of these keys one emitter (a client, a feed) may take."),
]


class CollectorOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a collector that has no others: its key budget."""

    max_keys: MaxKeys = DEFAULT_MAX_KEYS
    max_keys_per_emitter: MaxKeysPerEmitter = DEFAULT_MAX_KEYS_PER_EMITTER


class KeyBudget:
    """Admits keys up to a limit, and up to a smaller one for each emitter.

    unknown ── admit: room ──► held ── release ──► unknown
       └── admit: no room ──► over budget ── admit: room ──► held
                                   └── not named for ``RECENTLY_NS``, at expire ──► unknown

    A key belongs to the emitter that named it first.
    """

    def __init__(self, setting: str, limit: int, emitter_limit: int) -> None:
        """``setting`` names the limit to people: ``collectors.market.max_keys``."""
        self.setting = setting
        self.limit = limit
        self.emitter_limit = min(limit, emitter_limit)
        self.emitter = ""
        """The emitter of the event that is being handled; the host sets it."""
        self.make_room: Callable[[int], None] | None = None
        """Retires the keys that are idle at a time. Called when there is no room: in a restore no cycle does
        it."""
        self.refused = 0
        """Events refused since the start."""
        self._held: dict[Key, str] = {}
        self._held_by: Counter[str] = Counter()
        self._made_room_ns = 0
        self._over: dict[Key, tuple[str, int]] = {}
        """Emitter and last refusal of each key over budget."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether it has no room for another key of the present emitter."""
        return len(self._held) >= self.limit or self._held_by[self.emitter] >= self.emitter_limit

    @property
    def over(self) -> int:
        """Keys over budget, at most ``MAX_LISTED``."""
        return len(self._over)

    def admit(self, key: Key, received_ns: int) -> bool:
        """Whether state may be kept for the key of an event received at ``received_ns``."""
        if key in self._held:
            return True
        if self.is_full and not self._has_made_room(received_ns):
            self.refused += 1
            if len(self._over) < MAX_LISTED or key in self._over:
                self._over[key] = (self.emitter, received_ns)
            return False
        self._held[key] = self.emitter
        self._held_by[self.emitter] += 1
        self._over.pop(key, None)
        return True

    def _has_made_room(self, now_ns: int) -> bool:
        if self.make_room is None or 0 <= now_ns - self._made_room_ns < MAKE_ROOM_NS:
            return False
        self._made_room_ns = now_ns
        self.make_room(now_ns)
        return not self.is_full

    def release(self, key: Key) -> None:
        """Gives the room of a retired key back; other keys are ignored."""
        emitter = self._held.pop(key, None)
        if emitter is not None:
            self._held_by[emitter] -= 1
            if not self._held_by[emitter]:
                del self._held_by[emitter]

    def held(self) -> list[tuple[Key, str]]:
        """Returns the keys that it has admitted, with their emitters, for a checkpoint."""
        return list(self._held.items())

    def resume(self, held: Iterable[tuple[Key, str]]) -> None:
        """Holds the keys of a checkpoint, and no others, whatever the limits are now."""
        self._held = dict(held)
        self._held_by = Counter(self._held.values())
        self._over.clear()

    def expire(self, now_ns: int) -> None:
        """Forgets the keys over budget that no event has named recently; ``now_ns`` as ``received_ns``."""
        before_ns = now_ns - RECENTLY_NS
        for key in [key for key, (_, refused_ns) in self._over.items() if refused_ns < before_ns]:
            del self._over[key]

    def forget_refusals(self) -> None:
        """Resets the counts, after a restore: it repeats events that were refused before."""
        self.refused = 0
        self._over.clear()

    def problem(self) -> str:
        """Names the keys over budget in one line; empty if there are none."""
        if not self._over:
            return ""
        number = f"{len(self._over):,}" + ("" if len(self._over) < MAX_LISTED else " or more")
        emitter, count = Counter(emitter for emitter, _ in self._over.values()).most_common(1)[0]
        return (
            f"{number} keys over {self.setting} ({self.limit:,}, {self.emitter_limit:,} by emitter) are"
            f" stored as events but not sampled; {emitter} sends {count:,} of them"
        )
