"""Analytics of stored ticks: statistics of days, opening range breakouts, volume profiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import time
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import ApiParts, Request
from api.routes.known import check_known
from api.routes.names import DURATION, Names
from api.routes.records import Cursor
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.decode_errors import explained
from decahertz.duration import parse_duration
from decahertz.quantities import Figures, Price, Quantity, Ratio, Reasons, TimeNanoseconds
from decahertz.settings import SettingsError
from decahertz.trading_days import DAY_NS, Timeframe, TradingDays
from storage.query.analytics.daily import Day
from storage.query.analytics.opening_range import OpeningRange, Sessions
from storage.query.analytics.tick_selection import LATEST_NS, TickFilter
from storage.query.analytics.volume_profile import (
    MOST_BINS,
    VALUE_AREA,
    ProfileBin,
    TooManyBinsError,
)
from storage.query.bars import BarFilter

_TIME_OF_DAY: Final = explained(r"^([01]\d|2[0-3]):[0-5]\d$(?!\n)", "a time of the day is written 09:30")
Instrument: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, description="As in `instruments`.")]
Venues: TypeAlias = Annotated[Names, Meta(description="Venues; default: the ticks of all venues.")]
Recorder: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=256, description="Recorder of the ticks; default: this one.")
]
Zone: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="Time zone, such as `America/New_York`; default: `accounting.timezone`.",
    ),
]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=366, description="Number of days.")]
_NO_TICKS = "there are no ticks in the range"
_NO_PREVIOUS = "there is no day with ticks before"


class DailyQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of trading days: all that overlap `[start, end)`, each one whole."""

    instrument: Instrument
    venue: Venues = ()
    recorder: Recorder | None = None
    timezone: Zone | None = None
    day_start: (
        Annotated[
            str,
            Meta(pattern=_TIME_OF_DAY, description="When the day starts; default: `accounting.day_start`."),
        ]
        | None
    ) = None
    start: Time | None = None
    end: Time | None = None
    limit: Days = 20
    cursor: Cursor | None = None


class TradingDay(Struct, frozen=True, kw_only=True):
    """One trading day."""

    time_ns: TimeNanoseconds
    """Start of the day."""
    end_ns: TimeNanoseconds
    is_complete: bool
    """Whether the day is over."""
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Quantity | None
    trades: int
    """Number of ticks."""
    vwap: Price | None
    previous_close: Price | None
    """Close of the last day with ticks."""
    gap: Ratio | None
    """Open over the previous close, less 1."""
    change: Ratio | None
    """Close over the previous close, less 1."""
    range: Price
    """High less low."""
    true_range: Price | None
    """The range, widened to the previous close (Wilder: New Concepts in Technical Trading Systems, 1978)."""
    realised_volatility: Ratio | None
    """Root of the sum of the squared log returns of five minutes; for the day, not scaled to a year."""
    returns: int
    """Number of these returns."""
    reasons: Reasons


class DailySummary(Struct, frozen=True, kw_only=True):
    """Over the complete days of the response."""

    n: int
    """Number of days."""
    up: int
    """Days that closed above the previous close."""
    down: int
    """Days that closed below it."""
    mean_change: Ratio | None
    change_deviation: Ratio | None
    """Standard deviation of the change, with n - 1."""
    mean_range: Price | None
    mean_true_range: Price | None
    mean_volume: Quantity | None
    mean_realised_volatility: Ratio | None
    reasons: Reasons


class DailyStatistics(Struct, frozen=True, kw_only=True):
    """Trading days of an instrument, the newest first."""

    instrument: str
    timezone: str
    day_start: str
    summary: DailySummary
    items: list[TradingDay]
    next_cursor: str | None


async def analytics_daily(request: Request[DailyQuery, None]) -> DailyStatistics:
    """Returns statistics of trading days, made from ticks; newest day first.

    A day starts at `day_start` in `timezone`, and lasts 23 or 25 hours when the clocks change. There is no
    day without a tick.
    """
    query, parts = request.query, request.parts
    _check_range(query.start, query.end)
    calendar = _calendar(parts, query.timezone, query.day_start)
    which = BarFilter(
        instrument=query.instrument,
        timeframe_ns=DAY_NS,
        venues=query.venue,
        start_ns=query.start,
        end_ns=query.end,
        recorder=query.recorder,
        days=calendar,
    )
    found, next_cursor = await parts.queries.days(which, limit=query.limit, cursor=query.cursor)
    if not found:
        await check_known(parts, {"instrument": query.instrument})
    now_ns = parts.clock.time_ns()
    days = [_day(day, now_ns) for day in found]
    return DailyStatistics(
        instrument=query.instrument,
        timezone=calendar.timezone,
        day_start=calendar.day_start,
        summary=_daily_summary([day for day in days if day.is_complete]),
        items=days,
        next_cursor=next_cursor,
    )


def _day(day: Day, now_ns: int) -> TradingDay:
    bar, close, figures = day.bar, day.previous_close, Figures()
    reason = _NO_PREVIOUS if close is None else "the previous close is not positive"
    base = close if close is not None and close > 0 else None
    figures.add("previous_close", close, _NO_PREVIOUS)
    figures.add("gap", None if base is None else bar.open / base - 1, reason)
    figures.add("change", None if base is None else bar.close / base - 1, reason)
    true_range = None if close is None else max(bar.high, close) - min(bar.low, close)
    figures.add("true_range", true_range, _NO_PREVIOUS)
    figures.add("volume", bar.volume, "the sum is too large")
    figures.add("vwap", bar.vwap, "no tick has a size")
    volatility = None if day.variance is None else math.sqrt(day.variance)
    figures.add("realised_volatility", volatility, "no price is positive")
    return TradingDay(
        time_ns=bar.time_ns,
        end_ns=day.end_ns,
        is_complete=day.end_ns <= now_ns,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        trades=bar.trades,
        range=bar.high - bar.low,
        returns=day.returns,
        **figures.values_with_reasons(),
    )


def _daily_summary(days: Sequence[TradingDay]) -> DailySummary:
    changes = [day.change for day in days if day.change is not None]
    figures = Figures()
    figures.add("mean_change", _mean(changes), "no complete day has a change")
    figures.add("change_deviation", _deviation(changes), "fewer than two complete days have a change")
    figures.add("mean_range", _mean(day.range for day in days), "no day is complete")
    figures.add("mean_true_range", _mean(d.true_range for d in days), "no complete day has a true range")
    figures.add("mean_volume", _mean(day.volume for day in days), "no complete day has a volume")
    figures.add(
        "mean_realised_volatility",
        _mean(day.realised_volatility for day in days),
        "no complete day has a realised volatility",
    )
    return DailySummary(
        n=len(days),
        up=sum(change > 0 for change in changes),
        down=sum(change < 0 for change in changes),
        **figures.values_with_reasons(),
    )


class OpeningRangeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of opening ranges: of the sessions that start in `[start, end)`."""

    instrument: Instrument
    venue: Venues = ()
    recorder: Recorder | None = None
    timezone: Zone | None = None
    session_start: (
        Annotated[
            str,
            Meta(
                pattern=_TIME_OF_DAY,
                description="When the session starts, in that zone; default: `accounting.day_start`.",
            ),
        ]
        | None
    ) = None
    session_length: Annotated[
        str,
        Meta(pattern=DURATION, description="Length of the session: `390m`, `24h`; at most to the next one."),
    ] = "24h"
    range: Annotated[str, Meta(pattern=DURATION, description="Length of the opening range: `5m`, `30m`.")] = (
        "15m"
    )
    start: Time | None = None
    end: Time | None = None
    limit: Days = 20


class OpeningRangeSession(Struct, frozen=True, kw_only=True):
    """One session."""

    time_ns: TimeNanoseconds
    """Start of the session."""
    range_end_ns: TimeNanoseconds
    """End of the opening range."""
    end_ns: TimeNanoseconds
    is_complete: bool
    """Whether the session is over."""
    high: Price
    """Of the opening range."""
    low: Price
    """Of the opening range."""
    width: Price
    """High less low."""
    range_trades: int
    """Ticks in the opening range."""
    range_volume: Quantity
    trades: int
    """Ticks of the session after the opening range."""
    close: Price
    """Last price of the session, or so far."""
    direction: int
    """1: the price left the range upwards first; -1: downwards; 0: it did not leave it."""
    breakout_ns: TimeNanoseconds | None
    """Time of the first tick beyond the range."""
    breakout_price: Price | None
    broke_both: bool
    """Whether the price was beyond the other side later."""
    extension: Ratio | None
    """How far the price went beyond the broken side, over the width."""
    follow_through: Ratio | None
    """How far the last price is beyond the broken side, over the width; negative if it came back."""
    reasons: Reasons


class OpeningRangeSummary(Struct, frozen=True, kw_only=True):
    """Over the complete sessions of the response."""

    n: int
    """Number of sessions."""
    breakouts: int
    up: int
    """Breakouts upwards."""
    down: int
    broke_both: int
    breakout_ratio: Ratio | None
    """Breakouts over sessions."""
    follow_through_ratio: Ratio | None
    """Share of the breakouts whose session closed beyond the broken side."""
    mean_extension: Ratio | None
    mean_follow_through: Ratio | None
    mean_width: Price | None
    reasons: Reasons


class OpeningRanges(Struct, frozen=True, kw_only=True):
    """Opening ranges of an instrument, the newest session first."""

    instrument: str
    timezone: str
    session_start: str
    range_seconds: float
    """Length of the opening range."""
    summary: OpeningRangeSummary
    items: list[OpeningRangeSession]


async def analytics_orb(request: Request[OpeningRangeQuery, None]) -> OpeningRanges:
    """Returns opening range breakouts, made from ticks; newest session first.

    The opening range holds the prices of the first minutes of a session. The breakout is the first later tick
    of the session above its high or below its low. Sessions without a tick in their opening range are left
    out.
    """
    query, parts = request.query, request.parts
    _check_range(query.start, query.end)
    range_ns, length_ns = parse_duration(query.range), parse_duration(query.session_length)
    if length_ns > DAY_NS:
        raise parameter_problem("session_length", "longer than 24h")
    if range_ns >= length_ns:
        raise parameter_problem("range", "not shorter than the session")
    calendar = _calendar(parts, query.timezone, query.session_start)
    sessions = Sessions(
        calendar, time.fromisoformat(calendar.day_start), range_ns=range_ns, length_ns=length_ns
    )
    found = await parts.queries.opening_ranges(
        TickFilter(instrument=query.instrument, venues=query.venue, recorder=query.recorder),
        sessions,
        query.start or 0,
        LATEST_NS if query.end is None else query.end,
        limit=query.limit,
    )
    if not found:
        await check_known(parts, {"instrument": query.instrument})
    now_ns = parts.clock.time_ns()
    items = [_session(one, now_ns) for one in found]
    return OpeningRanges(
        instrument=query.instrument,
        timezone=calendar.timezone,
        session_start=calendar.day_start,
        range_seconds=range_ns / NS_PER_SECOND,
        summary=_orb_summary([item for item in items if item.is_complete]),
        items=items,
    )


def _session(found: OpeningRange, now_ns: int) -> OpeningRangeSession:
    figures, width = Figures(), found.high - found.low
    direction, extension, follow_through, is_both = 0, None, None, False
    reason = "the price did not leave the opening range"
    if found.broken_price is not None and found.highest is not None and found.lowest is not None:
        above, below = found.highest - found.high, found.low - found.lowest
        if found.broken_price > found.high:
            direction, far, last = 1, above, found.close - found.high
        else:
            direction, far, last = -1, below, found.low - found.close
        is_both = above > 0 and below > 0
        reason = "all prices of the opening range are equal"
        if width > 0:
            extension, follow_through = far / width, last / width
    figures.add("extension", extension, reason)
    figures.add("follow_through", follow_through, reason)
    return OpeningRangeSession(
        time_ns=found.start_ns,
        range_end_ns=found.range_end_ns,
        end_ns=found.end_ns,
        is_complete=found.end_ns <= now_ns,
        high=found.high,
        low=found.low,
        width=width,
        range_trades=found.opening_trades,
        range_volume=found.opening_volume,
        trades=found.trades,
        close=found.close,
        direction=direction,
        breakout_ns=found.broken_ns,
        breakout_price=found.broken_price,
        broke_both=is_both,
        **figures.values_with_reasons(),
    )


def _orb_summary(sessions: Sequence[OpeningRangeSession]) -> OpeningRangeSummary:
    figures, n = Figures(), len(sessions)
    broken = [session for session in sessions if session.direction]
    followed = [one.follow_through for one in broken if one.follow_through is not None]
    nothing, none_left = "no session is complete", "no complete session has a breakout"
    figures.add("breakout_ratio", len(broken) / n if n else None, nothing)
    share = sum(value > 0 for value in followed) / len(followed) if followed else None
    figures.add("follow_through_ratio", share, none_left)
    figures.add("mean_extension", _mean(session.extension for session in broken), none_left)
    figures.add("mean_follow_through", _mean(followed), none_left)
    figures.add("mean_width", _mean(session.width for session in sessions), nothing)
    return OpeningRangeSummary(
        n=n,
        breakouts=len(broken),
        up=sum(session.direction > 0 for session in broken),
        down=sum(session.direction < 0 for session in broken),
        broke_both=sum(session.broke_both for session in broken),
        **figures.values_with_reasons(),
    )


class VolumeProfileQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of a volume profile: of the ticks in `[start, end)`; by default of the trading day so far."""

    instrument: Instrument
    venue: Venues = ()
    recorder: Recorder | None = None
    start: Time | None = None
    """Default: the start of the trading day that `end` is in."""
    end: Time | None = None
    bins: Annotated[
        int, Meta(ge=1, le=MOST_BINS, description="Number of bins from the lowest to the highest price.")
    ] = 50
    bin_size: (
        Annotated[float, Meta(gt=0, description="Width of a bin instead: bins at multiples of it.")] | None
    ) = None
    value_area: Annotated[
        float, Meta(gt=0, le=1, description="Share of the volume that the value area holds.")
    ] = VALUE_AREA


class VolumeProfileReport(Struct, frozen=True, kw_only=True):
    """Volume of an instrument by price."""

    instrument: str
    start_ns: TimeNanoseconds
    end_ns: TimeNanoseconds
    trades: int
    """Number of ticks."""
    volume: Quantity
    low: Price | None
    """Lowest price."""
    high: Price | None
    """Highest price."""
    bin_width: Price | None
    point_of_control: Price | None
    """Middle of the bin with the most volume."""
    value_area_low: Price | None
    """Lower edge of the lowest bin of the value area."""
    value_area_high: Price | None
    """Upper edge of its highest bin."""
    value_area_volume: Quantity | None
    """Quantity traded there; at least the wanted share."""
    bins: list[ProfileBin]
    """From the lowest price to the highest."""
    reasons: Reasons


async def analytics_volume_profile(request: Request[VolumeProfileQuery, None]) -> VolumeProfileReport:
    """Returns how much was traded at which price, with point of control and value area, made from ticks.

    The value area grows from the point of control by the two bins above or below, whichever hold more, until
    it holds its share of the volume.
    """
    query, parts = request.query, request.parts
    end_ns = parts.clock.time_ns() if query.end is None else query.end
    start_ns = query.start
    if start_ns is None:
        start_ns = max(Timeframe(DAY_NS, parts.days).start_of(max(end_ns - 1, 0)), 0)
    _check_range(start_ns, end_ns)
    if query.bin_size is not None and not math.isfinite(query.bin_size):
        raise parameter_problem("bin_size", "is not a finite number")
    which = TickFilter(instrument=query.instrument, venues=query.venue, recorder=query.recorder)
    try:
        found = await parts.queries.volume_profile(
            which, start_ns, end_ns, bins=query.bins, width=query.bin_size, share=query.value_area
        )
    except TooManyBinsError as error:
        raise parameter_problem("bin_size", str(error)) from error
    if not found.trades:
        await check_known(parts, {"instrument": query.instrument})
    reason = "no tick has a size" if found.trades else _NO_TICKS
    figures = Figures()
    for name in ("low", "high", "bin_width"):
        figures.add(name, getattr(found, name), _NO_TICKS)
    point = None if found.point_of_control is None else found.bins[found.point_of_control]
    area = [] if found.value_area is None else found.bins[found.value_area[0] : found.value_area[1] + 1]
    figures.add("point_of_control", None if point is None else (point.low + point.high) / 2, reason)
    figures.add("value_area_low", area[0].low if area else None, reason)
    figures.add("value_area_high", area[-1].high if area else None, reason)
    figures.add("value_area_volume", math.fsum(one.volume for one in area) if area else None, reason)
    return VolumeProfileReport(
        instrument=query.instrument,
        start_ns=start_ns,
        end_ns=end_ns,
        trades=found.trades,
        volume=found.volume,
        bins=list(found.bins),
        **figures.values_with_reasons(),
    )


def _calendar(parts: ApiParts, timezone: str | None, day_start: str | None) -> TradingDays:
    if timezone is None and day_start is None:
        return parts.days
    settings = AccountingSettings(
        timezone=timezone or parts.days.timezone, day_start=day_start or parts.days.day_start
    )
    try:
        return TradingDays(settings)
    except SettingsError as error:
        raise parameter_problem("timezone", error.reason) from error


def _check_range(start_ns: int | None, end_ns: int | None) -> None:
    if start_ns is not None and end_ns is not None and start_ns > end_ns:
        raise parameter_problem("start", "is later than end")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _deviation(values: Sequence[float]) -> float | None:
    mean = _mean(values)
    if mean is None or len(values) < 2:  # noqa: PLR2004 - a deviation needs two
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/analytics/daily/{instrument}",
        summary="Statistics of trading days",
        handler=analytics_daily,
        revalidates=True,
        anywhere=True,
        query=DailyQuery,
        response=DailyStatistics,
        problems=("invalid-cursor", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/analytics/orb/{instrument}",
        summary="Opening range breakouts",
        handler=analytics_orb,
        revalidates=True,
        anywhere=True,
        query=OpeningRangeQuery,
        response=OpeningRanges,
        problems=("database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/analytics/volume-profile/{instrument}",
        summary="Volume by price",
        handler=analytics_volume_profile,
        revalidates=True,
        anywhere=True,
        query=VolumeProfileQuery,
        response=VolumeProfileReport,
        problems=("database-unavailable", "unknown-name"),
    ),
)
