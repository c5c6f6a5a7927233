"""The queue of calls, and the rate limit, by themselves."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from decahertz.fakes import ManualClock
from providers.scheduler import MOST_IN_A_ROW, CallPriority, Scheduler, Ticket
from providers.token_bucket import TokenBucket
from tests.api.helpers import wait_for


def waiting(
    scheduler: Scheduler, priorities: list[CallPriority], order: list[CallPriority]
) -> asyncio.Task[None]:
    """Lets calls of these priorities wait; ``order`` gets the priority of each that is let through."""

    async def call(priority: CallPriority) -> None:
        await scheduler.acquire(Ticket(priority))
        order.append(priority)
        scheduler.release()

    async def all_of_them() -> None:
        await asyncio.gather(*(call(priority) for priority in priorities))

    return asyncio.create_task(all_of_them())


async def test_interactive_calls_go_first_and_a_background_call_cannot_starve() -> None:
    scheduler = Scheduler(1, 100)
    await scheduler.acquire(Ticket(CallPriority.INTERACTIVE))
    order: list[CallPriority] = []
    background, interactive = [CallPriority.BACKGROUND] * 3, [CallPriority.INTERACTIVE] * 30
    task = waiting(scheduler, background + interactive, order)
    await wait_for(lambda: scheduler.waiting(CallPriority.INTERACTIVE) == len(interactive), "all wait")
    scheduler.release()
    await task
    at = [index for index, priority in enumerate(order) if priority is CallPriority.BACKGROUND]
    assert at == [MOST_IN_A_ROW, 2 * MOST_IN_A_ROW + 1, 3 * MOST_IN_A_ROW + 2]
    assert scheduler.calls == 0


@pytest.mark.parametrize("seed", range(20))
async def test_no_room_is_lost_whoever_is_cancelled_when(seed: int) -> None:
    random = Random(seed)
    scheduler = Scheduler(3, 1000)
    most = 0

    async def call() -> None:
        nonlocal most
        ticket = Ticket(random.choice(list(CallPriority)))
        await scheduler.acquire(ticket)
        try:
            most = max(most, scheduler.calls)
            scheduler.promote(ticket)
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
        finally:
            scheduler.release()

    tasks = [asyncio.create_task(call()) for _ in range(200)]
    while not all(task.done() for task in tasks):
        random.choice(tasks).cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (scheduler.calls, most) == (0, 3)
    assert [scheduler.waiting(priority) for priority in CallPriority] == [0, 0]


def test_tokens_come_at_their_rate_and_a_burst_after_a_pause() -> None:
    clock = ManualClock()
    bucket = TokenBucket(clock, 10.0, 3)
    assert [bucket.take(1.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.1, 0.2]
    clock.advance(10**9)
    assert bucket.tokens == 3
    bucket.pause(2.0)
    assert bucket.take(1.0) == bucket.take(1.0) == 2.0  # no token is taken
    assert bucket.tokens == 3


def test_without_a_rate_there_is_always_a_token() -> None:
    bucket = TokenBucket(ManualClock(), 0.0, 1)
    assert bucket.tokens is None
    assert [bucket.take(0.0) for _ in range(100)] == [0.0] * 100
