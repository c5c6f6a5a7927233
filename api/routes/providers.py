"""Market data of providers, through the gateway, and jobs in the background."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.body import BodyReader
from api.http.problems import ProblemError
from api.http.query import NoQuery, QueryT, parameter_problem
from api.http.route import AnyRoute, BodyT, Route, StatusResponse
from api.parts import Request
from decahertz.clock import NS_PER_SECOND
from decahertz.decode_errors import explained
from decahertz.duration import parse_duration
from decahertz.event import Identifier, InstrumentKind
from decahertz.provider import DecimalText
from providers.breaker import BreakerState
from providers.cached import Answer, Ask, CachedProvider, Found
from providers.gateway import Gateway
from providers.jobs import Job
from providers.scheduler import CallPriority
from providers.validation import is_crossed
from storage.write.provider_costs import KeyCosts

_LONGEST_NS: Final = 60 * NS_PER_SECOND
_TIMEOUT: Final = explained(
    r"^[1-9][0-9]{0,5}(ms|s)$(?!\n)", "a timeout is a whole number with ms or s: 500ms, 2s"
)


class ProviderQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one provider."""

    provider: Annotated[str, Meta(min_length=1, max_length=128, description="Name of the provider.")]


class DataQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the data of one symbol."""

    provider: Annotated[str, Meta(min_length=1, max_length=128, description="Name of the provider.")]
    symbol: Annotated[str, Meta(min_length=1, max_length=256, description="As the provider names it.")]
    timeout: Annotated[
        str,
        Meta(pattern=_TIMEOUT, description="How long to wait for an answer, with its unit; at most 60s."),
    ] = "10s"
    priority: Annotated[CallPriority, Meta(description="`background` calls wait for `interactive` ones.")] = (
        CallPriority.INTERACTIVE
    )


class JobQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one job."""

    job_id: Annotated[str, Meta(min_length=1, max_length=64, description="Id of the job.")]


class Quality(StrEnum):
    """How good an answer is."""

    GOOD = "good"
    CROSSED = "crossed"
    """The bid is above the ask."""
    NOT_CURRENT = "not_current"
    """The source itself says that it is not current; `detail` says why."""
    STALE = "stale"
    """From the cache, and older than the provider's `fresh_seconds`."""


class ProviderData(Struct, frozen=True, kw_only=True):
    """The newest prices of a symbol, in the form that all providers share. Numbers are decimal texts."""

    provider: str
    symbol: str
    kind: InstrumentKind | None
    """Null: the source does not say, as in all fields that can be null."""
    exchange: str
    currency: str | None
    """Currency of the prices."""
    price: DecimalText | None
    """Price of the last trade."""
    bid: DecimalText | None
    ask: DecimalText | None
    bid_size: DecimalText | None
    ask_size: DecimalText | None
    volume_24h: DecimalText | None
    """Quantity traded in the last 24 hours."""
    source: str
    """Where it comes from: an address without its parameters, or a part of the recorder."""
    time_ns: int | None
    """When the source says that it was so."""
    received_ns: int
    """When the recorder got it."""
    age_seconds: float
    """Time since `time_ns`, or since `received_ns` where the source has no time."""
    quality: Quality
    detail: str
    """Why it is not good; empty if it is."""
    found: Found
    """How the answer came about: `hit` and `shared` from the cache, `miss` of a new call, `collapsed` of a
    call that another request began, `stale` from the cache while it is renewed, `stale_if_error` from the
    cache because there is no new answer."""
    priority: CallPriority
    response_seconds: float
    """Time that the gateway took."""


class BreakerStatus(Struct, frozen=True, kw_only=True):
    """The circuit breaker of a provider."""

    state: BreakerState
    failures: int
    """Failures in a row."""
    opened: int
    """Times that it opened since the start."""
    retry_seconds: float
    """Time until it lets a trial pass; 0: calls pass."""
    reason: str
    """The newest failure; empty after a success."""


class QueueStatus(Struct, frozen=True, kw_only=True):
    """The scheduler of a provider."""

    calls: int
    """Calls under way."""
    max_calls: int
    interactive: int
    """Interactive calls that wait."""
    background: int


class RateStatus(Struct, frozen=True, kw_only=True):
    """The rate limit of a provider."""

    requests_per_second: float
    """0: there is none."""
    burst: int
    tokens: int | None
    """Calls that can be made at once; null: any number."""
    pause_seconds: float
    """How long the source asks to pause; 0: it does not."""
    waited_seconds: float
    """Time that calls have waited for tokens since the start."""


class BudgetStatus(Struct, frozen=True, kw_only=True):
    """The costs of a provider on this day (UTC), in the unit of its budget."""

    call_cost: float
    per_day: float
    """0: no limit."""
    key_per_day: float
    """Limit of each API key; 0: none."""
    reset_ns: int
    """When the next day begins."""
    spent: float | None
    """Costs of this day; null: nothing is charged, or nothing was yet since the start."""
    keys: list[KeyCosts] | None = None
    """By API key, in `GET /providers/{provider}` of a provider with a budget; else null."""


class CacheStatus(Struct, frozen=True, kw_only=True):
    """The cache of a provider."""

    fresh_seconds: float
    entries: int
    """Answers in memory."""
    flights: int
    """Look-ups under way."""
    answers: dict[str, int]
    """Answers since the start, by how they came about (`found` of the data)."""
    failed: int
    """Requests without an answer since the start."""


class ProviderStatus(Struct, frozen=True, kw_only=True):
    """A provider and what stands in front of it, from the outside to the inside."""

    name: str
    cache: CacheStatus
    queue: QueueStatus
    breaker: BreakerStatus
    budget: BudgetStatus
    rate: RateStatus
    retries: int
    """Calls since the start that repeat a failed one."""
    calls: dict[str, int]
    """Calls since the start by outcome, and refusals before a call by reason."""


class FailedProvider(Struct, frozen=True, kw_only=True):
    """A provider that is enabled and cannot be used."""

    name: str
    reason: str


class ProviderList(Struct, frozen=True, kw_only=True):
    """The enabled providers."""

    items: list[ProviderStatus]
    failed: list[FailedProvider]
    """Providers that could not be loaded."""


class NewWarming(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Symbols to be fetched into the cache."""

    provider: Annotated[str, Meta(min_length=1, max_length=128)]
    symbols: Annotated[list[Identifier], Meta(min_length=1, max_length=1000)]


async def providers(request: Request[NoQuery, None]) -> ProviderList:
    """Returns the enabled providers, each with the state of all that stands in front of it."""
    gateway = _gateway(request)
    return ProviderList(
        items=[_status(one) for one in gateway.providers.values()],
        failed=[FailedProvider(name=one.name, reason=one.reason) for one in gateway.failures],
    )


async def provider(request: Request[ProviderQuery, None]) -> ProviderStatus:
    """Returns one provider, with the costs of this day by API key if it has a budget."""
    one = _gateway(request).provider(request.query.provider)
    costs = await one.upstream.budget.read()
    return _status(one, None if costs is None else costs.keys)


async def provider_data(request: Request[DataQuery, None]) -> ProviderData:
    """Returns the newest prices of a symbol: from the cache while they are fresh, else of a call.

    Requests for the same symbol at the same time share one call. The cost of the call is charged to the key
    of the request that began it. A stale answer is served at once, and renewed in the background; `quality`
    tells.
    """
    query, clock = request.query, request.parts.clock
    timeout_ns = parse_duration(query.timeout)
    if timeout_ns > _LONGEST_NS:
        raise parameter_problem("timeout", "longer than 60s")
    began_ns = clock.monotonic_ns()
    ask = Ask(
        symbol=query.symbol,
        priority=query.priority,
        key=request.caller.name,
        timeout_seconds=timeout_ns / NS_PER_SECOND,
    )
    answer = await _gateway(request).get(query.provider, ask)
    response_ns = clock.monotonic_ns() - began_ns
    return _data(answer, query, clock.time_ns(), response_ns)


async def warm_cache(request: Request[NoQuery, NewWarming]) -> StatusResponse[Job]:
    """Fetches symbols into the cache, in the background and one after the other.

    The answer comes at once; `jobs/{job_id}` has the progress. The calls wait for interactive ones, and are
    charged to the key of the request.
    """
    body = request.body
    job = _gateway(request).warm(body.provider, list(dict.fromkeys(body.symbols)), request.caller.name)
    return StatusResponse(job, 202)


async def background_job(request: Request[JobQuery, None]) -> Job:
    """Returns the progress of a job. The recorder remembers the last hundred, until it is restarted."""
    job = _gateway(request).jobs.find(request.query.job_id)
    if job is None:
        raise ProblemError("not-found", f"there is no job {request.query.job_id!r}")
    return job


def _data(answer: Answer, query: DataQuery, now_ns: int, response_ns: int) -> ProviderData:
    found = answer.data
    quality, detail = Quality.GOOD, ""
    if answer.found in (Found.STALE, Found.STALE_IF_ERROR):
        quality, detail = Quality.STALE, answer.reason or "it is being renewed"
    elif not found.is_current:
        quality, detail = Quality.NOT_CURRENT, found.detail
    elif is_crossed(found):
        quality, detail = Quality.CROSSED, "the bid is above the ask"
    since_ns = answer.received_ns if found.time_ns is None else found.time_ns
    return ProviderData(
        provider=query.provider,
        symbol=found.symbol,
        kind=found.kind,
        exchange=found.exchange,
        currency=found.currency,
        price=found.price,
        bid=found.bid,
        ask=found.ask,
        bid_size=found.bid_size,
        ask_size=found.ask_size,
        volume_24h=found.volume_24h,
        source=found.source,
        time_ns=found.time_ns,
        received_ns=answer.received_ns,
        age_seconds=max(0, now_ns - since_ns) / NS_PER_SECOND,
        quality=quality,
        detail=detail,
        found=answer.found,
        priority=query.priority,
        response_seconds=response_ns / NS_PER_SECOND,
    )


def _status(one: CachedProvider, keys: list[KeyCosts] | None = None) -> ProviderStatus:
    upstream, options = one.upstream, one.provider.options
    breaker, scheduler, budget = upstream.breaker, upstream.scheduler, upstream.budget
    return ProviderStatus(
        name=one.name,
        cache=CacheStatus(
            fresh_seconds=options.fresh_seconds,
            entries=one.entries,
            flights=one.flights,
            answers=dict(one.found),
            failed=one.failed,
        ),
        queue=QueueStatus(
            calls=scheduler.calls,
            max_calls=scheduler.max_calls,
            interactive=scheduler.waiting(CallPriority.INTERACTIVE),
            background=scheduler.waiting(CallPriority.BACKGROUND),
        ),
        breaker=BreakerStatus(
            state=breaker.state,
            failures=breaker.failures,
            opened=breaker.opened,
            retry_seconds=breaker.retry_seconds,
            reason=breaker.reason,
        ),
        budget=BudgetStatus(
            call_cost=budget.call_cost,
            per_day=budget.limit,
            key_per_day=budget.key_limit,
            reset_ns=budget.reset_ns,
            spent=budget.spent,
            keys=keys,
        ),
        rate=RateStatus(
            requests_per_second=options.requests_per_second,
            burst=options.burst,
            tokens=upstream.bucket.tokens,
            pause_seconds=upstream.bucket.pause_seconds,
            waited_seconds=upstream.token_wait_seconds,
        ),
        retries=upstream.retries,
        calls=dict(upstream.outcomes),
    )


def _gateway(request: Request[QueryT, BodyT]) -> Gateway:
    gateway = request.parts.gateway
    if gateway is None:
        raise ProblemError("not-enabled", "this process has no providers")
    return gateway


_PROBLEMS: Final = (
    *("unknown-name", "budget-exhausted", "provider-failed", "provider-unavailable", "provider-timeout"),
    *("database-unavailable", "not-enabled"),
)
ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/providers",
        summary="Providers",
        handler=providers,
        response=ProviderList,
        problems=("not-enabled",),
    ),
    Route(
        path="/api/v1/providers/{provider}",
        summary="One provider",
        handler=provider,
        query=ProviderQuery,
        response=ProviderStatus,
        problems=("not-found", "database-unavailable", "not-enabled"),
    ),
    Route(
        path="/api/v1/data/{provider}/{symbol}",
        summary="Market data of a provider",
        handler=provider_data,
        query=DataQuery,
        response=ProviderData,
        problems=("not-found", *_PROBLEMS),
    ),
    Route(
        method="POST",
        path="/api/v1/background/warm-cache",
        summary="Warm the cache of a provider",
        handler=warm_cache,
        body=BodyReader(NewWarming),
        response=Job,
        statuses={202: "Begun."},
        problems=("not-found", "provider-unavailable", "not-enabled"),
    ),
    Route(
        path="/api/v1/jobs/{job_id}",
        summary="A job in the background",
        handler=background_job,
        query=JobQuery,
        response=Job,
        problems=("not-found", "not-enabled"),
    ),
)
