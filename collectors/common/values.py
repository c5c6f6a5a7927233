"""Limits of the numbers that enter calculations.

Events may carry numbers up to 1e300, whose products overflow, and samples must be finite. No market has such
prices: numbers above :data:`LARGEST` are shown as received but excluded from sums.
"""

from __future__ import annotations

import math

LARGEST = 1e100
"""Larger prices, quantities and amounts are excluded from sums; the product of two is still finite."""


class UnusableEventError(ValueError):
    """An event carries a number too large to calculate with. The sampler counts and logs it."""


def is_usable(number: float) -> bool:
    """Whether a number may be included in a sum."""
    return -LARGEST <= number <= LARGEST


def finite(number: float) -> float | None:
    """Returns the number, or ``None`` if the calculation overflowed."""
    return number if math.isfinite(number) else None
