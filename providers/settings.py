"""Settings of the gateway: ``[providers]``. Each provider has its own section, ``[providers.NAME]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.settings import Seconds


class ProvidersSettings(Struct, frozen=True, kw_only=True):
    """Which providers there are, and what holds for all of them."""

    enabled: Annotated[
        tuple[str, ...],
        Meta(description="Providers, by entry-point name. All but recorder and replay call their venue."),
    ] = ("recorder",)
    timeout_seconds: Annotated[Seconds, Meta(description="Time for one call.")] = 3.0
    attempts: Annotated[
        int, Meta(ge=1, le=10, description="Calls for one answer: the first, and retries after failures.")
    ] = 3
    max_calls: Annotated[int, Meta(ge=1, le=1000, description="Calls of one provider at a time.")] = 4
    queue_limit: Annotated[
        int,
        Meta(
            ge=0, le=100_000, description="Calls of each priority that may wait; more are refused with 503."
        ),
    ] = 64
    cache_entries: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Answers of each provider in memory.")
    ] = 10_000
    stale_seconds: Annotated[
        float,
        Meta(ge=0, le=86_400, description="Time after fresh_seconds in which it is served while renewed."),
    ] = 30.0
    stale_if_error_seconds: Annotated[
        float,
        Meta(ge=0, le=86_400, description="Time after that in which it is served if there is no new answer."),
    ] = 600.0
    unknown_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="Time for which an unknown symbol is not asked for again.")
    ] = 60.0
    breaker_failures: Annotated[
        int, Meta(ge=1, le=1000, description="Failures in a row that open the circuit breaker.")
    ] = 5
    breaker_seconds: Annotated[
        Seconds,
        Meta(description="Time for which the breaker stays open; doubles each time the trial fails."),
    ] = 10.0
    warm_seconds: Annotated[Seconds, Meta(description="Interval of warming the caches.")] = 60.0
    warm_popular: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Warm the symbols of a provider that were asked for most lately; 0: none.",
        ),
    ] = 0
