"""Opening-range breakout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from decahertz.accounting import AccountingSettings
from decahertz.bar import Bar
from decahertz.duration import DURATION_PATTERN, parse_duration
from decahertz.event import Direction
from decahertz.settings import SettingsError
from decahertz.signal_generator import MOST_BARS, Decision, SignalGenerator
from decahertz.trading_days import DAY_NS, TradingDays

Duration = Annotated[str, Meta(pattern=DURATION_PATTERN)]


class OpeningRangeBreakoutParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session and its opening range."""

    range: Annotated[Duration, Meta(description="Length of the opening range: `15m`.")] = "15m"
    session_start: Annotated[
        str,
        Meta(
            pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$(?!\n)",
            description="When the session starts, `09:30`; empty: `accounting.day_start`.",
        ),
    ] = ""
    session_length: Annotated[Duration, Meta(description="Length of the session, at most a day.")] = "24h"
    timezone: Annotated[
        str, Meta(max_length=64, description="Zone of the start; empty: `accounting.timezone`.")
    ] = ""


class OpeningRangeBreakout(SignalGenerator[OpeningRangeBreakoutParameters]):
    """Buys at the first close of a session above its opening range, sells at the first one below.

    The opening range is the highest high and the lowest low of the bars of the first minutes of the session.
    The first close beyond it is the breakout; a session has one at most. Strength: how far the close is
    beyond the range, over its width.
    Source: Crabel, *Day Trading with Short Term Price Patterns and Opening Range Breakout*, 1990.
    """

    parameters_type: ClassVar[type[Struct]] = OpeningRangeBreakoutParameters

    def __init__(
        self, parameters: OpeningRangeBreakoutParameters, timeframe_ns: int, days: TradingDays
    ) -> None:
        super().__init__(parameters, timeframe_ns, days)
        self._range_ns = parse_duration(parameters.range)
        self._length_ns = parse_duration(parameters.session_length)
        zone, start = parameters.timezone or days.timezone, parameters.session_start or days.day_start
        try:
            self._sessions = TradingDays(AccountingSettings(timezone=zone, day_start=start))
        except SettingsError as error:
            raise ValueError(f"timezone: {error.reason}") from error
        if self._length_ns > DAY_NS:
            raise ValueError("session_length: longer than 24h")
        if self._range_ns >= self._length_ns:
            raise ValueError("range: not shorter than session_length")
        if self._range_ns % timeframe_ns:
            raise ValueError(f"range: {parameters.range} is not a multiple of the timeframe")
        if self._length_ns // timeframe_ns > MOST_BARS:
            raise ValueError(f"session_length: more than {MOST_BARS} bars of this timeframe")

    @property
    def bars(self) -> int:
        """All of a session."""
        return -(-self._length_ns // self.timeframe_ns)

    def decide(self, bars: Sequence[Bar]) -> Decision:
        """Compares the closes of the session with its opening range."""
        last = bars[-1]
        session_ns = self._sessions.start_ns(self._sessions.day_of(last.time_ns))
        range_end_ns = session_ns + self._range_ns
        if (last.time_ns - session_ns) % self.timeframe_ns:
            return Decision(reason="the session does not start with a bar of this timeframe")
        if last.time_ns + self.timeframe_ns > session_ns + self._length_ns:
            return Decision(reason="the session is over")
        if last.time_ns < range_end_ns:
            return Decision(reason="the opening range is not over")
        opening = [bar for bar in bars if session_ns <= bar.time_ns < range_end_ns]
        if not opening:
            return Decision(reason="there is no tick in the opening range")
        high, low = max(bar.high for bar in opening), min(bar.low for bar in opening)
        return _breakout([bar.close for bar in bars if bar.time_ns >= range_end_ns], low, high)


def _breakout(closes: Sequence[float], low: float, high: float) -> Decision:
    """The decision at the last of the closes after the opening range."""
    *before, close = closes
    values = {"high": high, "low": low}
    if any(not low <= one <= high for one in before):
        return Decision(reason="the breakout of the session was before", values=values)
    if low <= close <= high:
        return Decision(reason="the close is within the opening range", values=values)
    is_up = close > high
    distance = close - high if is_up else low - close
    side = f"above the high {high:g}" if is_up else f"below the low {low:g}"
    return Decision(
        direction=Direction.BUY if is_up else Direction.SELL,
        reason=f"first close of the session {side} of the opening range",
        strength=distance / (high - low) if high > low else None,
        values=values,
    )
