"""The newest samples, and the catalogue of their metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.names import KEYS, Names, check_names, unknown_name
from decahertz.metric import Aggregate, Kind, Unit, family_name
from decahertz.sample import MetricField, Sample, SampleBatch, SampleSchema
from storage.query.history.raw_samples import Value
from storage.schema.samples import table_of


class CurrentQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the newest samples; absent parameters do not filter."""

    collector: Annotated[Names, Meta(description="Collectors; default: all.")] = ()
    fields: Annotated[
        Names, Meta(description="Names of metrics; default: all. Samples without any of them are omitted.")
    ] = ()


class CurrentSample(Struct, frozen=True, kw_only=True):
    """The newest sample of one key."""

    collector: str
    key: dict[str, str]
    time_ns: int
    """Time of the cycle."""
    values: dict[str, Value]


class CurrentList(Struct, frozen=True, kw_only=True):
    """The newest samples of this recorder."""

    recorder: str
    """Name of this recorder."""
    items: list[CurrentSample]


class CatalogueMetric(Struct, frozen=True, kw_only=True):
    """One metric and its names."""

    name: str
    """Name in responses and messages, and of the column."""
    help: str
    formula: str
    """How it is computed from other fields; empty where the help is enough."""
    source: str
    """The publication that defines it; empty for plain counts and readings."""
    kind: Kind
    unit: Unit
    type: str
    """``int``, ``float``, ``bool`` or ``str``."""
    optional: bool
    """Whether the value can be null."""
    states: list[str]
    """Possible values of a state; empty for numbers."""
    aggregates: list[Aggregate]
    """Columns of a history in buckets; the tiers keep the same."""
    prometheus: str | None
    """Prometheus family, without the suffixes that the formats add; null: not exported to Prometheus."""


class CatalogueCollector(Struct, frozen=True, kw_only=True):
    """One collector: the key of its samples, and its metrics."""

    collector: str
    key: list[str]
    topic: str
    """Pattern of its WebSocket topics."""
    table: str
    """Name of its table in the database."""
    metrics: list[CatalogueMetric]


class Catalogue(Struct, frozen=True, kw_only=True):
    """Catalogue of all running collectors."""

    items: list[CatalogueCollector]


async def metrics_current(request: Request[CurrentQuery, None]) -> CurrentList:
    """Returns the newest sample of every key.

    Further parameters filter by key: `venue=coinbase&instrument=BTC-USD,ETH-USD`. Collectors without that key
    field are omitted.
    """
    known = {schema.collector: schema for schema in request.parts.schemas}
    for name in request.query.collector:
        if name not in known:
            raise unknown_name("collector", name, known)
    schemas = [known[name] for name in dict.fromkeys(request.query.collector or known)]
    check_names(schemas, request.extra, request.query.fields, request.query.__struct_fields__)
    items: list[CurrentSample] = []
    for schema in schemas:
        if set(request.extra) <= set(schema.key):
            batch = request.parts.latest.get(schema.collector)
            if batch is not None:
                items.extend(_current(batch, request.extra, request.query.fields))
    if not items:
        await check_known(request.parts, request.extra)
    return CurrentList(recorder=request.parts.recorder, items=items)


async def metrics_catalogue(request: Request[NoQuery, None]) -> Catalogue:
    """Returns every metric of every running collector: its help, unit and names."""
    return Catalogue(items=[_catalogue_collector(schema) for schema in request.parts.schemas])


def _current(
    batch: SampleBatch, keys: Mapping[str, Sequence[str]], fields: Sequence[str]
) -> Iterator[CurrentSample]:
    schema = batch.schema
    names = [field.name for field in schema.metrics if not fields or field.name in fields]
    if not names:
        return
    samples: Sequence[Sample] = batch.samples
    for name, values in keys.items():
        key_of, wanted = attrgetter(name), frozenset(values)
        samples = [sample for sample in samples if key_of(sample) in wanted]
    for sample in samples:
        yield _item(schema, sample, batch.time_ns, names)


def _item(schema: SampleSchema, sample: Sample, time_ns: int, names: Sequence[str]) -> CurrentSample:
    return CurrentSample(
        collector=schema.collector,
        key={name: getattr(sample, name) for name in schema.key},
        time_ns=time_ns,
        values={name: getattr(sample, name) for name in names},
    )


def _catalogue_collector(schema: SampleSchema) -> CatalogueCollector:
    return CatalogueCollector(
        collector=schema.collector,
        key=list(schema.key),
        topic=":".join(("metrics", schema.collector, *("*" for _ in schema.key))),
        table=table_of(schema),
        metrics=[_catalogue_metric(schema.collector, field) for field in schema.metrics],
    )


def _catalogue_metric(collector: str, field: MetricField) -> CatalogueMetric:
    return CatalogueMetric(
        name=field.name,
        help=field.metric.help,
        formula=field.metric.formula,
        source=field.metric.source,
        kind=field.metric.kind,
        unit=field.metric.unit,
        type="str" if field.states else field.type.__name__,
        optional=field.optional,
        states=list(field.states),
        aggregates=list(field.aggregates),
        prometheus=family_name(collector, field.name, field.metric.unit) if field.metric.exported else None,
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/metrics/current",
        summary="Newest samples",
        handler=metrics_current,
        anywhere=True,
        query=CurrentQuery,
        extra_query=KEYS,
        response=CurrentList,
        problems=("database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/metrics/catalogue",
        summary="Catalogue of metrics",
        handler=metrics_catalogue,
        revalidates=True,
        anywhere=True,
        response=Catalogue,
        cache_seconds=60,
    ),
)
