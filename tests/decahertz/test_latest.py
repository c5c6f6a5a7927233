from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.bus import EVENTS, LocalBus, samples_topic
from decahertz.clock import CYCLE_NS
from decahertz.event import Arrival, EventBatch
from decahertz.latest import LatestSamples
from decahertz.metric import Metric
from decahertz.sample import Sample, SampleBatch, schema_of


class Depth(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "depth"
    key: ClassVar[tuple[str, ...]] = ("venue",)
    venue: str
    levels: Annotated[int, Metric("Levels.")]


SCHEMA = schema_of(Depth)


def batch(tick: int, *venues: str) -> SampleBatch:
    return SampleBatch(SCHEMA, tick * CYCLE_NS, tuple(Depth(venue=venue, levels=tick) for venue in venues))


def test_the_newest_batch_is_kept_whole_so_a_retired_key_is_gone() -> None:
    bus = LocalBus()
    latest = LatestSamples(bus)
    bus.publish(samples_topic("depth"), batch(1, "kraken", "coinbase"))
    bus.publish(samples_topic("depth"), batch(2, "kraken"))
    assert latest.get("depth") == batch(2, "kraken")
    assert list(latest) == [batch(2, "kraken")]


def test_a_collector_that_returned_nothing_yet_has_no_batch() -> None:
    assert LatestSamples(LocalBus()).get("depth") is None


def test_events_are_no_samples() -> None:
    bus = LocalBus()
    latest = LatestSamples(bus)
    empty = EventBatch(source="s", epoch=1, first_sequence=1, events=())
    bus.publish(EVENTS, Arrival(batch=empty, received_ns=1))
    assert list(latest) == []


def test_iteration_is_over_a_snapshot() -> None:
    bus = LocalBus()
    latest = LatestSamples(bus)
    bus.publish(samples_topic("depth"), batch(1, "kraken"))
    seen = iter(latest)
    bus.publish(samples_topic("other"), batch(2, "kraken"))
    assert len(list(seen)) == 1
