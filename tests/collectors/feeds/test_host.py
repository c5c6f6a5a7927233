from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.typing import EventDict

from decahertz.clock import SystemClock
from decahertz.collector import NoOptions
from decahertz.event import EventBatch, Tick
from decahertz.feed import BaseFeed, Emit
from decahertz.health import Health, RunState
from tests.collectors.feeds.parts import Pipeline, until

Act = Callable[["ScriptedFeed", Emit], Awaitable[None]]


class ScriptedFeed(BaseFeed[NoOptions]):
    """A feed whose runs are given as functions; after the last one it waits to be cancelled."""

    name: ClassVar[str] = "scripted"

    def __init__(self, *runs: Act) -> None:
        super().__init__(SystemClock(), NoOptions())
        self.runs = list(runs)
        self.is_waiting = False

    async def run(self, emit: Emit) -> None:
        if self.runs:
            await self.runs.pop(0)(self, emit)
            return
        self.is_waiting = True
        await asyncio.Event().wait()


class OtherFeed(ScriptedFeed):
    name: ClassVar[str] = "other"


def a_tick(price: float = 1.0, *, ahead_ns: int = 0, instrument: str = "BTC-USD") -> Tick:
    time_ns = SystemClock().time_ns() + ahead_ns
    return Tick(time_ns=time_ns, venue="coinbase", instrument=instrument, price=price, size=1.0)


def emitting(*ticks: Tick) -> Act:
    async def run(feed: ScriptedFeed, emit: Emit) -> None:
        feed.count("messages", len(ticks))
        await emit(ticks, feed.clock.time_ns())

    return run


async def raising(feed: ScriptedFeed, emit: Emit) -> None:  # noqa: ARG001 - the shape of a run
    raise RuntimeError("the venue is gone")


async def cancelling_itself(feed: ScriptedFeed, emit: Emit) -> None:  # noqa: ARG001 - the shape of a run
    raise asyncio.CancelledError


def prices(pipeline: Pipeline) -> list[float]:
    return [tick.price for tick in pipeline.of(Tick)]


async def test_events_are_published_and_stored_under_the_feeds_name(pipeline: Pipeline) -> None:
    before_ns = pipeline.clock.time_ns()
    await pipeline.play(ScriptedFeed(emitting(a_tick(1.0), a_tick(2.0))))
    (arrival,) = pipeline.published
    assert arrival.batch.source == "feed-scripted"
    assert before_ns <= arrival.batch.epoch <= arrival.received_ns
    assert (arrival.batch.first_sequence, arrival.batch.last_sequence) == (1, 2)
    assert pipeline.sink.arrivals == [arrival]


async def test_a_feed_that_returns_is_finished(pipeline: Pipeline) -> None:
    async with pipeline.running(ScriptedFeed(emitting(a_tick())), OtherFeed()) as host:
        await asyncio.wait_for(host.wait_finished("scripted"), 10)
        scripted, other = host.feeds()
        assert (scripted.state, scripted.events, scripted.restarts) == (RunState.FINISHED, 1, 0)
        assert other.state is RunState.RUNNING
        assert host.status().health is Health.OK
    with pytest.raises(KeyError):
        await host.wait_finished("no-such-feed")


async def test_a_feed_that_raises_or_cancels_itself_is_started_again_and_logged_once(
    pipeline: Pipeline,
    logs: list[EventDict],
) -> None:
    feed = ScriptedFeed(cancelling_itself, raising, emitting(a_tick()))
    other = OtherFeed()
    async with pipeline.running(feed, other) as host:
        await asyncio.wait_for(host.wait_finished("scripted"), 10)
        status = host.feeds()[0]
        assert (status.restarts, status.events) == (2, 1)
        assert status.last_error == "RuntimeError: the venue is gone"
        assert [entry["event"] for entry in logs].count("feed_failed") == 1
        assert other.is_waiting


async def test_a_restarted_feed_goes_on_with_its_numbers(pipeline: Pipeline) -> None:
    async def emit_and_raise(feed: ScriptedFeed, emit: Emit) -> None:
        await emit([a_tick(1.0)], feed.clock.time_ns())
        raise RuntimeError

    await pipeline.play(ScriptedFeed(emit_and_raise, emitting(a_tick(2.0))))
    assert [arrival.batch.first_sequence for arrival in pipeline.published] == [1, 2]
    assert len({arrival.batch.epoch for arrival in pipeline.published}) == 1


async def test_a_feed_recovers_once_it_ran_for_a_while(pipeline: Pipeline, logs: list[EventDict]) -> None:
    async with pipeline.running(ScriptedFeed(raising), stable_seconds=0.01) as host:
        await until(lambda: any(entry["event"] == "feed_recovered" for entry in logs))
        assert host.status().health is Health.OK


async def test_a_feed_that_waits_for_its_restart_degrades_the_host(pipeline: Pipeline) -> None:
    async with pipeline.running(ScriptedFeed(*[raising] * 10_000), OtherFeed()) as host:
        await until(lambda: host.feeds()[0].state is RunState.FAILED)
        status = host.status()
        assert status.health is Health.DEGRADED
        assert status.detail == "scripted: RuntimeError: the venue is gone"


async def test_a_bad_event_is_refused_and_the_valid_ones_pass(pipeline: Pipeline) -> None:
    bad = (a_tick(math.nan), a_tick(math.inf), a_tick(9.0, instrument="a\tb"))
    host = await pipeline.play(ScriptedFeed(emitting(a_tick(1.0), *bad, a_tick(2.0))))
    assert prices(pipeline) == [1.0, 2.0]
    assert host.feeds()[0].counters == {"messages": 5, "refused": 3}
    assert pipeline.published[0].batch.dropped == {"refused": 3}
    assert msgspec.msgpack.decode(pipeline.sink.encoded[0], type=EventBatch) == pipeline.published[0].batch


async def test_events_that_ingest_refuses_are_counted_and_the_others_pass(pipeline: Pipeline) -> None:
    ahead_ns = 3_600 * 10**9
    late = [a_tick(-1.0, ahead_ns=ahead_ns) for _ in range(50)]  # more than a refusal lists
    host = await pipeline.play(
        ScriptedFeed(emitting(a_tick(1.0), *late, a_tick(2.0))),
        OtherFeed(emitting(*late)),
    )
    assert prices(pipeline) == [1.0, 2.0]
    (arrival,) = pipeline.published
    assert (arrival.batch.first_sequence, arrival.batch.last_sequence) == (1, 2)
    assert [feed.counters["refused"] for feed in host.feeds()] == [50, 50]
    assert [feed.restarts for feed in host.feeds()] == [0, 0]


async def test_refusals_are_logged_once_until_a_batch_is_clean_again(
    pipeline: Pipeline,
    logs: list[EventDict],
) -> None:
    async def run(feed: ScriptedFeed, emit: Emit) -> None:
        for tick in (a_tick(math.nan), a_tick(math.nan), a_tick(), a_tick(math.nan)):
            await emit([tick], feed.clock.time_ns())

    await pipeline.play(ScriptedFeed(run))
    names = [entry["event"] for entry in logs if entry["event"].startswith("feed_validation_")]
    assert names == ["feed_validation_failed", "feed_validation_recovered", "feed_validation_failed"]


async def test_tasks_of_one_feed_emit_without_mixing_their_numbers(pipeline: Pipeline) -> None:
    async def run(feed: ScriptedFeed, emit: Emit) -> None:
        pipeline.sink.has_room.clear()
        async with asyncio.TaskGroup() as group:
            for price in range(5):
                group.create_task(emit([a_tick(price), a_tick(price)], feed.clock.time_ns()))
            await asyncio.sleep(0)
            pipeline.sink.has_room.set()

    host = await pipeline.play(ScriptedFeed(run))
    assert [arrival.batch.first_sequence for arrival in pipeline.sink.arrivals] == [1, 3, 5, 7, 9]
    assert host.feeds()[0].events == 10


async def test_a_full_queue_holds_the_feed_back(pipeline: Pipeline) -> None:
    async def run(feed: ScriptedFeed, emit: Emit) -> None:
        for price in (1.0, 2.0):
            await emit([a_tick(price)], feed.clock.time_ns())

    pipeline.sink.has_room.clear()
    async with pipeline.running(ScriptedFeed(run)) as host:
        await until(lambda: pipeline.published)
        assert prices(pipeline) == [1.0]  # shown at once, and the next one waits for the queue
        pipeline.sink.has_room.set()
        await asyncio.wait_for(host.wait_finished(), 10)
        assert prices(pipeline) == [1.0, 2.0]


async def test_a_stop_lets_what_is_shown_be_stored(pipeline: Pipeline) -> None:
    pipeline.sink.has_room.clear()
    host = pipeline.host(ScriptedFeed(emitting(a_tick(1.0))))
    await host.start()
    await until(lambda: pipeline.published)
    stopping = asyncio.create_task(host.stop())
    await asyncio.sleep(0)
    pipeline.sink.has_room.set()
    await asyncio.wait_for(stopping, 10)
    assert pipeline.sink.arrivals == pipeline.published


async def test_a_stop_does_not_wait_for_ever_and_tells_what_was_not_stored(
    pipeline: Pipeline,
    logs: list[EventDict],
) -> None:
    pipeline.sink.has_room.clear()
    host = pipeline.host(ScriptedFeed(emitting(a_tick(1.0), a_tick(2.0))))
    await host.start()
    await until(lambda: pipeline.published)
    await asyncio.wait_for(host.stop(timeout_seconds=0.05), 10)
    (entry,) = [entry for entry in logs if entry["event"] == "feed_events_dropped"]
    assert entry["count"] == 2
    assert host.feeds()[0].events == 2


async def test_nothing_is_emitted_after_the_stop(pipeline: Pipeline) -> None:
    kept: list[Emit] = []

    async def run(feed: ScriptedFeed, emit: Emit) -> None:  # noqa: ARG001 - the shape of a run
        kept.append(emit)
        await asyncio.Event().wait()

    async with pipeline.running(ScriptedFeed(run)) as host:
        await until(lambda: kept)
        await host.stop()  # and once more at the end
    await kept[0]([a_tick()], pipeline.clock.time_ns())
    assert pipeline.published == []


async def test_a_feed_that_does_not_listen_cannot_hold_the_stop(
    pipeline: Pipeline,
    logs: list[EventDict],
) -> None:
    released = asyncio.Event()

    async def run(feed: ScriptedFeed, emit: Emit) -> None:  # noqa: ARG001 - the shape of a run
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                feed.is_waiting = True

    feed = ScriptedFeed(run)
    host = pipeline.host(feed)
    await host.start()
    await asyncio.sleep(0)
    await host.stop(timeout_seconds=0.01)
    assert feed.is_waiting
    assert [entry["event"] for entry in logs] == ["feed_stop_failed"]
    released.set()
    await asyncio.wait_for(host.wait_finished(), 10)


async def test_stop_is_safe_without_start_and_start_is_not_repeated(pipeline: Pipeline) -> None:
    host = pipeline.host(ScriptedFeed())
    await host.stop()
    await host.start()
    with pytest.raises(RuntimeError, match="already started"):
        await host.start()
    await host.stop()


async def test_its_metrics_are_those_of_its_feeds(pipeline: Pipeline) -> None:
    async with pipeline.running(
        ScriptedFeed(raising, emitting(a_tick(), a_tick(math.nan))), OtherFeed()
    ) as host:
        await asyncio.wait_for(host.wait_finished("scripted"), 10)
        text = generate_latest(pipeline.registry).decode()
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["decahertz_feed_events_total", "scripted"] == 1
        assert samples["decahertz_feed_restarts_total", "scripted"] == 1
        assert samples["decahertz_feed_refused_events_total", "scripted"] == 1
        assert samples["decahertz_feed_counts_total", "scripted", "messages"] == 2


async def test_no_feeds_are_well(pipeline: Pipeline) -> None:
    async with pipeline.running() as host:
        await host.wait_finished()
        assert host.status().health is Health.OK
        assert host.feeds() == []
