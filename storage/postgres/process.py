"""Runs programs of PostgreSQL as the right user, and stops them in an orderly way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil
import structlog

from storage.postgres.cluster import SOCKET_NAME, Server, ServerUser
from storage.postgres.installation import (
    EmbeddedPostgresError,
    EmbeddedPostgresUnusableError,
    Installation,
    readable_copy,
)
from storage.postgres.launcher import DATA_DIRECTORY, NOT_THE_USER, Launch

P = ParamSpec("P")
T = TypeVar("T")

_QUIT_S = 1.0
_IMMEDIATE_STOP_S = 10.0


class ProgramRunner:
    """Runs programs of PostgreSQL for one data directory, one after the other."""

    def __init__(self, user: ServerUser | None, output: int) -> None:
        """``user`` is ``None`` for this process's own; programs write to the descriptor ``output``."""
        self.user = user
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._log = structlog.get_logger(part="embedded_postgres")

    @property
    def pid(self) -> int | None:
        """Process id of the running program; ``None`` if none runs."""
        running = self._process is not None and self._ended is not None and not self._ended.done()
        return self._process.pid if self._process is not None and running else None

    def seen(self, directory: Path) -> str:
        """Returns the path of a data directory as the programs see it."""
        return DATA_DIRECTORY if self.user is not None and sys.platform == "linux" else str(directory)

    async def run(self, program: str, *arguments: str, directory: Path | None = None) -> int:
        """Runs a program to its end; returns its exit code.

        Without a data ``directory`` its output is discarded.
        """
        output = asyncio.subprocess.DEVNULL if directory is None else self._output
        await self._launch(self._launch_of([program, *arguments], signal.SIGTERM, directory), output)
        return await self.wait()

    async def start_server(self, argv: list[str], *, directory: Path, files: Mapping[str, str]) -> None:
        """Starts the server. It makes a fast, orderly shutdown when the parent dies."""
        launch = self._launch_of(argv, signal.SIGINT, directory)
        await self._launch(launch._replace(files=dict(files), stale_socket=SOCKET_NAME), self._output)

    async def wait(self, limit_s: float | None = None) -> int:
        """Waits for the program to end; returns its exit code. Raises ``TimeoutError`` after ``limit_s``."""
        if self._ended is None:
            raise EmbeddedPostgresError("no program of the embedded PostgreSQL was started")
        finished, _ = await asyncio.wait({self._ended}, timeout=limit_s)
        if not finished:
            raise TimeoutError
        return self._ended.result()

    async def halt(self, limit_s: float) -> None:
        """Stops the program: orderly within ``limit_s`` seconds, then at once. Safe twice."""
        if self._process is None:
            return
        steps = (
            (signal.SIGINT, limit_s),  # ends the sessions and writes a checkpoint
            (signal.SIGQUIT, _QUIT_S),  # ends at once; the next start replays the log
            (signal.SIGKILL, _IMMEDIATE_STOP_S),
        )
        for number, step_limit_s in steps:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                await self.wait(step_limit_s)
                return
            self._log.warning("postgres_stop_timed_out", signal=number.name, seconds=step_limit_s)
        raise EmbeddedPostgresError(f"the embedded PostgreSQL with pid {self._process.pid} cannot be stopped")

    def _launch_of(self, argv: list[str], death_signal: signal.Signals, directory: Path | None) -> Launch:
        return Launch(
            argv=tuple(argv),
            parent=os.getpid(),
            death_signal=death_signal,
            directory=None if directory is None else str(directory),
            user=None if self.user is None else self.user.uid,
            group=None if self.user is None else self.user.gid,
        )

    async def _launch(self, launch: Launch, output: int) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *launch.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=Launch.bare_environment(),
            cwd="/",
            start_new_session=True,  # Ctrl-C reaches only this process, which stops the server
        )
        self._ended = asyncio.create_task(self._process.wait(), name="embedded-postgres-ended")


async def runnable(runner: ProgramRunner, installation: Installation, cache: Path) -> Installation:
    """Returns the installation, or a copy of it in ``cache`` if the server's user cannot run it."""
    if runner.user is None or await _is_runnable(runner, installation):
        return installation
    refusal = f"{installation.prefix} cannot be run by user id {runner.user.uid}"
    if not installation.relocatable:
        raise EmbeddedPostgresUnusableError(f"{refusal}: install PostgreSQL where every user can read it")
    copy = await in_thread(readable_copy, installation, cache)
    if not await _is_runnable(runner, copy):
        raise EmbeddedPostgresUnusableError(f"{refusal}, nor can its copy in {copy.prefix}")
    return copy


async def _is_runnable(runner: ProgramRunner, installation: Installation) -> bool:
    """Whether the server's user can run the programs: mount options and libraries matter too."""
    code = await runner.run(installation.program("initdb"), "--version")
    if code == NOT_THE_USER and runner.user is not None:
        raise EmbeddedPostgresUnusableError(
            f"PostgreSQL refuses to run as root, and changing to user id {runner.user.uid} is not permitted: "
            "start Decahertz as an ordinary user, or with the capabilities SETUID, SETGID and CHOWN"
        )
    return code == 0


async def retire(orphan: Server, limit_s: float) -> None:
    """Stops a server whose owner died. Usually it is shutting down already."""
    pid = orphan.process.pid
    if not orphan.ours:
        raise EmbeddedPostgresError(f"the data directory is already in use by another PostgreSQL, pid {pid}")
    structlog.get_logger(part="embedded_postgres").warning("postgres_orphan_found", pid=pid)
    for number, step_limit_s in ((signal.SIGINT, limit_s), (signal.SIGQUIT, _IMMEDIATE_STOP_S)):
        with suppress(psutil.NoSuchProcess):
            orphan.process.send_signal(number)
        with suppress(psutil.TimeoutExpired):
            await asyncio.to_thread(orphan.process.wait, step_limit_s)
            return
    raise EmbeddedPostgresError(f"the data directory is in use by a PostgreSQL that does not stop, pid {pid}")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a blocking function in a thread, to its end even if the caller is cancelled."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
