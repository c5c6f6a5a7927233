"""Programs that run next to the recorder, are restarted when they fail, and end with it.

The recorder stops them when it stops. If it dies, even by ``kill -9``, the kernel stops them (on Linux).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import random

import structlog

from decahertz.backoff import Backoff
from decahertz.incident import Incident
from decahertz.supervision import supervise
from storage.postgres.launcher import Launch
from storage.postgres.log import ServerLog

_GRACE_SECONDS = 1.5
_CHECK_SECONDS = 60.0
"""After this long a program counts as stable; then its log is looked after this often."""
_RESTART = Backoff(first_seconds=2.0, most_seconds=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A program to run."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    is_server: bool = False
    """Whether it is restarted even after exit code 0."""
    log: Path | None = None
    """File for its output; ``None``: the output of this process."""

    @property
    def name(self) -> str:
        """The program as logs name it."""
        return Path(self.argv[0]).name if self.is_server else " ".join(self.argv)


@asynccontextmanager
async def running(companions: Sequence[Companion]) -> AsyncIterator[None]:
    """Runs the programs until the end of the block."""
    tasks = [
        supervise(partial(_keep_running, companion), f"companion {companion.name}")
        for companion in companions
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _keep_running(companion: Companion) -> None:
    log = structlog.get_logger(part="companion", program=companion.name)
    program = await asyncio.to_thread(shutil.which, companion.argv[0])
    if program is None:
        log.error("companion_start_failed", reason=f"{companion.argv[0]} is not found or not executable")
        return
    incident = Incident("companion", log)
    attempt = 0
    while True:
        code, message = None, ""
        try:
            code, message = await _run(companion, program, incident)
        except OSError as error:  # no process or no file can be made
            message = str(error)
        if code == 0 and not companion.is_server:
            log.info("companion_ended")
            return
        if not incident.active:
            attempt = 0
        incident.fail(0, exit_code=code, message=message)
        await asyncio.sleep(_RESTART.seconds(attempt, random))
        attempt += 1


async def _run(companion: Companion, program: str, incident: Incident) -> tuple[int, str]:
    """Runs the program once; returns its exit code and the end of its log. An error ends it, too."""
    output = _Output(companion.log)
    try:
        process = await _start(companion, program, output)
        try:
            code = await _exit_code(process, incident, output)
        finally:  # after an error, too: it is started again
            if process.returncode is None:
                await terminate(process)
        return code, output.tail()
    finally:
        output.close()


class _Output:
    """Where a program writes to: a log file of limited size, or the output of this process."""

    def __init__(self, path: Path | None) -> None:
        self._log = None if path is None else ServerLog(path)
        self.descriptor = None if self._log is None else self._log.open()

    def maintain(self) -> None:
        """Limits the size of the file."""
        if self._log is not None:
            self._log.rotate()

    def tail(self) -> str:
        """The last lines of the program, joined to one."""
        return "" if self._log is None else self._log.tail()

    def close(self) -> None:
        """Closes the file."""
        if self._log is not None:
            self._log.close()


async def _start(companion: Companion, program: str, output: _Output) -> asyncio.subprocess.Process:
    folder = Path.cwd()
    launch = Launch(
        argv=(str(folder / program), *companion.argv[1:]),
        parent=os.getpid(),
        death_signal=signal.SIGTERM,
        folder=str(folder),
        umask=None,
    )
    # In its own process group: Ctrl-C reaches only this process, which then stops the companion.
    return await asyncio.create_subprocess_exec(
        *launch.command(),
        env=companion.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output.descriptor,
        stderr=output.descriptor,
        start_new_session=True,
    )


async def _exit_code(process: asyncio.subprocess.Process, incident: Incident, output: _Output) -> int:
    while True:
        with suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), _CHECK_SECONDS)
        incident.recover()
        with suppress(OSError):  # a full disk
            await asyncio.to_thread(output.maintain)


async def terminate(process: asyncio.subprocess.Process) -> None:
    """Ends a program and its children: politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
            return
