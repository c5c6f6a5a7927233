"""Sentiment of headlines over time."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.names import DURATION
from decahertz.clock import NS_PER_SECOND
from decahertz.duration import parse_duration
from decahertz.quantities import TimeNanoseconds
from decahertz.trading_days import DAY_NS
from storage.query.sentiment import ScorerCount, SentimentPoint, SentimentRange

_MOST_POINTS: Final = 1000
_DEFAULT_POINTS: Final = 100
_LONGEST_NS: Final = 366 * DAY_NS


class SentimentQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of a sentiment series over `[start, end]`; default: the last day."""

    instrument: Annotated[str, Meta(min_length=1, max_length=128, description="As in headlines.")]
    start: Time | None = None
    end: Time | None = None
    step: (
        Annotated[
            str,
            Meta(pattern=DURATION, description="Distance of the points: `15m`, `1h`; default: 100 points."),
        ]
        | None
    ) = None
    window: Annotated[
        str, Meta(pattern=DURATION, description="How long a headline counts: `24h`, `7d`; at most 366d.")
    ] = "24h"
    half_life: Annotated[
        str, Meta(pattern=DURATION, description="Age at which a headline has half its weight: `6h`.")
    ] = "6h"
    publisher: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    recorder: (
        Annotated[
            str,
            Meta(min_length=1, max_length=256, description="Recorder of the headlines; default: this one."),
        ]
        | None
    ) = None


class SentimentSeries(Struct, frozen=True, kw_only=True):
    """The sentiment of an instrument over time."""

    instrument: str
    start_ns: TimeNanoseconds
    end_ns: TimeNanoseconds
    step_ns: int
    window_seconds: float
    half_life_seconds: float
    items: list[SentimentPoint]
    """Oldest first."""
    scorers: list[ScorerCount]
    """Scorers of the headlines in the range and the window before it."""
    unscored: int
    """Headlines in them without a sentiment; they count nowhere."""


async def sentiment_series(request: Request[SentimentQuery, None]) -> SentimentSeries:
    """Returns the sentiment of an instrument: the mean of its headlines, of which newer ones weigh more.

    At each point the headlines of the `window` before it count, each with the weight
    2^(-age / `half_life`). `n` is their number: a sentiment of few headlines says little.
    """
    query, parts = request.query, request.parts
    end = query.end if query.end is not None else parts.clock.time_ns()
    start = query.start if query.start is not None else max(end - DAY_NS, 0)
    if start > end:
        raise parameter_problem("start", "is later than end")
    step = max((end - start) // _DEFAULT_POINTS, 1) if query.step is None else parse_duration(query.step)
    if (end - start) // step >= _MOST_POINTS:
        raise parameter_problem("step", f"more than {_MOST_POINTS} points: a longer step, or a shorter range")
    window, half_life = parse_duration(query.window), parse_duration(query.half_life)
    if window > _LONGEST_NS:
        raise parameter_problem("window", "longer than 366d")
    which = SentimentRange(
        instrument=query.instrument,
        start_ns=start,
        end_ns=end,
        step_ns=step,
        window_ns=window,
        half_life_ns=half_life,
        recorder=query.recorder,
        publisher=query.publisher,
    )
    items, scorers, unscored = await parts.queries.sentiment(which)
    if not scorers and not unscored:
        await check_known(parts, {"instrument": query.instrument})
    return SentimentSeries(
        instrument=query.instrument,
        start_ns=start,
        end_ns=end,
        step_ns=step,
        window_seconds=window / NS_PER_SECOND,
        half_life_seconds=half_life / NS_PER_SECOND,
        items=items,
        scorers=scorers,
        unscored=unscored,
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/sentiment/series/{instrument}",
        summary="Sentiment series",
        handler=sentiment_series,
        anywhere=True,
        query=SentimentQuery,
        response=SentimentSeries,
        problems=("database-unavailable", "not-found", "unknown-name"),
    ),
)
