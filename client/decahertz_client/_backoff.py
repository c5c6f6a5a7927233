"""Exponential backoff of the client's threads and readers."""

from __future__ import annotations

import random

_MOST_DOUBLINGS = 32


def delay_seconds(failures: int, first: float, longest: float) -> float:
    """Returns the wait after a number of failures from 0: it doubles from ``first`` to ``longest``.

    Half of it is random: processes that lost the recorder together do not return together. However many
    failures an outage has, the number stays small.
    """
    growing = min(first * 2.0 ** min(failures, _MOST_DOUBLINGS), longest)
    return growing * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients out, guards no secret
