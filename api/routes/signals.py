"""Signals of the recorder's own generators: made on request, and the generators that there are."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from api.http.access import Scope
from api.http.body import BodyReader
from api.http.problems import ProblemError
from api.http.query import NoQuery, QueryT
from api.http.route import AnyRoute, BodyT, Route, StatusResponse
from api.parts import Request
from api.routes.history import BodyTime, body_time
from api.routes.known import check_known
from api.routes.names import DURATION
from control.signals.schedule import ScheduleStatus, SignalSchedules
from control.signals.service import Evaluation, SignalService
from decahertz.event import Direction, Name, TimeNs

_CREATED: Final = 201


class GenerateSignal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An evaluation of a signal generator."""

    generator: Name
    """Its name, as in `signals/generators`."""
    venue: Name
    """Venue of the ticks that make the bars."""
    instrument: Name
    timeframe: Annotated[str, Meta(pattern=DURATION, description="Width of the bars: `1m`, `5m`, `1h`.")] = (
        "1m"
    )
    parameters: dict[str, Any] = {}
    """Parameters of the generator; those that are missing have their defaults."""
    strategy: Name | None = None
    """Strategy of the signal; null: the name of the generator."""
    at: BodyTime | None = None
    """Evaluate as of a time in the past; such a signal is not stored. Null: now."""


class MadeSignal(Struct, frozen=True, kw_only=True):
    """A signal as it is stored."""

    signal_id: str
    time_ns: TimeNs
    """End of the bar."""
    strategy: str
    venue: str
    instrument: str
    direction: Direction
    strength: float | None
    price: float | None
    """Close of the bar."""
    reason: str | None


class GeneratedSignal(Struct, frozen=True, kw_only=True):
    """The outcome of an evaluation."""

    generator: str
    timeframe: str
    bar_end_ns: TimeNs
    """End of the bar at which it decided: the last one that is over."""
    bars: int
    """Number of bars that it saw."""
    signal: MadeSignal | None
    """The signal; null: there is none."""
    is_stored: bool
    """Whether this evaluation has stored the signal: an earlier one may have, and none does with `at`."""
    reason: str
    """Why there is a signal, or why there is none."""
    values: dict[str, float]
    """The figures that the generator compared."""


class GeneratorInfo(Struct, frozen=True, kw_only=True):
    """A signal generator."""

    name: str
    distribution: str
    """The package that provides it; `decahertz` for the built-in ones."""
    meaning: str
    """Its description."""
    parameters: dict[str, Any]
    """JSON Schema of its parameters."""


class GeneratorList(Struct, frozen=True, kw_only=True):
    """The signal generators, and the schedules on which they are evaluated."""

    items: list[GeneratorInfo]
    schedules: list[ScheduleStatus]


async def generate_signal(request: Request[NoQuery, GenerateSignal]) -> StatusResponse[GeneratedSignal]:
    """Evaluates a signal generator at the end of the last bar, and stores the signal if there is one.

    The signal is a `signal` event of this recorder: it is in `signals` and on the topic `signals`, and never
    becomes an order on its own. The same evaluation again makes no second signal.
    """
    body, service = request.body, _signals_of(request)[0]
    evaluation = Evaluation(
        generator=body.generator,
        venue=body.venue,
        instrument=body.instrument,
        timeframe=body.timeframe,
        strategy=body.strategy or body.generator,
        parameters=body.parameters,
    )
    at_ns = body_time("at", body.at, request.parts.clock)
    made = await service.generate(evaluation, at_ns)
    if not made.bars:
        await check_known(request.parts, {"instrument": body.instrument})
    signal = made.signal
    answer = GeneratedSignal(
        generator=body.generator,
        timeframe=body.timeframe,
        bar_end_ns=made.end_ns,
        bars=made.bars,
        signal=None
        if signal is None
        else MadeSignal(**{name: getattr(signal, name) for name in MadeSignal.__struct_fields__}),
        is_stored=made.is_new,
        reason=made.decision.reason,
        values=dict(made.decision.values),
    )
    return StatusResponse(answer, _CREATED if made.is_new else 200)


async def signal_generators(request: Request[NoQuery, None]) -> GeneratorList:
    """Returns the signal generators with their parameters, and the schedules of the settings."""
    service, schedules = _signals_of(request)
    return GeneratorList(
        items=[
            GeneratorInfo(
                name=name,
                distribution=loaded.distribution,
                meaning=" ".join((loaded.type.__doc__ or "").split()),
                parameters=msgspec.json.schema(loaded.type.parameters_type),
            )
            for name, loaded in sorted(service.generators.by_name.items())
        ],
        schedules=schedules.schedules,
    )


def _signals_of(request: Request[QueryT, BodyT]) -> tuple[SignalService, SignalSchedules]:
    signals = request.parts.signals
    if signals is None:
        raise ProblemError("not-enabled", "this process generates no signals")
    return signals


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/signals/generators",
        summary="Signal generators",
        handler=signal_generators,
        response=GeneratorList,
        problems=("not-enabled",),
    ),
    Route(
        method="POST",
        path="/api/v1/signals/generate",
        summary="Generate a signal",
        handler=generate_signal,
        body=BodyReader(GenerateSignal),
        response=GeneratedSignal,
        statuses={_CREATED: "The signal is durable.", 200: "No signal was stored."},
        scope=Scope.INGEST,
        problems=("database-unavailable", "not-durable", "not-enabled", "unknown-name"),
    ),
)
