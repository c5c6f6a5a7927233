"""Sentiment of the headlines of an instrument over time.

At each time t the headlines of the window ``(t - window, t]`` count, each with the weight
``2 ** (-(t - time) / half_life)``; the sentiment is their weighted mean::

    sentiment(t) = sum(weight * sentiment) / sum(weight)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from decahertz.clock import to_datetime
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import AnyConnection

POSITIVE: Final = 0.05
"""A sentiment of at least this is positive, of at most its negative one negative: VADER's authors' limit."""
# Without the least exponent the power of a very old headline would underflow, which PostgreSQL refuses.
_SERIES: Final = f"""
WITH scored AS MATERIALIZED (
    SELECT time_ns, sentiment FROM news
    WHERE $1 = ANY (instruments) AND sentiment IS NOT NULL
      AND time_ns > $2::bigint - $5::bigint AND time_ns <= $3 AND time >= $7 AND time <= $8
      AND ($9::text IS NULL OR recorder = $9) AND ($10::text IS NULL OR publisher = $10)
), weighted AS (
    SELECT at.time_ns, sentiment,
           power(2::double precision, greatest((scored.time_ns - at.time_ns) / $6::double precision, -1000))
               AS weight
    FROM generate_series($2::bigint, $3::bigint, $4::bigint) AS at (time_ns)
    LEFT JOIN scored ON scored.time_ns > at.time_ns - $5 AND scored.time_ns <= at.time_ns
)
SELECT time_ns, count(sentiment) AS n, sum(weight * sentiment) / sum(weight) AS sentiment,
       coalesce(sum(weight) FILTER (WHERE sentiment IS NOT NULL), 0) AS weight,
       count(*) FILTER (WHERE sentiment >= {POSITIVE}) AS positive,
       count(*) FILTER (WHERE sentiment <= -{POSITIVE}) AS negative
FROM weighted GROUP BY time_ns ORDER BY time_ns
"""  # noqa: S608 - the parts are constants
_SCORERS: Final = """
SELECT scorer, count(*) AS n, count(*) FILTER (WHERE sentiment IS NULL) AS unscored FROM news
WHERE $1 = ANY (instruments)
  AND time_ns > $2::bigint - $4::bigint AND time_ns <= $3 AND time >= $5 AND time <= $6
  AND ($7::text IS NULL OR recorder = $7) AND ($8::text IS NULL OR publisher = $8)
GROUP BY scorer ORDER BY scorer NULLS FIRST
"""


class SentimentPoint(Struct, frozen=True, kw_only=True):
    """The sentiment at one time."""

    time_ns: int
    """End of the window."""
    sentiment: float | None
    """Weighted mean of the window, from -1 (bad) to 1 (good); null where n is 0."""
    n: int
    """Headlines in the window that have a sentiment."""
    weight: float
    """Sum of their weights: at most n, and small where all are old."""
    positive: int
    """Those with a sentiment of 0.05 or more."""
    negative: int
    """Those with a sentiment of -0.05 or less."""


class ScorerCount(Struct, frozen=True, kw_only=True):
    """How many sentiments a scorer has computed."""

    scorer: str | None
    """Null: stated by the emitter."""
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SentimentRange:
    """The headlines of an instrument, and the times ``start_ns``, ``start_ns + step_ns``, … ``end_ns``."""

    instrument: str
    start_ns: int
    end_ns: int
    step_ns: int
    window_ns: int
    half_life_ns: int
    recorder: str | None = None
    publisher: str | None = None


async def sentiment_series(
    connection: AnyConnection, which: SentimentRange
) -> tuple[list[SentimentPoint], list[ScorerCount], int]:
    """The series, who scored the headlines in it, and how many have no sentiment."""
    if not all(map(storable, (which.instrument, which.recorder or "", which.publisher or ""))):
        return [], [], 0
    begin = to_datetime(max(which.start_ns - which.window_ns, 0))
    last = (begin, to_datetime(which.end_ns), which.recorder, which.publisher)
    rows = await connection.fetch(
        _SERIES,
        which.instrument,
        which.start_ns,
        which.end_ns,
        which.step_ns,
        which.window_ns,
        float(which.half_life_ns),
        *last,
    )
    counts = await connection.fetch(
        _SCORERS, which.instrument, which.start_ns, which.end_ns, which.window_ns, *last
    )
    scorers = [
        ScorerCount(scorer=row["scorer"], n=row["n"] - row["unscored"])
        for row in counts
        if row["n"] > row["unscored"]
    ]
    return [SentimentPoint(**row) for row in rows], scorers, sum(row["unscored"] for row in counts)
