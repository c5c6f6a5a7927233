"""Volume profile: how much was traded at which price.

The bins are of equal width between the lowest and the highest price, or of a given width at multiples of it.
The point of control is the bin with the most volume; among equals the one closest to the middle of the
profile, then the lower one. The value area starts there. As long as it holds less than its share of the
volume, the two bins above it or the two below are added, whichever hold more, and the upper ones if they hold
the same: J. F. Dalton, E. T. Jones, R. B. Dalton: *Mind over Markets*, 1993, appendix 1, after the Market
Profile of the Chicago Board of Trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from storage.query.analytics.tick_selection import TICKS, WHERE, TickFilter, find_ticks

if TYPE_CHECKING:
    import asyncpg

    from storage.database import AnyConnection

MOST_BINS: Final = 1_000
VALUE_AREA: Final = 0.7
_STEP: Final = 2
"""Bins that the value area grows by."""
_BOUNDS: Final = f"""
SELECT min(price) AS low, max(price) AS high, count(*) AS trades, sum(size) AS volume
FROM {TICKS} WHERE {WHERE}
"""  # noqa: S608 - the parts are constants
_COUNTS: Final = """count(*) AS trades, sum(size) AS volume,
    coalesce(sum(size) FILTER (WHERE side = 'buy'), 0) AS bought,
    coalesce(sum(size) FILTER (WHERE side = 'sell'), 0) AS sold"""
_EQUAL: Final = f"""
SELECT CASE WHEN $9::float8 > 0
        THEN least(floor((price - $8::float8) / $9::float8)::bigint, $10::bigint - 1) ELSE 0 END AS bin,
    {_COUNTS}
FROM {TICKS} WHERE {WHERE} GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - as above
# In decimals, so that a price at the edge of a bin falls into it: 0.3 / 0.1 is below 3 in binary.
_MULTIPLES: Final = f"""
SELECT floor(price::numeric / $8::float8::numeric)::bigint AS bin, {_COUNTS}
FROM {TICKS} WHERE {WHERE} GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - as above


class ProfileBin(Struct, frozen=True, kw_only=True):
    """Volume from `low` up to `high`."""

    low: float
    high: float
    """The highest bin includes it."""
    volume: float
    bought: float
    """Quantity that buyers took, where the venue tells the aggressor."""
    sold: float
    """Quantity that sellers took."""
    trades: int
    """Number of ticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeProfile:
    """The profile of a range; without ticks it has no prices, without volume no point of control."""

    low: float | None = None
    high: float | None = None
    trades: int = 0
    volume: float = 0.0
    bin_width: float | None = None
    point_of_control: int | None = None
    """Index of the bin."""
    value_area: tuple[int, int] | None = None
    """Indices of its lowest and highest bin."""
    bins: Sequence[ProfileBin] = ()
    """All bins from the lowest to the highest price, the empty ones included."""


class TooManyBinsError(ValueError):
    """Raised for a width that would need more than :data:`MOST_BINS` bins."""


async def volume_profile(
    connection: AnyConnection,
    which: TickFilter,
    start_ns: int,
    end_ns: int,
    *,
    bins: int,
    width: float | None = None,
    share: float = VALUE_AREA,
) -> VolumeProfile:
    """The profile of the ticks in ``[start, end)``.

    ``width`` is that of the bins; without it there are ``bins`` of them. Raises :class:`TooManyBinsError`.
    """
    ticks = await find_ticks(connection, which)
    if ticks is None:
        return VolumeProfile()
    values = ticks.values(start_ns, end_ns)
    # Both statements see the same ticks.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        bounds = await connection.fetchrow(_BOUNDS, *values)
        if bounds is None or not bounds["trades"]:
            return VolumeProfile()
        low, high = bounds["low"], bounds["high"]
        if width is None:
            count = bins if high > low else 1
            size = (high - low) / count
            rows = await connection.fetch(_EQUAL, *values, low, size, count)
            first, edges = 0, [low + size * n for n in range(count)] + [high]
        else:
            if (high - low) / width > MOST_BINS:
                raise TooManyBinsError(
                    f"the prices from {low:g} to {high:g} need more than {MOST_BINS} bins of {width:g}"
                )
            size = width
            rows = await connection.fetch(_MULTIPLES, *values, width)
            first, last = rows[0]["bin"], rows[-1]["bin"]
            edges = [width * n for n in range(first, last + 2)]
    by_bin = {row["bin"] - first: row for row in rows}
    made = [_bin(by_bin.get(n), *edges[n : n + 2]) for n in range(len(edges) - 1)]
    volumes = [one.volume for one in made]
    point = point_of_control(volumes)
    return VolumeProfile(
        low=low,
        high=high,
        trades=bounds["trades"],
        volume=bounds["volume"],
        bin_width=size,
        point_of_control=point,
        value_area=None if point is None else value_area(volumes, point, share),
        bins=made,
    )


def _bin(row: asyncpg.Record | None, low: float, high: float) -> ProfileBin:
    names = ("volume", "bought", "sold", "trades")
    counts = dict.fromkeys(names[:-1], 0.0) | {"trades": 0} if row is None else {n: row[n] for n in names}
    return ProfileBin(low=low, high=high, **counts)


def point_of_control(volumes: Sequence[float]) -> int | None:
    """Index of the bin with the most volume; ``None`` where nothing was traded."""
    most = max(volumes, default=0.0)
    if not most:
        return None
    middle = (len(volumes) - 1) / 2
    return min((n for n, volume in enumerate(volumes) if volume == most), key=lambda n: (abs(n - middle), n))


def value_area(volumes: Sequence[float], point: int, share: float) -> tuple[int, int]:
    """Indices of the lowest and the highest bin around the point of control that hold the share."""
    wanted = share * sum(volumes)
    low = high = point
    held = volumes[point]
    while held < wanted and (low > 0 or high < len(volumes) - 1):
        above, below = volumes[high + 1 : high + 1 + _STEP], volumes[max(low - _STEP, 0) : low]
        if above and (not below or sum(above) >= sum(below)):
            high += len(above)
            held += sum(above)
        else:
            low -= len(below)
            held += sum(below)
    return low, high
