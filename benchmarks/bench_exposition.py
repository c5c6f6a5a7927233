"""Exposition of 12,000 series, compared with ``prometheus_client.generate_latest`` of the same gauges."""

from __future__ import annotations

import random
from typing import Annotated, ClassVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import Measure, alternate, compared, seconds
from decahertz.clock import CYCLE_NS
from decahertz.metric import Metric, Unit
from decahertz.sample import Sample, SampleBatch, schema_of
from exporter.exposition import Exposition
from exporter.family import families_of
from exporter.negotiation import Format

INSTRUMENTS = 1_000
METRICS = 12
RENDERS = 3
"""Per measurement, each with new values."""
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
    mid: Annotated[float, Metric("Mean of bid and ask.", unit=Unit.PRICE)]
    micro: Annotated[float, Metric("Mid weighted by the sizes.", unit=Unit.PRICE)]
    spread: Annotated[float, Metric("Spread over mid.", unit=Unit.BASIS_POINTS)]
    imbalance: Annotated[float, Metric("Share of the bid in the size of both sides.", unit=Unit.RATIO)]
    volatility: Annotated[float, Metric("Realised volatility.", unit=Unit.RATIO)]
    quote_age: Annotated[float, Metric("Age of the quote.", unit=Unit.SECONDS)]
    quotes: Annotated[float, Metric("Quotes.", unit=Unit.PER_SECOND)]
    ticks: Annotated[float, Metric("Ticks.", unit=Unit.PER_SECOND)]


SCHEMA = schema_of(BenchSample)


class _Ours:
    """Renders with the exporter; creating the samples is not measured."""

    def __init__(self) -> None:
        self._exposition = Exposition([SCHEMA], "bench")

    def render(self, rows: list[list[float]]) -> tuple[float, bytes]:
        batch = SampleBatch(SCHEMA, CYCLE_NS, tuple(_sample(n, row) for n, row in enumerate(rows)))
        rendered = []
        taken = seconds(lambda: rendered.append(b"".join(self._exposition.render(batch, Format.TEXT))))
        return taken, rendered[0]


class _Reference:
    """Gauges of the library with the same names and labels; setting them is not measured."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        gauges = [
            Gauge(family.name, family.field.metric.help, SCHEMA.key, registry=self._registry)
            for family in families_of(SCHEMA)
        ]
        self._series = [[gauge.labels(VENUE, _name(n)) for gauge in gauges] for n in range(INSTRUMENTS)]

    def render(self, rows: list[list[float]]) -> tuple[float, bytes]:
        for gauges, row in zip(self._series, rows, strict=True):
            for gauge, value in zip(gauges, row, strict=True):
                gauge.set(value)
        rendered = []
        taken = seconds(lambda: rendered.append(generate_latest(self._registry)))
        return taken, rendered[0]


def run() -> list[Measure]:
    """Compares both outputs, then measures renderings with new values."""
    ours, reference = _Ours(), _Reference()
    numbers = random.Random(1)

    def rows() -> list[list[float]]:
        return [[numbers.uniform(0, 1e5) for _ in range(METRICS)] for _ in range(INSTRUMENTS)]

    def of(side: _Ours | _Reference) -> float:
        return sum(side.render(rows())[0] for _ in range(RENDERS)) / RENDERS

    same = rows()
    if _samples(ours.render(same)[1]) != _samples(reference.render(same)[1]):
        raise AssertionError("the two expositions differ")
    mine, theirs = alternate(lambda: of(ours), lambda: of(reference))
    unit = f"ms per {INSTRUMENTS * METRICS:,} series"
    return [compared("exposition", mine * 1e3, theirs * 1e3, unit, "ratio >= 20", is_cost=True)]


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
