"""Statistics of trading days: bars of a day, and the realised variance inside each of them.

The realised variance of a day is the sum of its squared log returns, from the first tick on in steps of five
minutes; a step without a tick has no return of its own (previous-tick sampling): T. G. Andersen,
T. Bollerslev: *Answering the Skeptics: Yes, Standard Volatility Models Do Provide Accurate Forecasts*,
International Economic Review 39 (1998).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from decahertz.bar import Bar
from decahertz.clock import NS_PER_SECOND
from storage.query.analytics.tick_selection import ORDER, TICKS, WHERE, TickFilter, find_ticks
from storage.query.bars import BarFilter, newest_bars

if TYPE_CHECKING:
    from storage.database import AnyConnection

STEP_NS: Final = 300 * NS_PER_SECOND
"""Width of the returns."""
_VARIANCES: Final = f"""
WITH steps AS (
    SELECT width_bucket(time_ns, $8::bigint[]) AS day, time_ns / {STEP_NS} AS step,
        (array_agg(price ORDER BY {ORDER}))[1] AS open,
        (array_agg(price ORDER BY {ORDER}))[count(*)::int] AS close
    FROM {TICKS} WHERE {WHERE} AND price >= 1e-100 GROUP BY 1, 2
), returns AS (
    SELECT day, ln(close / coalesce(lag(close) OVER (PARTITION BY day ORDER BY step), open)) AS r FROM steps
)
SELECT day, sum(r * r) AS variance, count(*) AS returns FROM returns GROUP BY day
"""  # noqa: S608 - the parts are constants


@dataclass(frozen=True, slots=True)
class Day:
    """One trading day with ticks."""

    bar: Bar
    end_ns: int
    previous_close: float | None
    """Close of the day with ticks before; ``None``: there is none."""
    variance: float | None
    """Realised variance; ``None`` without a positive price."""
    returns: int
    """Number of its returns."""


async def newest_days(
    connection: AnyConnection, which: BarFilter, limit: int, cursor: str | None
) -> tuple[list[Day], str | None]:
    """Days, the newest first, and the cursor of the rest; ``which`` has bars of a day.

    Raises :class:`~storage.query.pagination.CursorError`.
    """
    bars, next_cursor = await newest_bars(connection, which, limit, cursor)
    if not bars:
        return [], next_cursor
    frame = which.timeframe
    start_ns, end_ns = bars[-1].time_ns, frame.end_of(bars[0].time_ns)
    before = replace(which, start_ns=None, end_ns=start_ns)
    earlier, _ = await newest_bars(connection, before, 1, None)
    ticks = await find_ticks(
        connection, TickFilter(instrument=which.instrument, venues=which.venues, recorder=which.recorder)
    )
    variances: dict[int, tuple[float, int]] = {}
    if ticks is not None:
        starts = frame.starts(start_ns, end_ns)
        for row in await connection.fetch(_VARIANCES, *ticks.values(start_ns, end_ns), starts):
            variances[starts[row["day"] - 1]] = row["variance"], row["returns"]
    days = []
    for bar, previous in zip_longest(bars, [*bars[1:], *earlier]):
        variance, returns = variances.get(bar.time_ns, (None, 0))
        close = None if previous is None else previous.close
        days.append(Day(bar, frame.end_of(bar.time_ns), close, variance, returns))
    return days, next_cursor
