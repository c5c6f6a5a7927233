"""Histories of samples."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.body import BodyReader
from api.http.errors import FieldProblem, ProblemError
from api.http.query import Extra, NoQuery, Time, parameter_problem
from api.http.route import Call, Route
from api.parts import ApiParts
from api.routes.names import KEYS, Names, check_names, unknown_name
from decahertz.clock import NS_PER_SECOND, TimeFormatError, parse_time
from storage.query.queries import History, Limits
from storage.query.resolution import DURATION_PATTERN, ResolutionError, ResolutionRequest, parse_duration
from storage.tiers.names import Tier

NS_OF_DEFAULT_RANGE: Final = 5 * 60 * NS_PER_SECOND
NS_AS_TAKEN: Final = 3600 * NS_PER_SECOND
"""Where nothing is said, longer ranges are answered in buckets."""
DEFAULT_POINTS: Final = 2000
_MOST: Final = Limits(rows=200_000, values=500_000)
"""What an answer holds at most: encoding more would keep the event loop from the next tick."""

_MANY: Final = Meta(min_length=1, max_length=1000)
BodyTime: TypeAlias = (
    Annotated[int, Meta(ge=0, le=2**63 - 1)]
    | Annotated[str, Meta(max_length=64, description="Nanoseconds since the Unix epoch, or RFC 3339.")]
)
StepText: TypeAlias = Annotated[
    str,
    Meta(
        pattern=DURATION_PATTERN,
        description="Width of the buckets, a multiple of 100ms: `500ms`, `5s`, `1m`, `1h`; bare: ns.",
    ),
]
TierName: TypeAlias = Annotated[Tier, Meta(description="Where to read; left out: chosen for you.")]
MaxPoints: TypeAlias = Annotated[
    int, Meta(ge=2, le=50_000, description="Points in a series at most; spikes are kept.")
]


class HistoryQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples, over `[start, end)`; without times the last five minutes."""

    collector: Annotated[str, Meta(min_length=1, max_length=64, description="The collector.")]
    fields: Annotated[Names, Meta(description="Metrics, by name; none: all.")] = ()
    start: Time | None = None
    end: Time | None = None
    tier: TierName | None = None
    step: StepText | None = None
    max_points: MaxPoints | None = None


class HistoryRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same as a body, for keys that are too many for an address."""

    collector: Annotated[str, Meta(min_length=1, max_length=64, description="The collector.")]
    fields: Annotated[Names, Meta(description="Metrics, by name; none: all.")] = ()
    key: Annotated[
        dict[
            Annotated[str, Meta(max_length=64)], Annotated[list[Annotated[str, Meta(max_length=256)]], _MANY]
        ],
        Meta(max_length=16, description="Values of the sample's key, by name of the key."),
    ] = {}
    start: BodyTime | None = None
    end: BodyTime | None = None
    tier: TierName | None = None
    step: StepText | None = None
    max_points: MaxPoints | None = None


async def metrics_history(call: Call[HistoryQuery, None]) -> History:
    """Samples in columns, one series for each key.

    Further parameters filter by key: `venue=coinbase&instrument=BTC-USD,ETH-USD`. Ranges up to an hour are
    answered with the samples as they were taken. Longer ones, those of which the samples are not kept any
    more, and where `tier`, `step` or `max_points` ask for it, are answered in buckets: of a gauge `last`,
    `min`, `max` and `avg` of each, of everything else `last`. Each bucket that touches the range is answered
    whole. `tier` and `step_ns` say what was chosen.

    An answer that would be too large is cut, never silently: ask again with `start` at `next_start_ns`, and
    with `step` at `step_ns`, for the rest.
    """
    return await _history(call.parts, call.query, call.extra)


async def metrics_history_by_body(call: Call[NoQuery, HistoryRequest]) -> History:
    """As `GET`, with the parameters in a body; the filters by key stand in `key`."""
    body = call.body
    query = HistoryQuery(
        collector=body.collector,
        fields=body.fields,
        start=_time("start", body.start),
        end=_time("end", body.end),
        tier=body.tier,
        step=body.step,
        max_points=body.max_points,
    )
    return await _history(call.parts, query, {name: tuple(values) for name, values in body.key.items()})


async def _history(parts: ApiParts, query: HistoryQuery, keys: Extra) -> History:
    schemas = {schema.collector: schema for schema in parts.schemas}
    schema = schemas.get(query.collector)
    if schema is None:
        raise unknown_name("collector", query.collector, schemas)
    check_names([schema], keys, query.fields, query.__struct_fields__)
    end = query.end if query.end is not None else parts.clock.time_ns()
    start = query.start if query.start is not None else max(0, end - NS_OF_DEFAULT_RANGE)
    if start > end:
        raise parameter_problem("start", "later than end")
    request = _resolution_request(query, end - start)
    return await parts.queries.history(
        schema,
        tuple(dict.fromkeys(query.fields)),
        keys,
        start,
        end,
        request=request,
        limits=_MOST,
    )


def _resolution_request(query: HistoryQuery, length_ns: int) -> ResolutionRequest:
    try:
        step_ns = None if query.step is None else parse_duration(query.step)
        if query.tier is None and step_ns is None and query.max_points is None:
            return (
                ResolutionRequest()
                if length_ns <= NS_AS_TAKEN
                else ResolutionRequest(max_points=DEFAULT_POINTS)
            )
        return ResolutionRequest(query.tier, step_ns, query.max_points)
    except ResolutionError as error:
        raise parameter_problem(error.parameter, str(error)) from error


def _time(name: str, given: int | str | None) -> int | None:
    if not isinstance(given, str):
        return given
    try:
        time_ns = parse_time(given)
    except TimeFormatError as error:
        raise _refused(name, str(error)) from error
    if not 0 <= time_ns < 2**63:
        raise _refused(name, "outside of 1970 to 2262")
    return time_ns


def _refused(name: str, reason: str) -> ProblemError:
    return ProblemError("validation", f"{name}: {reason}", [FieldProblem(field=name, reason=reason)])


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/metrics/history",
        summary="History of samples",
        handler=metrics_history,
        query=HistoryQuery,
        extra_query=KEYS,
        response=History,
        problems=("database",),
    ),
    Route(
        method="POST",
        path="/api/v1/metrics/history",
        summary="History of samples, asked by a body",
        handler=metrics_history_by_body,
        body=BodyReader(HistoryRequest),
        response=History,
        problems=("database",),
    ),
)
