"""API processes: started by the recorder, fed by it, restarted when they fail, ended with it.

The recorder listens on the address of the API and passes the sockets on; it accepts no connection itself.
While a process restarts, new connections wait for it or for another one. Nothing in the recorder waits for a
process: see :mod:`api.processes.feed`.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from api.app import LISTEN_BACKLOG
from api.live.limits import HubLimits
from api.processes.feed import LiveFeed
from api.processes.figures import ProcessFigures
from api.processes.link import ProcessLink
from decahertz.addresses import listening_sockets
from decahertz.app import API_PROCESS
from decahertz.app.api_process import ProcessStart
from decahertz.app.companions import terminate
from decahertz.app.database import read_url
from decahertz.backoff import Backoff
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.settings import SettingsError, Sources
from decahertz.supervision import supervise
from storage.postgres.launcher import Launch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.processes.messages import Report
    from api.security.sessions import Sessions
    from decahertz.app.settings import Settings
    from decahertz.bus import Bus
    from decahertz.latest import LatestAlerts, LatestSamples
    from decahertz.sample import SampleSchema
    from storage.query.event_log import WaitingEvents

_NICENESS: Final = 10
"""The sampler goes first where there are too few cores."""
_RESTART: Final = Backoff(first_seconds=0.25, most_seconds=30.0)
_STABLE_SECONDS: Final = 60.0
"""After this long a failure counts as the first one."""
_START_SECONDS: Final = 60.0
"""Limit until all processes listen."""
_SILENT_SECONDS: Final = 30.0
"""A process that reports nothing for this long is terminated."""
_LOOK_SECONDS: Final = 1.0


class _Slot:
    """One process at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"api {number}"
        self.started = asyncio.Event()
        """Set once a process has accepted connections."""
        self.link: ProcessLink | None = None
        self.incident = Incident("api_process", structlog.get_logger(part="api", process=number))

    @property
    def is_listening(self) -> bool:
        """Whether it accepts connections."""
        return self.link is not None and self.link.listening.is_set()

    def status(self) -> ComponentStatus:
        report = None if self.link is None else self.link.report
        if report is not None and report.failed_tasks:
            return ComponentStatus(name=self.name, health=Health.DEGRADED, detail=report.failed_tasks)
        if self.is_listening:
            return ComponentStatus(name=self.name, health=Health.OK)
        return ComponentStatus(name=self.name, health=Health.DEGRADED, detail="is starting")


class ApiProcesses:
    """The processes that serve the API's clients. Call ``start`` once; ``stop`` is safe at any time."""

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        bus: Bus,
        latest: LatestSamples,
        alerts: LatestAlerts,
        schemas: Sequence[SampleSchema],
        spool: WaitingEvents,
        sessions: Sessions,
    ) -> None:
        count, limits = settings.api.processes, HubLimits()
        self._folder = tempfile.TemporaryDirectory(prefix="decahertz-")  # only its owner may enter it
        self.path = str(Path(self._folder.name) / "api")
        """Socket at which the recorder's API has to listen before ``start``."""
        self.feed = LiveFeed(bus, latest, alerts, sessions, epoch=spool.epoch, ring_events=limits.ring_events)
        self.figures = ProcessFigures(self.feed, self._reports, max_clients=count * limits.max_clients)
        self._settings = settings
        self._database_url = database_url
        self._schemas = tuple(schemas)
        self._spool = spool
        self._slots = [_Slot(number) for number in range(1, count + 1)]
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._end_expected = False

    @property
    def url(self) -> str:
        """Base URL for clients on this machine: ``http://127.0.0.1:8000``, or ``https`` with TLS."""
        return self._settings.api.url(self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listens, and starts the processes; returns when all of them accept connections.

        Raises :class:`~decahertz.settings.SettingsError`, or ``OSError`` if a process does not start in time.
        """
        api = self._settings.api
        try:
            pickle.dumps(self._schemas)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            reason = f"must be 0: the sample type of a plugin cannot be imported by its name: {error}"
            raise SettingsError("api.processes", reason) from error
        self._sockets = await asyncio.to_thread(listening_sockets, "api", api.host, api.port, LISTEN_BACKLOG)
        self.feed.start()
        self._tasks = [supervise(partial(self._keep_running, slot), slot.name) for slot in self._slots]
        try:
            async with asyncio.timeout(_START_SECONDS):
                for slot in self._slots:
                    await slot.started.wait()
        except TimeoutError as error:
            raise OSError(f"an API process did not start within {_START_SECONDS:g} s; see its log") from error

    def expect_end(self) -> None:
        """Stops restarting processes."""
        self._end_expected = True

    async def stop(self) -> None:
        """Ends the processes, and stops listening. Safe without ``start``, and twice."""
        self.feed.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._folder.cleanup()

    def components(self) -> list[ComponentStatus]:
        """Status of each process."""
        return [slot.status() for slot in self._slots]

    def _reports(self) -> Iterable[Report]:
        return [slot.link.report for slot in self._slots if slot.link is not None and slot.link.report]

    def _start_message(self, number: int) -> bytes:
        # Only our own child reads it, from a pair of sockets that no other process has.
        start = ProcessStart(
            number=number,
            settings=replace(self._settings, sources=Sources()),
            database_url=self._database_url,
            read_url=read_url(self._settings),
            schemas=self._schemas,
            epoch=self.feed.epoch,
            floor=self.feed.floor,
            path=self.path,
            sockets=tuple(sock.fileno() for sock in self._sockets),
        )
        return pickle.dumps((list(sys.path), pickle.dumps(start)))

    async def _keep_running(self, slot: _Slot) -> None:
        now = asyncio.get_running_loop().time
        attempt = 0
        while True:
            began = now()
            try:
                code = await self._run(slot)
            except OSError as error:  # the process could not be started
                slot.incident.fail(0, error)
            else:
                if self._end_expected:
                    return
                slot.incident.fail(0, exit_code=code)
            if now() - began > _STABLE_SECONDS:
                attempt = 0
            await asyncio.sleep(_RESTART.seconds(attempt, random))
            attempt += 1

    async def _run(self, slot: _Slot) -> int | None:
        """Runs a process until it ends, is cut off, or is silent for too long; returns its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._launch(theirs)
        link = slot.link = ProcessLink(self.feed, self._spool, partial(self._start_message, slot.number))
        tasks = [asyncio.ensure_future(part) for part in (process.wait(), link.run(ours), _watch(slot, link))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            slot.link = None
            if link.report is not None:
                self.figures.retire(link.report)
            await asyncio.shield(terminate(process))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return process.returncode

    async def _launch(self, connection: socket.socket) -> asyncio.subprocess.Process:
        descriptors = (connection.fileno(), *(sock.fileno() for sock in self._sockets))
        launch = Launch(
            argv=(sys.executable, "-m", "decahertz", API_PROCESS, str(connection.fileno())),
            parent=os.getpid(),
            death_signal=signal.SIGTERM,
            folder=str(Path.cwd()),
            umask=None,
            niceness=_NICENESS,
        )
        # In its own process group: Ctrl-C reaches only this process, which then ends the child.
        return await asyncio.create_subprocess_exec(
            *launch.command(),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,
        )


async def _watch(slot: _Slot, link: ProcessLink) -> None:
    """Ends the incident once the process listens; returns when it has been silent for too long."""
    try:
        async with asyncio.timeout(_START_SECONDS):
            await link.listening.wait()
    except TimeoutError:
        return
    slot.started.set()
    slot.incident.recover()
    loop = asyncio.get_running_loop()
    link.reported_at = loop.time()
    while loop.time() - link.reported_at < _SILENT_SECONDS:  # noqa: ASYNC110 - no event says "silent"
        await asyncio.sleep(_LOOK_SECONDS)
