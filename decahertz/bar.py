"""Bars: open, high, low, close and volume of the ticks of one timeframe."""

from __future__ import annotations

from msgspec import Struct


class Bar(Struct, frozen=True, kw_only=True):
    """Open, high, low, close and volume of one timeframe."""

    time_ns: int
    """Start of the bar."""
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    """Sum of the sizes; null where it exceeds a double."""
    trades: int
    """Number of ticks."""
    vwap: float | None
    """Volume-weighted average price; null where the volume is zero or unknown."""
