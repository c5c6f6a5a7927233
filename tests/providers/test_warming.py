"""Warming the cache: on request, as a job, and on a schedule."""

from __future__ import annotations

import pytest

from providers.cached import Found
from providers.errors import GatewayError
from providers.jobs import MOST_JOBS, Jobs, JobState
from tests.api.helpers import wait_for
from tests.providers.world import World, ask


async def test_a_job_fetches_each_symbol_and_tells_which_failed(world: World) -> None:
    gateway = await world.gateway()
    await ask(gateway, "A-USD")
    job = gateway.warm("coinbase", ["A-USD", "B-USD", "bad symbol", "C-USD"], "desk")
    assert (job.state, job.done, job.items) == (JobState.RUNNING, 0, 4)
    await wait_for(lambda: job.state is JobState.DONE, "the job ends")
    assert gateway.jobs.find(job.job_id) is job
    assert (job.done, job.failed) == (3, 1)
    assert [error.item for error in job.errors] == ["bad symbol"]
    assert job.ended_ns == world.clock.time_ns()
    assert len(world.venue.calls) == 3  # one was fresh
    assert (await ask(gateway, "C-USD")).found is Found.HIT


async def test_a_stale_entry_is_renewed_and_a_stop_ends_the_job(world: World) -> None:
    gateway = await world.gateway()
    await ask(gateway)
    world.pass_seconds(15)
    job = gateway.warm("coinbase", ["BTC-USD"], "desk")
    await wait_for(lambda: job.state is JobState.DONE, "the job ends")
    assert len(world.venue.calls) == 2
    world.venue.is_open.clear()
    jobs = [gateway.warm("coinbase", [f"S{number}-USD"], "desk") for number in range(8)]
    with pytest.raises(GatewayError, match="8 jobs run already"):
        gateway.warm("coinbase", ["X-USD"], "desk")
    await wait_for(lambda: len(world.venue.calls) == 6, "four calls at a time")
    await gateway.stop()
    assert {job.state for job in jobs} == {JobState.CANCELLED}


async def test_chosen_and_popular_symbols_are_kept_warm(world: World) -> None:
    settings = {"warm_seconds": 0.02, "warm_popular": 1}
    gateway = await world.gateway(settings=settings, warm=("A-USD",))
    await wait_for(lambda: world.venue.calls == ["/products/A-USD/ticker"], "it is warm from the start")
    for symbol in ("B-USD", "C-USD", "B-USD"):
        await ask(gateway, symbol)
    world.pass_seconds(15)
    world.venue.calls.clear()
    await wait_for(lambda: len(world.venue.calls) == 2, "both are renewed")
    assert world.venue.calls == ["/products/A-USD/ticker", "/products/B-USD/ticker"]


def test_the_newest_jobs_are_remembered_and_those_that_run(world: World) -> None:
    jobs = Jobs(world.clock)
    running = jobs.begin("warm-cache", "coinbase", "desk", 1)
    ended = [jobs.begin("warm-cache", "coinbase", "desk", 1) for _ in range(MOST_JOBS)]
    for job in ended:
        jobs.end(job, JobState.DONE)
    newest = jobs.begin("warm-cache", "coinbase", "desk", 1)
    assert jobs.find(running.job_id) is running
    assert jobs.find(newest.job_id) is newest
    assert jobs.find(ended[0].job_id) is None
    assert jobs.find(ended[-1].job_id) is ended[-1]
