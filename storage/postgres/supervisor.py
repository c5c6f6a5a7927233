"""Keeps the embedded PostgreSQL running: when it ends by itself, it is started again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from decahertz.health import ComponentStatus, Health
from storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)


class PostgresSupervisor:
    """One embedded server after another on the same data. The address stays the same."""

    def __init__(self, make: Callable[[], EmbeddedPostgres]) -> None:
        """``make`` gives a server that has not been started yet, always for the same data."""
        self._make = make
        self._server = make()
        self._task: asyncio.Task[None] | None = None
        self._failure = ""
        self._log: FilteringBoundLogger = structlog.get_logger(part="embedded_postgres")
        self.restarts = 0

    async def start(self) -> str:
        """Start the first server; returns the address. Raises :class:`EmbeddedPostgresError`."""
        url = await self._server.start()
        self._task = asyncio.create_task(self._keep(), name="embedded-postgres-keeper")
        return url

    async def stop(self) -> None:
        """Stop keeping it, and the server. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._server.stop()

    def kill(self) -> None:
        """End the server without any order; what is committed is kept."""
        if self._server.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self._server.pid, signal.SIGKILL)

    def status(self) -> ComponentStatus:
        """Failed while the server is away."""
        health = Health.FAILED if self._failure else Health.OK
        return ComponentStatus(name="postgres", health=health, detail=self._failure)

    async def _keep(self) -> None:
        while True:
            code = await self._server.wait_ended()
            self._failure = f"the embedded PostgreSQL ended with exit code {code}; it is started again"
            self._log.error("postgres_restarting", exit_code=code)
            await self._server.stop()
            await self._start_again()
            self.restarts += 1
            self._failure = ""

    async def _start_again(self) -> None:
        attempt = 0
        while True:
            self._server = self._make()
            try:
                await self._server.start()
            except EmbeddedPostgresError as error:
                self._failure = str(error)
                await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                attempt += 1
            else:
                return
