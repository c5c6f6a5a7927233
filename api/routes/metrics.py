"""Samples: the newest, their history, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from api.http.query import NoQuery
from api.http.route import Call, Route
from api.routes.names import KEYS, Names, check_names, unknown_name
from decahertz.metric import Kind, Unit, family_name
from decahertz.sample import MetricField, Sample, SampleBatch, SampleSchema
from storage.query.queries import Value
from storage.schema.samples import table_of


class CurrentQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples; what is left out does not restrict."""

    collector: Annotated[Names, Meta(description="Collectors.")] = ()
    fields: Annotated[
        Names, Meta(description="Metrics, by name; samples without any of them are left out.")
    ] = ()


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
            raise unknown_name("collector", name, known)
    schemas = [known[name] for name in dict.fromkeys(call.query.collector or known)]
    check_names(schemas, call.extra, call.query.fields, call.query.__struct_fields__)
    items: list[Current] = []
    for schema in schemas:
        if set(call.extra) <= set(schema.key):
            batch = call.parts.latest.get(schema.collector)
            if batch is not None:
                items.extend(_current(batch, call.extra, call.query.fields))
    return CurrentList(items=items)


async def metrics_catalogue(call: Call[NoQuery, None]) -> Catalogue:
    """Every metric of every collector that runs: meaning, unit, and its name in each place."""
    return Catalogue(items=[_described(schema) for schema in call.parts.schemas])


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


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/metrics/current",
        summary="Newest samples",
        handler=metrics_current,
        query=CurrentQuery,
        extra_query=KEYS,
        response=CurrentList,
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
