"""Which numbers the collectors calculate with.

Events may carry numbers up to 1e300, whose products are infinite. No market has such prices, and a sample
must be finite, so what is larger than :data:`LARGEST` is shown as it came but never enters a sum.
"""

from __future__ import annotations

import math

LARGEST = 1e100
"""Prices, quantities and money beyond this are no part of any sum; the product of two is still finite."""


class UnusableEventError(ValueError):
    """An event carries a number that nothing can be calculated from. The host counts and logs it."""


def is_usable(number: float) -> bool:
    """Whether a number may enter a sum."""
    return -LARGEST <= number <= LARGEST


def finite(number: float) -> float | None:
    """The number, or ``None`` where a calculation left the range of floats."""
    return number if math.isfinite(number) else None
