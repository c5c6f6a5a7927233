from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator

import pytest_asyncio

from decahertz.clock import NS_PER_SECOND
from decahertz.fakes import ManualClock
from decahertz.health import Health
from decahertz.supervision import (
    Supervision,
    is_supervised,
    is_supervised_thread,
    supervise,
    supervised_thread,
)
from tests.collectors.feeds.parts import until


class Watched:
    """A supervision by a clock that stands still, and work that fails as often as it is told to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.supervision = Supervision(self.clock)
        self.runs = 0
        self.errors: list[BaseException] = []
        self.end = threading.Event()

    async def work(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop()
        await asyncio.Event().wait()

    def work_in_thread(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop()
        self.end.wait(10)


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    with watched.supervision.watching():
        yield watched


async def test_a_task_that_fails_is_told_and_started_again(watched: Watched) -> None:
    watched.errors = [asyncio.CancelledError(), RuntimeError("the disk is gone")]
    task = supervise(watched.work, "writer")
    assert is_supervised(task)
    assert watched.supervision.status().health is Health.OK
    await until(lambda: watched.supervision.status().detail)
    status = watched.supervision.status()
    assert (status.name, status.health) == ("tasks", Health.DEGRADED)
    assert status.detail == "writer failed: RuntimeError: the disk is gone"
    await until(lambda: watched.runs == 3)
    assert watched.supervision.status().detail == "writer failed 2 times: CancelledError"
    watched.clock.advance(10 * NS_PER_SECOND)
    assert watched.supervision.status().health is Health.OK
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert watched.runs == 3


async def test_a_task_that_keeps_failing_has_failed(watched: Watched) -> None:
    for _ in range(10):
        assert watched.supervision.status().health is not Health.FAILED
        watched.supervision.failed("writer", ValueError("no"))
    watched.supervision.failed("sampler", ValueError("no"))
    assert watched.supervision.status().health is Health.FAILED


async def test_a_task_that_returns_is_not_started_again(watched: Watched) -> None:
    async def work() -> None:
        watched.runs += 1

    await supervise(work, "once")
    assert watched.runs == 1
    assert watched.supervision.status().health is Health.OK


async def test_a_thread_that_fails_is_told_and_runs_again(watched: Watched) -> None:
    watched.errors = [ValueError("no number")]
    thread = supervised_thread(watched.work_in_thread, "readings")
    assert is_supervised_thread(thread)
    thread.start()
    await until(lambda: watched.runs == 2)
    assert watched.supervision.status().detail == "readings failed: ValueError: no number"
    watched.end.set()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


async def test_errors_that_nobody_handles_are_told(watched: Watched) -> None:
    async def fails() -> None:
        raise KeyError("instrument")

    def callback() -> None:
        raise RuntimeError("in a callback")

    asyncio.get_running_loop().call_soon(callback)
    await until(lambda: "event-loop failed" in watched.supervision.status().detail)
    await asyncio.wait([asyncio.create_task(fails())])
    gc.collect()
    await until(lambda: "KeyError: 'instrument'" in watched.supervision.status().detail)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    await asyncio.to_thread(thread.join, 5)
    assert "thread failed: ZeroDivisionError" in watched.supervision.status().detail
