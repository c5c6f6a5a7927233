"""Samples: the newest, their history, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from api.query import Extra, NoQuery, Time, parameter_problem, unknown_parameter
from api.route import Call, Route
from decahertz.metric import Kind, Unit, family_name
from decahertz.sample import MetricField, Sample, SampleBatch, SampleSchema
from storage.queries import History, Value
from storage.schema import table_of

NS_OF_DEFAULT_RANGE: Final = 5 * 60 * 1_000_000_000
_MOST_ROWS = 200_000
_MOST_VALUES = 500_000
"""What an answer holds at most: encoding more would keep the event loop from the next tick."""

Names: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=256)
]


class CurrentQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples; what is left out does not restrict."""

    collector: Annotated[Names, Meta(description="Collectors.")] = ()
    fields: Annotated[
        Names, Meta(description="Metrics, by name; samples without any of them are left out.")
    ] = ()


class HistoryQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples, over `[start, end)`; without times the last five minutes."""

    collector: Annotated[str, Meta(min_length=1, max_length=64, description="The collector.")]
    fields: Annotated[Names, Meta(description="Metrics, by name; none: all.")] = ()
    start: Time | None = None
    end: Time | None = None


class Current(Struct, frozen=True, kw_only=True):
    """The newest sample of one key."""

    collector: str
    key: dict[str, str]
    time_ns: int
    """The instant of the grid."""
    values: dict[str, Value]


class CurrentList(Struct, frozen=True, kw_only=True):
    """The newest samples."""

    items: list[Current]


class CatalogueMetric(Struct, frozen=True, kw_only=True):
    """One metric, under all its names."""

    name: str
    """In answers, messages and as the column of the table."""
    help: str
    kind: Kind
    unit: Unit
    type: str
    """``int``, ``float``, ``bool`` or ``str``."""
    optional: bool
    """Whether it can be null."""
    states: list[str]
    """What a state can be; empty for numbers."""
    prometheus: str
    """The family in the exposition, without the suffixes that the formats add."""


class CatalogueCollector(Struct, frozen=True, kw_only=True):
    """One collector: what identifies its samples, and its metrics."""

    collector: str
    key: list[str]
    topic: str
    """The pattern of its WebSocket topics."""
    table: str
    """In the database."""
    metrics: list[CatalogueMetric]


class Catalogue(Struct, frozen=True, kw_only=True):
    """All collectors that run."""

    items: list[CatalogueCollector]


async def metrics_current(call: Call[CurrentQuery, None]) -> CurrentList:
    """The newest sample of every key.

    Further parameters filter by key: `venue=coinbase&instrument=BTC-USD,ETH-USD`. Collectors that do not have
    such a key are left out.
    """
    known = {schema.collector: schema for schema in call.parts.schemas}
    for name in call.query.collector:
        if name not in known:
            raise _unknown("collector", name, known)
    schemas = [known[name] for name in dict.fromkeys(call.query.collector or known)]
    _check_names(schemas, call.extra, call.query)
    items: list[Current] = []
    for schema in schemas:
        if set(call.extra) <= set(schema.key):
            batch = call.parts.latest.get(schema.collector)
            if batch is not None:
                items.extend(_current(batch, call.extra, call.query.fields))
    return CurrentList(items=items)


async def metrics_history(call: Call[HistoryQuery, None]) -> History:
    """Samples in columns, one series for each key, as they were taken (`tier` is `raw`).

    Further parameters filter by key: `venue=coinbase&instrument=BTC-USD,ETH-USD`. An answer that would be too
    large is cut, never silently: ask again with `start` at `next_start_ns` for the rest.
    """
    query = call.query
    schemas = {schema.collector: schema for schema in call.parts.schemas}
    schema = schemas.get(query.collector)
    if schema is None:
        raise _unknown("collector", query.collector, schemas)
    _check_names([schema], call.extra, query)
    end = query.end if query.end is not None else call.parts.clock.time_ns()
    start = query.start if query.start is not None else max(0, end - NS_OF_DEFAULT_RANGE)
    if start > end:
        raise parameter_problem("start", "later than end")
    fields = tuple(dict.fromkeys(query.fields)) or tuple(field.name for field in schema.metrics)
    rows = min(_MOST_ROWS, _MOST_VALUES // (len(fields) + 1))
    return await call.parts.queries.history(schema, fields, call.extra, start, end, max_rows=rows)


async def metrics_catalogue(call: Call[NoQuery, None]) -> Catalogue:
    """Every metric of every collector that runs: meaning, unit, and its name in each place."""
    return Catalogue(items=[_described(schema) for schema in call.parts.schemas])


def _check_names(schemas: Sequence[SampleSchema], extra: Extra, query: CurrentQuery | HistoryQuery) -> None:
    keys = {name for schema in schemas for name in schema.key}
    for name in extra:
        if name not in keys:
            raise unknown_parameter(name, [*keys, *type(query).__struct_fields__])
    fields = {field.name for schema in schemas for field in schema.metrics}
    for name in query.fields:
        if name not in fields:
            raise _unknown("fields", name, fields)


def _unknown(parameter: str, name: str, known: Iterable[str]) -> Exception:
    return parameter_problem(parameter, f"{name!r} is not known; there are: {', '.join(sorted(known))}")


def _current(
    batch: SampleBatch, keys: Mapping[str, Sequence[str]], fields: Sequence[str]
) -> Iterator[Current]:
    schema = batch.schema
    names = [field.name for field in schema.metrics if not fields or field.name in fields]
    if not names:
        return
    for sample in batch.samples:
        if all(getattr(sample, name) in wanted for name, wanted in keys.items()):
            yield _item(schema, sample, batch.time_ns, names)


def _item(schema: SampleSchema, sample: Sample, time_ns: int, names: Sequence[str]) -> Current:
    return Current(
        collector=schema.collector,
        key={name: getattr(sample, name) for name in schema.key},
        time_ns=time_ns,
        values={name: getattr(sample, name) for name in names},
    )


def _described(schema: SampleSchema) -> CatalogueCollector:
    return CatalogueCollector(
        collector=schema.collector,
        key=list(schema.key),
        topic=":".join(("metrics", schema.collector, *("*" for _ in schema.key))),
        table=table_of(schema),
        metrics=[_described_metric(schema.collector, field) for field in schema.metrics],
    )


def _described_metric(collector: str, field: MetricField) -> CatalogueMetric:
    return CatalogueMetric(
        name=field.name,
        help=field.metric.help,
        kind=field.metric.kind,
        unit=field.metric.unit,
        type="str" if field.states else field.type.__name__,
        optional=field.optional,
        states=list(field.states),
        prometheus=family_name(collector, field.name, field.metric.unit),
    )


_KEYS = "Values of the sample's key, by name of the key: repeated or separated by commas."

ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/metrics/current",
        summary="Newest samples",
        handler=metrics_current,
        query=CurrentQuery,
        extra_query=_KEYS,
        response=CurrentList,
    ),
    Route(
        method="GET",
        path="/api/v1/metrics/history",
        summary="History of samples",
        handler=metrics_history,
        query=HistoryQuery,
        extra_query=_KEYS,
        response=History,
        problems=("database",),
    ),
    Route(
        method="GET",
        path="/api/v1/metrics/catalogue",
        summary="What the metrics mean",
        handler=metrics_catalogue,
        response=Catalogue,
        cache_seconds=60,
    ),
)
