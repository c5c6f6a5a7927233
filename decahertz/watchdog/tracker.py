"""The state of one condition for each thing to which it applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from decahertz.clock import NS_PER_SECOND
from decahertz.conditions import Condition

MAX_FIRING = 100
"""Things of one condition that fire at a time: a venue with thousands of instruments is one incident."""

Key: TypeAlias = tuple[str, ...]
"""Values of the condition's labels: (venue, instrument)."""


class Finding(NamedTuple):
    """The current value of a condition for one thing."""

    value: float | None
    """``None``: not known now, or with ``is_forced`` unlimited."""
    is_forced: bool = False
    """Whether it counts as beyond the threshold, whatever the value."""
    amount: float = 0.0
    """For the summary: the figure that was compared with ``limit``."""
    limit: float = 0.0


Findings: TypeAlias = Mapping[Key, Finding]
"""Findings of one condition. A thing without one is clear."""


class PartialFindings(dict[Key, Finding]):
    """Findings made while a collector catches up: they may start alerts, but not end them."""


class Transition(NamedTuple):
    """A thing that starts firing, or (without a finding) is clear again."""

    key: Key
    finding: Finding | None


@dataclass(slots=True)
class _Thing:
    since_ns: int
    """Since when the value is beyond the threshold."""
    is_firing: bool = False
    cleared_ns: int | None = None
    """Since when the value is clear again."""
    held_until_ns: int = 0
    """Not resolved before this time."""


class Tracker:
    """Applies threshold, duration and hysteresis of one condition.

    (no thing) ── beyond ──► pending ── for ``for_seconds`` ──► firing ◄── not clear ──┐
        ▲                       │                                 └── clear ──► clearing
        │◄───── not beyond ─────┘                                                  │
        └─────────────────────────── for ``clear_seconds`` ────────────────────────┘

    Times are monotonic.
    """

    def __init__(self, condition: Condition, threshold: float) -> None:
        self.condition = condition
        self.threshold = threshold
        self.suppressed = 0
        """Things that should fire and do not, because :data:`MAX_FIRING` others do."""
        self._things: dict[Key, _Thing] = {}
        self._firing = 0
        self._for_ns = round(condition.for_seconds * NS_PER_SECOND)
        self._clear_ns = round(condition.clear_seconds * NS_PER_SECOND)
        self._clear_at = threshold * condition.clear_ratio

    @property
    def firing(self) -> int:
        """Number of things that fire."""
        return self._firing

    def adopt(self, key: Key, now_ns: int, held_until_ns: int) -> None:
        """Adopts a thing that was firing when the previous process ended."""
        self._things[key] = _Thing(now_ns, is_firing=True, held_until_ns=held_until_ns)
        self._firing += 1

    def update(self, findings: Findings, now_ns: int) -> Iterator[Transition]:
        """Yields the transitions."""
        self.suppressed = 0
        if findings:
            yield from self._begin(findings, now_ns)
        if self._things and not isinstance(findings, PartialFindings):
            yield from self._end(findings, now_ns)

    def _begin(self, findings: Findings, now_ns: int) -> Iterator[Transition]:
        for key, finding in findings.items():
            thing = self._things.get(key)
            if thing is not None and thing.is_firing:
                continue
            if not self._is_beyond(finding):
                self._things.pop(key, None)
                continue
            if thing is None:
                thing = self._things[key] = _Thing(now_ns)
            if now_ns - thing.since_ns < self._for_ns:
                continue
            if self._firing >= MAX_FIRING:
                self.suppressed += 1
                continue
            thing.is_firing = True
            self._firing += 1
            yield Transition(key, finding)

    def _end(self, findings: Findings, now_ns: int) -> Iterator[Transition]:
        for key, thing in list(self._things.items()):
            finding = findings.get(key)
            if finding is not None and not self._is_clear(finding):
                thing.cleared_ns = None
            elif not thing.is_firing:
                del self._things[key]
            else:
                if thing.cleared_ns is None:
                    thing.cleared_ns = now_ns
                if now_ns - thing.cleared_ns >= self._clear_ns and now_ns >= thing.held_until_ns:
                    del self._things[key]
                    self._firing -= 1
                    yield Transition(key, None)

    def _is_beyond(self, finding: Finding) -> bool:
        return finding.is_forced or (finding.value is not None and finding.value > self.threshold)

    def _is_clear(self, finding: Finding) -> bool:
        return not finding.is_forced and finding.value is not None and finding.value <= self._clear_at
