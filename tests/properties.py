"""The number of examples of a property whose examples cost most of its time."""

from __future__ import annotations

from tests.pipeline.running import IS_LONG


def examples(count: int) -> int:
    """All of them in scripts/soak, a third in the ordinary run, whose examples are others each time."""
    return count if IS_LONG else -(-count // 3)
