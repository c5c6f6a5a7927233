"""Restarts the embedded PostgreSQL when it ends on its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from random import Random

import structlog

from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.supervision import supervise
from storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

_BACKOFF = Backoff(first_seconds=0.5, most_seconds=10.0)


class PostgresSupervisor:
    """Runs one embedded server after another on the same data. The URL stays the same."""

    def __init__(self, make: Callable[[], EmbeddedPostgres]) -> None:
        """``make`` returns a server that has not been started, always for the same data."""
        self._make = make
        self._server = make()
        self._task: asyncio.Task[None] | None = None
        self._incident = Incident("postgres", structlog.get_logger(part="embedded_postgres"))
        self._problem = ""
        self._is_starting = True
        self._random = Random().random  # noqa: S311 - jitter

    async def start(self) -> str:
        """Starts the first server; returns the URL. Again after an :class:`EmbeddedPostgresError`."""
        self._server = self._make()
        try:
            url = await self._server.start()
        except EmbeddedPostgresError as error:
            self._problem = str(error)
            raise
        self._problem, self._is_starting = "", False
        self._task = supervise(self._supervise, "embedded-postgres-supervisor")
        return url

    def expect_end(self) -> None:
        """Stops supervising: from now on the server may end, by whomever it is stopped."""
        if self._task is not None:
            self._task.cancel()
        self._server.expect_end()

    async def stop(self) -> None:
        """Stops supervising, and the server. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._server.stop()

    def kill(self) -> None:
        """Kills the server. Committed data is kept."""
        if self._server.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self._server.pid, signal.SIGKILL)

    def status(self) -> ComponentStatus:
        """Failed while no server runs, degraded during its first start."""
        health = Health.FAILED if self._problem else Health.DEGRADED if self._is_starting else Health.OK
        detail = self._problem or ("the embedded PostgreSQL is starting" if self._is_starting else "")
        return ComponentStatus(name="postgres", health=health, detail=detail)

    async def _supervise(self) -> None:
        while True:
            if not self._problem:  # else an earlier restart has not come to its end
                code = await self._server.wait_ended()
                self._fail(f"the embedded PostgreSQL ended with exit code {code} and is being restarted")
            await self._server.stop()
            await self._restart()
            self._problem = ""
            self._incident.recover()

    async def _restart(self) -> None:
        attempt = 0
        while True:
            self._server = self._make()
            try:
                await self._server.start()
            except EmbeddedPostgresError as error:
                self._fail(str(error))
                await asyncio.sleep(_BACKOFF.seconds(attempt, self._random))
                attempt += 1
            else:
                return

    def _fail(self, problem: str) -> None:
        self._problem = problem
        self._incident.fail(round(asyncio.get_running_loop().time() * NS_PER_SECOND), reason=problem)
