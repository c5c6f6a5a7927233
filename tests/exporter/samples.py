"""Sample types and expectations that the exporter's tests share."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.metric import Kind, Metric, Unit, family_name
from decahertz.sample import Sample, SampleBatch, schema_of
from decahertz.testing import START_NS
from exporter.exposition import Limits, Source
from exporter.negotiation import Format


class Verdict(StrEnum):
    LIVE = "live"
    STALE = "stale"
    CLOSED = "closed"


class BookSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "book"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    mid: Annotated[float | None, Metric('The "mid": a\\b.', unit=Unit.PRICE, extremes=True)] = None
    spread_bps: Annotated[float | None, Metric("Spread over mid.", unit=Unit.BASIS_POINTS)] = None
    depth: Annotated[int | None, Metric("Levels of the book.")] = None
    gaps: Annotated[int, Metric("Sequence gaps seen.", kind=Kind.COUNTER)] = 0
    waited: Annotated[float, Metric("Time waited.", kind=Kind.COUNTER, unit=Unit.SECONDS)] = 0.0
    crossed: Annotated[bool | None, Metric("Whether the bid is above the ask.")] = None
    verdict: Annotated[Verdict | None, Metric("What the feed is.", kind=Kind.STATE)] = None


class HostSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "host"
    key: ClassVar[tuple[str, ...]] = ("host",)
    host: str
    used_ratio: Annotated[float, Metric("Used.", unit=Unit.RATIO)] = 0.5


class DeskSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "desk"
    open_orders: Annotated[int, Metric("Open orders.")] = 3
    mood: Annotated[Verdict, Metric("The mood.", kind=Kind.STATE)] = Verdict.LIVE


BOOK, HOST, DESK = schema_of(BookSample), schema_of(HostSample), schema_of(DeskSample)

SOURCES = tuple(map(Source, (BOOK, HOST, DESK)))
LIMITS = Limits(window_ns=30 * NS_PER_SECOND, max_keys=10_000, ttl_ns=60 * NS_PER_SECOND)
RECORDER = "desk-1"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Value by name and labels."""


def batch_of(*samples: Sample, cycle: int = 0) -> SampleBatch:
    """A batch of samples of one type."""
    return SampleBatch(schema_of(type(samples[0])), START_NS + cycle * CYCLE_NS, samples)


def book(instrument: str, **values: Any) -> BookSample:  # noqa: ANN401 - any of its fields
    """A book of one instrument."""
    return BookSample(venue="SIM", instrument=instrument, **values)


def expected(samples: Iterable[Sample], past: Iterable[Sample] = (), form: Format = Format.TEXT) -> Series:
    """The series of these samples by the rules of the exposition, one at a time.

    ``past``: samples of earlier cycles of the window, of keys that have not been retired since. All keys are
    there since ``START_NS``.
    """
    past = tuple(past)
    series: Series = {}
    for sample in samples:
        schema = schema_of(type(sample))
        key = {"recorder": RECORDER} | {name: getattr(sample, name) for name in schema.key}
        for field in schema.metrics:
            value = getattr(sample, field.name)
            name = family_name(schema.collector, field.name, field.metric.unit)
            if field.metric.extremes:
                same = [s for s in past if schema.key_of(s) == schema.key_of(sample)]
                values = [v for s in (*same, sample) if (v := getattr(s, field.name)) is not None]
                if values:
                    series[name + "_min", frozenset(key.items())] = min(values)
                    series[name + "_max", frozenset(key.items())] = max(values)
            if value is None:
                continue
            if field.metric.kind is Kind.STATE:
                for state in field.states:
                    labels = key | {name: state}
                    series[name, frozenset(labels.items())] = float(state == value)
                continue
            if field.metric.kind is Kind.COUNTER:
                if form is Format.OPENMETRICS:
                    series[name + "_created", frozenset(key.items())] = START_NS / NS_PER_SECOND
                name += "_total"
            series[name, frozenset(key.items())] = value
    return series
