"""Realised volatility of one instrument over a trailing window.

The price is sampled in steps of some cycles: the mid, or the price of the last tick of an instrument without
quotes. An empty book or a cycle without a message leaves the price as it was (previous-tick sampling). With
the returns r of the steps of the window that have been seen, n of them, and steps of d seconds::

    volatility = sqrt(year_seconds / (n * d) * sum(r ** 2)),  r = ln(price now / price a step ago)

That is the square root of the realised variance, scaled to a year: T. G. Andersen, T. Bollerslev,
F. X. Diebold, P. Labys: *The Distribution of Realized Exchange Rate Volatility*, JASA 96 (2001). Steps of a
second leave out most of the bounce between bid and ask.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

from collectors.common.values import is_usable

if TYPE_CHECKING:
    Floats: TypeAlias = array[float]
else:  # Python 3.11 cannot subscript it
    Floats = array

LEAST_RETURNS = 30
"""With fewer, the standard error of the estimate, 1/sqrt(2 n) of it, would be above an eighth."""
_CANCELLED = 1e-3
"""As in :mod:`collectors.common.windows`."""


class RealisedVariance(Struct):
    """The sum of squared returns of the last ``size`` steps of ``step`` cycles, up to step number ``index``.

    Step n ends at cycle ``n * step - phase``; instruments have different phases, so that each cycle has some.

    Steps that were missed count as one return over all of them. After more than ``size`` of them, and when
    the price begins to come from the other source, the window starts over.
    """

    step: int
    size: int
    phase: int
    index: int
    _squares: Floats = field(default_factory=lambda: array("d"))
    _cursor: int = 0
    _price: float = 0.0
    """Price of the last step; 0: none."""
    is_mid: bool = False
    """Whether the prices are mids."""
    _sum: float = 0.0
    _peak: float = 0.0
    count: int = 0
    """Number of steps in the window."""

    def push(self, index: int, mid: float | None, last: float | None) -> None:
        """Advances to step ``index`` with the mid and the price of the last tick."""
        is_mid = mid is not None or self.is_mid
        price = mid if is_mid else last
        steps = index - self.index
        self.index = index
        if price is None:
            if not self._price:
                return
            price = self._price
        if not (price > 0 and is_usable(price)):
            self._restart(0.0, is_mid=is_mid)
        elif not self._price or is_mid is not self.is_mid or not 0 < steps <= self.size:
            self._restart(price, is_mid=is_mid)
        else:
            self._add(price, steps)

    def volatility(self, steps_per_year: float) -> float | None:
        """The realised volatility by year; ``None`` before enough returns."""
        if self.count < min(LEAST_RETURNS, self.size):
            return None
        return math.sqrt(max(self._sum, 0.0) * steps_per_year / self.count)

    def _restart(self, price: float, *, is_mid: bool) -> None:
        self._price, self.is_mid = price, is_mid
        if self.count:
            self._squares = array("d")
            self._cursor = self.count = 0
            self._sum = self._peak = 0.0

    def _add(self, price: float, steps: int) -> None:
        squares, size = self._squares, self.size
        if not squares:
            squares = self._squares = array("d", bytes(8 * size))
        square = 0.0
        if price != self._price:
            square = math.log(price / self._price) ** 2
            self._price = price
        cursor, left = self._cursor, 0.0
        for _ in range(steps):
            cursor += 1
            if cursor == size:
                cursor = 0
            left += squares[cursor]
            squares[cursor] = 0.0
        squares[cursor] = square
        self.count = min(self.count + steps, size)
        self._sum += square - left
        self._peak = max(self._peak, self._sum)
        # Once per turn of the ring as well, so that rounding errors do not accumulate.
        if (left and self._sum <= self._peak * _CANCELLED) or cursor < steps:
            self._sum = self._peak = math.fsum(squares)
        self._cursor = cursor
