"""Keeps the newest samples of all collectors, and renders them for a scrape."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.histogram import Histogram
from decahertz.sample import SampleBatch, SampleSchema
from exporter.family import AnyFamily, colliding, families_of, histogram_families
from exporter.histograms import HistogramRenderer
from exporter.label_budget import LabelBudget
from exporter.negotiation import Format
from exporter.samples import Frame, SampleRenderer

_STALE_NS = 5 * NS_PER_SECOND
_STALE_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Source:
    """A collector, as far as the exporter is concerned."""

    schema: SampleSchema
    histograms: Sequence[Histogram] = ()
    every: int = 1
    """It is sampled on every n-th cycle."""

    @property
    def stale_ns(self) -> int:
        """Age from which its newest samples are no longer exported."""
        return max(_STALE_NS, _STALE_INTERVALS * self.every * CYCLE_NS)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the exposition."""

    window_ns: int
    """Trailing window of the extremes."""
    max_keys: int
    """Keys of a collector that have series of their own."""
    ttl_ns: int
    """How long a retired key keeps its place among them."""


class Exposition:
    """Renders samples and histograms with a constant label for the recorder.

    Families come in the order of the sources and their declarations. A family whose name an earlier one
    claims is omitted and listed in ``colliding``.
    """

    def __init__(self, sources: Sequence[Source], recorder: str, limits: Limits) -> None:
        all_families: list[AnyFamily] = []
        for source in sources:
            all_families += families_of(source.schema)
            all_families += histogram_families(source.schema.collector, source.histograms)
        self.colliding = colliding(all_families)
        self._collectors = {
            source.schema.collector: _Collector(source, self.colliding, recorder, limits)
            for source in sources
        }

    @property
    def collectors(self) -> tuple[str, ...]:
        """Names of the collectors, in order of their sources."""
        return tuple(self._collectors)

    def take(self, batch: SampleBatch, now_ns: int) -> None:
        """Takes the batch of a cycle; ``now_ns`` is monotonic. Every key that is missing from it ends."""
        collector = self._collectors.get(batch.schema.collector)
        if collector is not None:
            collector.samples.take(batch, now_ns)

    def freeze(self, now_ns: int) -> dict[str, Frame]:
        """Returns the samples and extremes of all collectors, for one scrape.

        A collector that has stopped, or fails, is left out after a while.
        """
        frames = {name: collector.freeze(now_ns) for name, collector in self._collectors.items()}
        return {name: frame for name, frame in frames.items() if frame is not None}

    def render(
        self, collector: str, frame: Frame, form: Format, taken: Collection[str] = ()
    ) -> Iterator[bytes]:
        """Yields the lines of one collector in chunks of about :data:`~exporter.samples.CHUNK_SERIES` series.

        Families that claim a name in ``taken`` are omitted.
        """
        one = self._collectors[collector]
        yield from one.samples.render(frame, form, taken)
        for histogram in one.histograms:
            yield from histogram.render(frame.now_ns, form, taken)

    def refused(self) -> dict[str, tuple[int, int]]:
        """Returns for each collector the keys over budget: those of now, and those since the start."""
        return {
            name: (
                max(len(budget.refused) for budget in collector.budgets),
                sum(budget.exceeded for budget in collector.budgets),
            )
            for name, collector in self._collectors.items()
        }


class _Collector:
    """Samples and histograms of one collector."""

    def __init__(
        self,
        source: Source,
        omitted: Collection[AnyFamily],
        recorder: str,
        limits: Limits,
    ) -> None:
        budgets = [LabelBudget(limits.max_keys, limits.ttl_ns) for _ in (source.schema, *source.histograms)]
        self._stale_ns = source.stale_ns
        families = [family for family in families_of(source.schema) if family not in omitted]
        self.samples = SampleRenderer(source.schema, families, recorder, limits.window_ns, budgets[0])
        self.histograms = [
            HistogramRenderer(family, recorder, budget)
            for family, budget in zip(
                histogram_families(source.schema.collector, source.histograms), budgets[1:], strict=True
            )
            if family not in omitted
        ]
        self.budgets = budgets

    def freeze(self, now_ns: int) -> Frame | None:
        return self.samples.freeze(now_ns, self._stale_ns)
