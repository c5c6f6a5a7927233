"""Supervision: a task or thread that fails is logged, shown in the health, and restarted.

A part starts the work that lives as long as itself with :func:`supervise` or :func:`supervised_thread`::

    running ── raises ──► failed ── backoff ──► running ── for ten seconds ──► recovered
       └── returns, or its part cancels it ──► ended

What no task or thread handles, an error of a callback for instance, is reported in the same place.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import random
from typing import TYPE_CHECKING, Any, Final

import structlog

from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.health import ComponentStatus, Health
from decahertz.incident import QUIET_NS, Incident

if TYPE_CHECKING:
    from typing import TypeAlias

    Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_RESTART: Final = Backoff(first_seconds=0.1, most_seconds=5.0)  # shorter than an incident lasts
_STABLE_SECONDS: Final = QUIET_NS / NS_PER_SECOND
_MOST_FAILURES: Final = 10
"""From so many failures in a row on a task counts as failed, not as degraded."""
_LOOP: Final = "event-loop"
_OTHER_THREADS: Final = "thread"


class Supervision:
    """The failures of tasks and threads of one process: the component ``tasks`` of its health."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._incidents: dict[str, Incident] = {}
        self._log = structlog.get_logger(part="tasks")

    def failed(self, name: str, error: BaseException) -> None:
        """Reports the failure of a task or thread, from any thread."""
        incident = self._incidents.get(name)
        if incident is None:
            incident = self._incidents.setdefault(name, Incident("task", self._log.bind(task=name)))
        incident.fail(self._clock.monotonic_ns(), error)
        incident.problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

    def status(self) -> ComponentStatus:
        """Degraded until whatever has failed is stable again; failed if it keeps failing."""
        health, details = Health.OK, []
        for name, incident in list(self._incidents.items()):
            incident.look(self._clock.monotonic_ns())
            if incident.active:
                keeps_failing = incident.failures >= _MOST_FAILURES
                health = Health.FAILED if keeps_failing or health is Health.FAILED else Health.DEGRADED
                times = f" {incident.failures} times" if incident.failures > 1 else ""
                details.append(f"{name} failed{times}: {incident.problem}")
        return ComponentStatus(name="tasks", health=health, detail="; ".join(details))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Supervises what is started from now on; within the block report unhandled errors too."""
        SUPERVISION.set(self)
        loop = asyncio.get_running_loop()
        loop_handler, thread_hook = loop.get_exception_handler(), threading.excepthook
        loop.set_exception_handler(self._unhandled)
        threading.excepthook = self._ended
        try:
            yield
        finally:
            loop.set_exception_handler(loop_handler)
            threading.excepthook = thread_hook

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, OSError):  # that is the end of a connection
            self.failed(_LOOP, error)
        else:
            loop.default_exception_handler(context)

    def _ended(self, ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
            self.failed(_OTHER_THREADS, ended.exc_value)


SUPERVISION: Final[ContextVar[Supervision | None]] = ContextVar("SUPERVISION", default=None)
"""Where failures are reported; ``None``: they are only logged."""


def current() -> Supervision:
    """The supervision of the process; without one, failures are only logged."""
    return SUPERVISION.get() or Supervision(SystemClock())


def supervise(work: Work, name: str) -> asyncio.Task[None]:
    """Starts a task that runs ``work`` until it returns, and again whenever it fails; cancel it to end it."""
    return asyncio.get_running_loop().create_task(_restarted(work, name, current()), name=name)


async def end(task: asyncio.Task[None] | None, timeout_seconds: float | None = None) -> None:
    """Cancels a task, if there is one, and waits until it has ended."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task], timeout=timeout_seconds)


def supervised_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread that runs ``work`` until it returns, and again whenever it fails; it is not started."""
    arguments = (work, name, current())
    return threading.Thread(target=_restarted_in_thread, args=arguments, name=name, daemon=True)


def is_supervised(task: asyncio.Task[Any]) -> bool:
    """Whether a task was started by :func:`supervise`."""
    return getattr(task.get_coro(), "cr_code", None) is _restarted.__code__


def is_supervised_thread(thread: threading.Thread) -> bool:
    """Whether a thread was made by :func:`supervised_thread`."""
    return getattr(thread, "_target", None) is _restarted_in_thread


async def _restarted(work: Work, name: str, supervision: Supervision) -> None:
    loop = asyncio.get_running_loop()
    attempt = 0
    while True:
        began = loop.time()
        try:
            return await work()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure: BaseException = error  # raised inside the work: its part has not cancelled it
        except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
            failure = error
        attempt = 0 if loop.time() - began > _STABLE_SECONDS else attempt
        supervision.failed(name, failure)
        await asyncio.sleep(_RESTART.seconds(attempt, random))
        attempt += 1


def _restarted_in_thread(work: Callable[[], None], name: str, supervision: Supervision) -> None:
    clock = SystemClock()
    attempt = 0
    while True:
        began_ns = clock.monotonic_ns()
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - as above
            supervision.failed(name, error)
        attempt = 0 if clock.monotonic_ns() - began_ns > QUIET_NS else attempt
        threading.Event().wait(_RESTART.seconds(attempt, random))
        attempt += 1
