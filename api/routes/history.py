"""Histories of samples."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.body import BodyReader
from api.http.problems import FieldProblem, ProblemError
from api.http.query import Extra, NoQuery, Time, parameter_problem, parse_moment
from api.http.route import AnyRoute, Route
from api.parts import ApiParts, Request
from api.routes.known import check_known
from api.routes.names import DURATION, KEYS, Names, check_names, unknown_name
from decahertz.clock import NS_PER_SECOND, Clock, TimeFormatError
from decahertz.duration import parse_duration
from storage.query.history.history import History, Limits
from storage.query.history.resolution import ResolutionError, ResolutionRequest
from storage.tiers.names import Tier

DEFAULT_RANGE_NS: Final = 5 * 60 * NS_PER_SECOND
MAX_RAW_RANGE_NS: Final = 3600 * NS_PER_SECOND
"""Longer ranges are answered in buckets by default."""
DEFAULT_POINTS: Final = 2000
_LIMITS: Final = Limits(rows=200_000, values=500_000)
"""Limits of one response: encoding more would delay the next cycle."""

_OF_EVENTS: Final = ("market", "strategy", "execution")
"""Collectors whose instruments and strategies come from events."""
_KEY_VALUES: Final = Meta(min_length=1, max_length=1000)
BodyTime: TypeAlias = (
    Annotated[int, Meta(ge=0, le=2**63 - 1)]
    | Annotated[
        str, Meta(max_length=64, description="Nanoseconds since the Unix epoch, RFC 3339, or `-10m`.")
    ]
)
StepText: TypeAlias = Annotated[
    str,
    Meta(
        pattern=DURATION,
        description="Bucket width, a multiple of 100ms: `500ms`, `5s`, `1m`, `1h`; without a unit ns. Buckets"
        " begin at multiples of it since the epoch, UTC: those of a week on Thursday.",
    ),
]
TierName: TypeAlias = Annotated[Tier, Meta(description="Tier to read; default: chosen by the range.")]
MaxPoints: TypeAlias = Annotated[
    int, Meta(ge=2, le=50_000, description="Maximum points per series; spikes are kept.")
]


class _AnyHistoryQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    collector: Annotated[str, Meta(min_length=1, max_length=64, description="The collector.")]
    recorder: Annotated[Names, Meta(description="Names of recorders; default: all.")] = ()
    fields: Annotated[Names, Meta(description="Names of metrics; default: all.")] = ()
    tier: TierName | None = None
    step: StepText | None = None
    max_points: MaxPoints | None = None


class HistoryQuery(_AnyHistoryQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of a history over `[start, end)`; default: the last five minutes."""

    start: Time | None = None
    end: Time | None = None


class HistoryRequest(_AnyHistoryQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same query as a body, for more keys than fit into a URL."""

    key: Annotated[
        dict[
            Annotated[str, Meta(max_length=64)],
            Annotated[list[Annotated[str, Meta(max_length=256)]], _KEY_VALUES],
        ],
        Meta(max_length=16, description="Filters by key field."),
    ] = {}
    start: BodyTime | None = None
    end: BodyTime | None = None


async def metrics_history(request: Request[HistoryQuery, None]) -> History:
    """Returns samples in columns, one series per recorder and key.

    Further parameters filter by key: `venue=coinbase&instrument=BTC-USD,ETH-USD`. Ranges up to an hour return
    raw samples. Longer ranges, ranges whose raw samples have expired, and requests with `tier`, `step` or
    `max_points` return buckets: `last`, `min`, `max` and `avg` of each gauge, `last` of everything else.
    Every bucket that overlaps the range is returned whole. `tier` and `step_ns` name the chosen resolution.

    A response that would be too large is cut, and `next_start_ns` is set: request the rest with `start` at
    `next_start_ns` and `step` at `step_ns`.
    """
    return await _history(request.parts, request.query, request.extra)


async def metrics_history_by_body(request: Request[NoQuery, HistoryRequest]) -> History:
    """Like `GET`, with the parameters in the body and the filters in `key`."""
    body = request.body
    values = {name: getattr(body, name) for name in _AnyHistoryQuery.__struct_fields__}
    values |= {name: body_time(name, getattr(body, name), request.parts.clock) for name in ("start", "end")}
    query = HistoryQuery(**values)
    return await _history(request.parts, query, {name: tuple(values) for name, values in body.key.items()})


async def _history(parts: ApiParts, query: HistoryQuery, keys: Extra) -> History:
    schemas = {schema.collector: schema for schema in parts.schemas}
    schema = schemas.get(query.collector)
    if schema is None:
        raise unknown_name("collector", query.collector, schemas)
    check_names([schema], keys, query.fields, query.__struct_fields__)
    end = query.end if query.end is not None else parts.clock.time_ns()
    start = query.start if query.start is not None else max(0, end - DEFAULT_RANGE_NS)
    if start > end:
        raise parameter_problem("start", "is later than end")
    request = _resolution_request(query, end - start)
    history = await parts.queries.history(
        schema,
        tuple(dict.fromkeys(query.fields)),
        {"recorder": query.recorder, **keys} if query.recorder else keys,
        start,
        end,
        request=request,
        limits=_LIMITS,
    )
    if not history.series and schema.collector in _OF_EVENTS:
        await check_known(parts, keys)
    return history


def _resolution_request(query: HistoryQuery, length_ns: int) -> ResolutionRequest:
    try:
        step_ns = None if query.step is None else parse_duration(query.step)
        if query.tier is None and step_ns is None and query.max_points is None:
            return (
                ResolutionRequest()
                if length_ns <= MAX_RAW_RANGE_NS
                else ResolutionRequest(max_points=DEFAULT_POINTS)
            )
        return ResolutionRequest(query.tier, step_ns, query.max_points)
    except ResolutionError as error:
        raise parameter_problem(error.parameter, str(error)) from error


def body_time(name: str, given: int | str | None, clock: Clock) -> int | None:
    """A time in a body, in nanoseconds. Raises :class:`ProblemError`."""
    if given is None:
        return None
    try:
        time_ns = parse_moment(str(given), clock)
    except TimeFormatError as error:
        raise _invalid_time(name, str(error)) from error
    if not 0 <= time_ns < 2**63:
        raise _invalid_time(name, "is outside 1970 to 2262")
    return time_ns


def _invalid_time(name: str, reason: str) -> ProblemError:
    return ProblemError("invalid-body", f"{name}: {reason}", [FieldProblem(field=name, reason=reason)])


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/metrics/history",
        summary="History of samples",
        handler=metrics_history,
        revalidates=True,
        anywhere=True,
        query=HistoryQuery,
        extra_query=KEYS,
        response=History,
        problems=("database-unavailable", "unknown-name"),
    ),
    Route(
        method="POST",
        path="/api/v1/metrics/history",
        summary="History of samples, query in the body",
        handler=metrics_history_by_body,
        anywhere=True,
        body=BodyReader(HistoryRequest),
        response=History,
        problems=("database-unavailable", "unknown-name"),
    ),
)
