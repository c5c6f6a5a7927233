"""No task or thread of the running program ends unseen: each is supervised, and goes on after an error."""

from __future__ import annotations

import asyncio
import ctypes
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from decahertz.app.companions import Companion, running
from decahertz.app.garbage_collection import collecting
from decahertz.app.pipeline import Pipeline
from decahertz.app.settings import load
from decahertz.clock import SystemClock
from decahertz.supervision import is_supervised, is_supervised_thread
from tests.embedded_server import create_data

pytestmark = pytest.mark.timeout(180)
_HEALTH_SECONDS = 1.0
"""How soon the health has to tell."""
_THREAD_SECONDS = 3.0
"""The same of a thread, which an error reaches only when it wakes."""
_AWAITED = {
    "RequestHandler.start",  # ends with the connection of an HTTP client
    "RequestHandler._handle_request",
    "AdminSession._run",  # awaited by the work whose statement it executes
    "Process.wait",  # awaited by the supervisor of the embedded server
}
"""Coroutines of tasks that end with a request, or whose end somebody awaits."""
_SPOOL = "spool"  # restarts its own work, because it owns the file
_ASYNCIO = ("asyncio", "waitpid-")  # an executor, or a thread that waits for a process: somebody awaits both
_RESOLVER = "(_run_safe_shutdown_loop)"  # of pycares, which aiohttp uses where ccxt is installed
_QUICK = {f"collectors.system.{name}_seconds": "0.05" for name in ("fast", "slow", "disk")}


class InjectedError(Exception):
    """Raised from outside."""


async def until(condition: Callable[[], object], limit_seconds: float) -> None:
    async with asyncio.timeout(limit_seconds):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.01)


def is_told(pipeline: Pipeline, text: str) -> bool:
    return any(text in part.detail for part in pipeline.components())


async def fail(task: asyncio.Task[Any], text: str) -> None:
    """Lets what the task waits for raise."""
    while True:
        waiter: Any = task
        while isinstance(waiter, asyncio.Task):
            waiter = waiter._fut_waiter  # type: ignore[attr-defined]  # the task in C has it
        if waiter is not None and not waiter.done():
            waiter.set_exception(InjectedError(text))
            return
        await asyncio.sleep(0)


async def fail_spool(pipeline: Pipeline, error: type[Exception]) -> None:
    """Raises an error in the thread of the spool, between two jobs."""
    worker: Any = pipeline._spool._worker
    run_jobs = worker._run_jobs

    def fail_once(_: object) -> None:
        worker._run_jobs = run_jobs
        raise error

    worker._run_jobs = fail_once
    await until(lambda: is_told(pipeline, error.__name__), _THREAD_SECONDS)


async def fail_thread(pipeline: Pipeline, thread: threading.Thread) -> None:
    """Raises an error in the thread until health tells: where it is handled as one of a reading, again."""
    error = type(f"Injected_{thread.name.replace('-', '_')}", (Exception,), {})
    if thread.name == _SPOOL:  # a job that it has just taken, somebody waits for
        await fail_spool(pipeline, error)
        return
    async with asyncio.timeout(_THREAD_SECONDS):
        while not is_told(pipeline, error.__name__):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(error)
            )
            await asyncio.sleep(0.2)


@asynccontextmanager
async def silent() -> AsyncIterator[None]:
    """Without the log: showing the stack of an error takes longer than the health may take to tell it."""
    with capture_logs():
        yield


@asynccontextmanager
async def recording(folder: Path) -> AsyncIterator[Pipeline]:
    """The whole program but for its command line."""
    await asyncio.to_thread(create_data, folder / "postgres")
    arguments = {"data_dir": str(folder), "api.port": "0", "exporter.port": "0", "feeds.enabled": "synthetic"}
    settings = await asyncio.to_thread(load, environ={}, arguments={**arguments, **_QUICK})
    pipeline = Pipeline(settings)
    try:
        await pipeline.start()
        async with collecting(SystemClock()), running([Companion(argv=("sleep", "60"), environment={})]):
            yield pipeline
    finally:
        await pipeline.stop()


# An error that is raised in a thread between two instructions may lose a file that it has just opened.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning")
async def test_each_task_and_thread_is_supervised_and_goes_on_after_an_error(folder: Path) -> None:
    others, threads = asyncio.all_tasks(), set(threading.enumerate())

    def tasks() -> list[asyncio.Task[Any]]:
        return sorted(asyncio.all_tasks() - others, key=lambda task: task.get_name())

    async with (
        silent(),
        recording(folder) as pipeline,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{pipeline.api_url.replace('http', 'ws')}/ws") as reader,
    ):
        await reader.send_json({"type": "subscribe", "topics": ["bars:BTC-USD:1s", "metrics:system:*"]})
        await hear(reader, "update")

        alone = {task.get_name(): task.get_coro().__qualname__ for task in tasks() if not is_supervised(task)}  # type: ignore[union-attr]
        assert set(alone.values()) <= _AWAITED, alone
        own_threads = [
            t
            for t in threading.enumerate()
            if t not in threads and not t.name.startswith(_ASYNCIO) and not t.name.endswith(_RESOLVER)
        ]
        assert [t.name for t in own_threads if not is_supervised_thread(t)] == [_SPOOL]

        supervised = [task for task in tasks() if is_supervised(task)]
        names = [task.get_name() for task in supervised]
        assert len(names) == len(set(names))
        assert {"storage-writer", "sampler", "recorder-lease", "feed synthetic", "websocket-bars"} <= set(
            names
        )
        for task in supervised:
            text = f"injected into {task.get_name()}"
            for _ in range(5):  # the writer takes one in the middle of a transaction for one of a row
                await fail(task, text)
                with suppress(TimeoutError):
                    await until(lambda text=text: is_told(pipeline, text), _HEALTH_SECONDS)  # type: ignore[misc]
                    break
            else:
                pytest.fail(f"the health does not tell of what was {text}: {pipeline.components()}")
        for thread in own_threads:
            await fail_thread(pipeline, thread)
        assert {task.get_name() for task in tasks() if not task.done()} >= set(names)
        assert all(thread.is_alive() for thread in own_threads)
        before = pipeline.figures()

        for figure in ("cycles", "events", "samples_stored"):
            await until(lambda name=figure: getattr(pipeline.figures(), name) > getattr(before, name), 20)  # type: ignore[misc]
        await hear(reader, "update")


async def hear(reader: aiohttp.ClientWebSocketResponse, kind: str) -> None:
    """Returns when the reader has got a message of this type that was sent from now on."""
    message: dict[str, Any] = {}
    while message.get("type") != kind:
        message = json.loads((await reader.receive(timeout=10)).data)
