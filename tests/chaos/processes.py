"""PostgreSQL, the pipeline, the client: each a process that can be stopped, be killed, and come back."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil

from storage.postgres.embedded import EmbeddedPostgres, Installation, database_url
from tests.chaos.background import Background
from tests.embedded_server import create_data, has_timescale
from tests.pipeline.running import ROOT, Forked, Program, RunningDecahertz, await_welcome, read

STOP_SECONDS = 60.0
_SETTINGS = {"max_connections": "40"}
_TIMESCALE = {
    **_SETTINGS,
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "24",
}


class Postgres:
    """A server outside the pipeline, which can outlive it; with TimescaleDB if it is installed."""

    def __init__(self, background: Background, folder: Path, installation: Installation) -> None:
        self._background = background
        self._folder = folder
        self._installation = installation
        self._settings = _TIMESCALE if has_timescale(installation) else _SETTINGS
        self._server: EmbeddedPostgres | None = None
        self.url = database_url(create_data(folder, installation))

    def start(self) -> None:
        """Starts it on the data that are there; returns when it takes connections."""
        self._server = EmbeddedPostgres(
            self._folder, installation=self._installation, settings=self._settings
        )
        self._background.call(self._server.start())

    def stop(self) -> None:
        """Stops it in an orderly way. Safe twice."""
        server, self._server = self._server, None
        if server is not None:
            self._background.call(server.stop())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All processes of the server stand still."""
        assert self._server is not None
        parent = psutil.Process(self._server.pid)
        stopped = [parent]
        parent.suspend()  # first, so that it starts no others
        try:
            for process in parent.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
                    stopped.append(process)
            yield
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill(self) -> None:
        """SIGKILL, for the server and, as after a crash of the machine, for all its processes."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.stop()

    def pids(self) -> list[int]:
        """Its processes now; none while it is stopped."""
        if self._server is None or self._server.pid is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return [process.pid for process in self.processes()]
        return []

    def processes(self) -> list[psutil.Process]:
        """Its processes, the parent first."""
        assert self._server is not None
        assert self._server.pid is not None
        parent = psutil.Process(self._server.pid)
        return [parent, *parent.children(recursive=True)]


@dataclass
class Life:
    """One life of the pipeline, in nanoseconds of the machine's clock."""

    born_ns: int
    ready_ns: int = 0
    """When it printed that it is recording."""
    died_ns: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    """Cycles in which a collector was not sampled, as last reported, by collector."""
    noted_ns: int = 0
    """When the last report of missed cycles was asked for; what is missed from then to a kill is unknown."""
    unclear: list[tuple[int, int]] = field(default_factory=list)
    """Periods with a stepped clock that ended in a kill, so that missed cycles were not reported."""


class Pipeline:
    """``decahertz up``, always on the same ports and the same data folder."""

    def __init__(self, env: Mapping[str, str], log: Path, program: Callable[[], None] | None = None) -> None:
        self._env = dict(env)
        self.log = log
        self._program = program
        self.port, self._exporter_port = free_port(), free_port()
        self.lives: list[Life] = []
        self.running: RunningDecahertz | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        """Starts it; returns when it is recording."""
        life = Life(time.time_ns())
        ports = ["--api-port", str(self.port), "--exporter-port", str(self._exporter_port)]
        command = () if self._program else ("up",)
        process = Forked([*command, *ports, *arguments], self._env, self.log, self._program)
        self.running = RunningDecahertz(process, await_welcome(process, self.log))
        life.ready_ns = time.time_ns()
        self.lives.append(life)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As Ctrl-C does. Safe when it does not run."""
        if self.running is not None:
            process = self._end(signal.SIGINT)
            assert process.returncode == 0, self.log.read_text()[-3000:]

    def note_missed(self) -> None:
        """Asks it, if it runs, which cycles it missed. Raises one error or another when it is dying."""
        running, life = self.running, self.lives[-1]
        if running is not None:
            asked_ns = time.time_ns()
            for collector, cycles in missed_cycles(running.metrics).items():
                life.missed[collector] = max(life.missed.get(collector, 0), cycles)
            life.noted_ns = max(life.noted_ns, asked_ns)

    def get(self, path: str) -> Any:  # noqa: ANN401 - whatever the API answers
        assert self.running is not None
        return self.running.get(path)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-3000:]

    def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self.running is not None
        assert self.running.process.stdin is not None
        self.running.process.stdin.write(line + "\n")
        self.running.process.stdin.flush()

    def _end(self, number: signal.Signals) -> Program:
        assert self.running is not None
        with suppress(OSError, ValueError, HTTPException):  # it may be in a bad way
            self.note_missed()
        running, self.running = self.running, None
        self.lives[-1].died_ns = time.time_ns()
        running.process.send_signal(number)
        running.process.communicate(timeout=STOP_SECONDS)
        return running.process


class Emitter:
    """The client process."""

    def __init__(self, source: str, promises: Path, log: Path) -> None:
        self.source = source
        self.promises = promises
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.figures: list[dict[str, Any]] = []
        """Final figures of the starts that were stopped and not killed."""

    def start(self, url: str, rate: float) -> None:
        program = Path(__file__).with_name("emitter.py")
        with self._log.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(program), url, self.source, str(self.promises), str(rate)],
                env={**os.environ, "PYTHONPATH": str(ROOT / "client")},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def kill(self) -> None:
        """SIGKILL: what it had in memory is gone."""
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        process.communicate(timeout=STOP_SECONDS)

    def stop(self) -> None:
        """Lets it send what is left. Safe when it does not run."""
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            output, _ = process.communicate(timeout=STOP_SECONDS + 30)
            assert process.returncode == 0
            self.figures.append(json.loads(output))

    def promised(self) -> dict[int, int]:
        """Number of acknowledged events by epoch."""
        found: dict[int, int] = {}
        if self.promises.exists():
            *lines, _torn = self.promises.read_text().split("\n")
            for line in lines:
                epoch, acknowledged = map(int, line.split())
                found[epoch] = acknowledged
        return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def missed_cycles(metrics_url: str) -> dict[str, int]:
    """Cycles in which a due collector was not sampled, for whatever reason, as the sampler reports them."""
    exposition = read(metrics_url).decode()
    counted = r'^decahertz_sampler_skipped_cycles_total\{.*?collector="(\w+)".*?\} (\S+)$'
    found: dict[str, int] = {}
    for collector, cycles in re.findall(counted, exposition, re.MULTILINE):
        found[collector] = found.get(collector, 0) + int(float(cycles))
    assert "decahertz_sampler_skipped_cycles_total" in exposition, exposition
    return found
