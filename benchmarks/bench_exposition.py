"""Exposition of 1,000 instruments with and without extremes, and the cost of the extremes in each cycle.

The reference of an exposition is ``prometheus_client.generate_latest`` of the same gauges.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import Measure, alternate, compared, seconds
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.metric import Metric, Unit
from decahertz.sample import Sample, SampleBatch, SampleSchema, schema_of
from exporter.exposition import Exposition, Limits, Source
from exporter.extremes import Extreme
from exporter.family import families_of
from exporter.negotiation import Format

INSTRUMENTS = 1_000
METRICS = 12
RENDERS = 3
"""Per measurement, each with new values."""
TAKEN = 8
"""Cycles between two renderings."""
CYCLES = 60
LIMITS = Limits(window_ns=30 * NS_PER_SECOND, max_keys=2 * INSTRUMENTS, ttl_ns=0)
VENUE = "SYNTHETIC"


class BenchSample(Sample, frozen=True, kw_only=True):
    """Twelve gauges of one instrument."""

    collector: ClassVar[str] = "bench"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")

    venue: str
    instrument: str
    bid: Annotated[float, Metric("Best bid.", unit=Unit.PRICE)]
    ask: Annotated[float, Metric("Best ask.", unit=Unit.PRICE)]
    bid_size: Annotated[float, Metric("Size at the best bid.", unit=Unit.QUANTITY)]
    ask_size: Annotated[float, Metric("Size at the best ask.", unit=Unit.QUANTITY)]
    mid: Annotated[float, Metric("Mean of bid and ask.", unit=Unit.PRICE, extremes=True)]
    micro: Annotated[float, Metric("Mid weighted by the sizes.", unit=Unit.PRICE, extremes=True)]
    spread: Annotated[float, Metric("Spread over mid.", unit=Unit.BASIS_POINTS, extremes=True)]
    imbalance: Annotated[
        float, Metric("Share of the bid in the size of both sides.", unit=Unit.RATIO, extremes=True)
    ]
    volatility: Annotated[float, Metric("Realised volatility.", unit=Unit.RATIO, extremes=True)]
    quote_age: Annotated[float, Metric("Age of the quote.", unit=Unit.SECONDS, extremes=True)]
    quotes: Annotated[float, Metric("Quotes.", unit=Unit.PER_SECOND)]
    ticks: Annotated[float, Metric("Ticks.", unit=Unit.PER_SECOND)]


SCHEMA = schema_of(BenchSample)
PLAIN = replace(
    SCHEMA,
    metrics=tuple(replace(field, metric=replace(field.metric, extremes=False)) for field in SCHEMA.metrics),
)
"""The same without extremes."""

Rows = list[list[float]]


class _Ours:
    """Renders with the exporter; creating the samples and taking them is not measured."""

    def __init__(self, schema: SampleSchema) -> None:
        self._schema = schema
        self._exposition = Exposition([Source(schema)], "bench", LIMITS)
        self._now_ns = 0

    def take(self, cycles: Sequence[Rows]) -> float:
        """Takes a batch of each cycle; returns the time."""
        return sum(self._take(rows) for rows in cycles)

    def _take(self, rows: Rows) -> float:
        self._now_ns += CYCLE_NS
        samples = tuple(_sample(number, row) for number, row in enumerate(rows))
        batch = SampleBatch(self._schema, CYCLE_NS, samples)
        return seconds(lambda: self._exposition.take(batch, self._now_ns))

    def render(self) -> tuple[float, bytes]:
        """Renders the exposition; returns the time and the text."""
        rendered = []
        taken = seconds(lambda: rendered.append(b"".join(self._chunks())))
        return taken, rendered[0]

    def _chunks(self) -> Iterator[bytes]:
        frame = self._exposition.freeze(self._now_ns)[SCHEMA.collector]
        return self._exposition.render(SCHEMA.collector, frame, Format.TEXT)


class _Reference:
    """Gauges of the library with the same names and labels; setting them is not measured."""

    def __init__(self, schema: SampleSchema) -> None:
        self._registry = CollectorRegistry()
        self._families = families_of(schema)
        gauges = [
            Gauge(family.name, family.field.metric.help, SCHEMA.key, registry=self._registry)
            for family in self._families
        ]
        self._series = [[gauge.labels(VENUE, _name(n)) for gauge in gauges] for n in range(INSTRUMENTS)]

    def render(self, cycles: Sequence[Rows]) -> tuple[float, bytes]:
        places = {field.name: place for place, field in enumerate(SCHEMA.metrics)}
        for number, gauges in enumerate(self._series):
            for gauge, family in zip(gauges, self._families, strict=True):
                place = places[family.field.name]
                values = [rows[number][place] for rows in cycles]
                gauge.set(_shown(values, family.extreme))
        rendered = []
        taken = seconds(lambda: rendered.append(generate_latest(self._registry)))
        return taken, rendered[0]


def _shown(values: list[float], extreme: Extreme | None) -> float:
    if extreme is None:
        return values[-1]
    return min(values) if extreme is Extreme.MIN else max(values)


def run() -> list[Measure]:
    """Compares both outputs, then measures renderings with new values."""
    return [_exposition("exposition", PLAIN), _exposition("exposition with extremes", SCHEMA), _cycle()]


def _exposition(name: str, schema: SampleSchema) -> Measure:
    ours, reference = _Ours(schema), _Reference(schema)
    numbers = random.Random(1)

    def ours_of() -> float:
        taken = 0.0
        for _ in range(RENDERS):
            ours.take([_rows(numbers) for _ in range(TAKEN)])
            taken += ours.render()[0]
        return taken / RENDERS

    def reference_of() -> float:
        return sum(reference.render([_rows(numbers)])[0] for _ in range(RENDERS)) / RENDERS

    same = [_rows(numbers) for _ in range(TAKEN)]
    ours.take(same)
    if _samples(ours.render()[1]) != _samples(reference.render(same)[1]):
        raise AssertionError("the two expositions differ")
    mine, theirs = alternate(ours_of, reference_of)
    unit = f"ms per {INSTRUMENTS * len(families_of(schema)):,} series"
    return compared(name, mine * 1e3, theirs * 1e3, unit, "ratio >= 20", is_cost=True)


def _cycle() -> Measure:
    """The exporter's work in each cycle, with and without extremes."""
    numbers = random.Random(1)

    def of(schema: SampleSchema) -> Callable[[], float]:
        ours = _Ours(schema)
        return lambda: sum(ours.take([_rows(numbers)]) for _ in range(CYCLES)) / CYCLES

    mine, without = alternate(of(SCHEMA), of(PLAIN))
    return compared("exposition per cycle", mine * 1e3, without * 1e3, "ms per cycle", "ours <= 1.5")


def _rows(numbers: random.Random) -> Rows:
    return [[numbers.uniform(0, 1e5) for _ in range(METRICS)] for _ in range(INSTRUMENTS)]


def _name(number: int) -> str:
    return f"INS{number:04}/USD"


def _sample(number: int, row: list[float]) -> BenchSample:
    values = {field.name: value for field, value in zip(SCHEMA.metrics, row, strict=True)}
    return BenchSample(venue=VENUE, instrument=_name(number), **values)


def _samples(text: bytes) -> dict[tuple[str, str], float]:
    """Parses a tenth of the series: the parser is slow."""
    lines = [line for line in text.decode().splitlines(keepends=True) if "7/USD" in line]
    families = text_string_to_metric_families("".join(lines))
    return {(s.name, s.labels["instrument"]): s.value for family in families for s in family.samples}
