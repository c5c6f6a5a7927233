"""Runs Decahertz as a user does: the command, in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pkgutil
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

import decahertz.__main__
import decahertz.app
from tests.embedded_server import create_data

ROOT = Path(__file__).resolve().parents[2]
IS_LONG = os.environ.get("DECAHERTZ_CHAOS", "short") == "long"
"""Whether tests run at full length, as scripts/soak has them run."""
START_LIMIT_SECONDS = 180.0 if IS_LONG else 40.0
"""A start without a checkpoint reads the whole past, which is long in the long runs."""
STOP_LIMIT_SECONDS = 15.0
ANSWER_LIMIT_SECONDS = 40.0
"""Limit of waiting for an answer: longer than the program's own limits."""
_PR_SET_PDEATHSIG = 1
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        __name__,
        *(module.name for module in pkgutil.iter_modules(decahertz.app.__path__, "decahertz.app.")),
        "tests.pipeline.warmed",
    ]
)


class Program(Protocol):
    """A started program: what :class:`subprocess.Popen` and :class:`Forked` have in common."""

    pid: int
    stdin: IO[str] | None
    stdout: IO[str] | None

    @property
    def returncode(self) -> int | Any: ...  # noqa: ANN401 - as Popen declares it

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...

    def communicate(self, *, timeout: float | None = None) -> tuple[str, Any]: ...


class Forked:
    """``decahertz ARGUMENTS`` in a process that has its modules imported already, which saves a second.

    It works in its data folder, and its errors go to the log. Another ``program`` reads its standard input.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        program: Callable[[], object] | None = None,
    ) -> None:
        reader, writer = _FORKS.Pipe(duplex=False)
        heard, told = _FORKS.Pipe(duplex=False)
        start = (program or decahertz.__main__.main, None if program is None else heard)
        self._process = _FORKS.Process(target=_become, args=(arguments, dict(env), writer, log, *start))
        self._process.start()
        writer.close()
        heard.close()
        self.stdin: IO[str] | None = None if program is None else os.fdopen(os.dup(told.fileno()), "w")
        told.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.stdout: IO[str] | None = os.fdopen(os.dup(reader.fileno()))
        reader.close()

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, *, timeout: float | None = None) -> tuple[str, None]:
        """Waits for the end; the rest of its output."""
        if self.stdin is not None:
            self.stdin.close()
            self.stdin = None
        deadline = time.monotonic() + (timeout if timeout is not None else 3600)
        text = ""
        while self.stdout is not None and (said := _read(self.stdout, deadline)) != "":
            if said is None:
                raise subprocess.TimeoutExpired("decahertz", timeout or 0, text)
            text += said
        if self.stdout is not None:
            self.stdout.close()
            self.stdout = None
        self._process.join(max(0, deadline - time.monotonic()))
        if self.poll() is None:
            raise subprocess.TimeoutExpired("decahertz", timeout or 0, text)
        return text, None


def _read(stream: IO[str], deadline: float) -> str | None:
    """Output as soon as there is some, empty at its end; ``None`` when there is none before the deadline.

    Not ``readline()``: a selector does not see lines that have been read ahead.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(max(0, deadline - time.monotonic())):
            return None
    return os.read(stream.fileno(), 1 << 16).decode()


class RunningDecahertz:
    """A started ``decahertz up`` whose addresses are known."""

    def __init__(self, process: Program, welcome: str) -> None:
        self.process = process
        self.welcome = welcome
        self.api = self.address("API").removesuffix("/api/v1/health")
        self.page = self.address("Page")
        self.websocket = self.address("WebSocket")
        self.metrics = self.address("Metrics")
        self.database = self.address("Database")

    def address(self, name: str) -> str:
        """The address that the welcome shows under a name."""
        found = re.search(rf"^ +{name} +(\S+)$", self.welcome, re.MULTILINE)
        assert found, self.welcome
        return found[1]

    def get(self, path: str) -> Any:  # noqa: ANN401 - whatever the API answers
        """The decoded JSON answer of the API to ``GET path``."""
        return msgspec.json.decode(read(self.api + path))

    def get_all(self, name: str) -> list[dict[str, Any]]:
        """All items of a list of the API, page by page."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/api/v1/{name}?limit=500" + (f"&cursor={cursor}" if cursor else ""))
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = page["next_cursor"]

    def problems(self) -> list[str]:
        """Components that are not ok, but for cycles that the sampler missed on a busy machine."""
        try:
            answer = read(f"{self.api}/api/v1/health")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:  # the status of a component that has failed
                raise
            answer = error.read()
        components = msgspec.json.decode(answer)["components"]
        wrong = [f"{c['name']}: {c['health']}, {c['detail']}" for c in components if c["health"] != "ok"]
        return [
            text for text in wrong if not re.fullmatch(r"sampler: degraded, [\d,]+ cycles? missed, .*", text)
        ]

    def stop(self, number: int = signal.SIGINT) -> tuple[float, str]:
        """Sends a signal and waits; how many seconds it took, and the rest of the output."""
        began = time.monotonic()
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=STOP_LIMIT_SECONDS)
        return time.monotonic() - began, output


def errors_in(log: Path) -> list[str]:
    """The errors in the log of a process, without those that a busy machine makes."""
    lines = log.read_text().splitlines()
    busy = ('"part": "sampler"', '"part": "system"')
    return [line for line in lines if '"level": "error"' in line and not any(part in line for part in busy)]


class Starvation:
    """The time in which processes wanted to run, and the machine did something else.

    A limit on what a process does in time is honest on a busy machine if this is added to it: only the main
    thread of each counts, and of several processes the one that waited longest since the last reading.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        """``pids`` are those of the processes that have something to do now."""
        self._pids = pids
        self._seen: dict[int, float] = {}
        self._total = 0.0
        self.seconds()

    def seconds(self) -> float:
        """So far; to be read every now and then."""
        seen = {pid: _waited_seconds(pid) for pid in self._pids()}
        waits = [seconds - self._seen[pid] for pid, seconds in seen.items() if pid in self._seen]
        self._seen = seen
        self._total += max([0.0, *waits])
        return self._total


def _waited_seconds(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # it has ended, or the kernel does not count
        return 0.0


def wait_until(
    what: str,
    limit_seconds: float,
    condition: Callable[[], bool],
    starvation: Starvation | None = None,
) -> float:
    """Polls until ``condition()`` is true; returns the seconds that it took.

    Four fifths of the time are pauses: what asks for a long list would else load the machine with asking.
    ``starvation`` prolongs the limit.
    """
    began = asked = time.monotonic()
    starved = 0.0 if starvation is None else starvation.seconds()
    while not condition():
        now = time.monotonic()
        more = 0.0 if starvation is None else starvation.seconds() - starved
        assert now - began < limit_seconds + more, f"waited {limit_seconds} s (and {more:.1f} s) for {what}"
        time.sleep(min(max(0.02, 4 * (now - asked)), 0.5))
        asked = time.monotonic()
    return time.monotonic() - began


def read(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of an answer from this machine."""
    assert url.startswith("http://127.0.0.1:")
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS) as answer:  # noqa: S310 - checked above
        body: bytes = answer.read()
        return body


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """The environment of a command: free ports, data in the test's folder, none of the caller's settings.

    Time limits of the product that a busy machine reaches are longer; a test about one of them sets its own.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DECAHERTZ_")}
    return {
        **kept,
        "DECAHERTZ_DATA_DIR": str(data_dir),
        "DECAHERTZ_API_PORT": "0",
        "DECAHERTZ_EXPORTER_PORT": "0",
        "PYTHONUNBUFFERED": "1",
        "DECAHERTZ_STORAGE_START_TIMEOUT_SECONDS": "60",
        "DECAHERTZ_STORAGE_CONNECT_TIMEOUT_SECONDS": "30",
        "DECAHERTZ_STORAGE_READ_TIMEOUT_SECONDS": "30",
        "DECAHERTZ_INGEST_TIMEOUT_SECONDS": "30",
        **more,
    }


def command(*arguments: str) -> list[str]:
    """The command line of ``decahertz``."""
    return [sys.executable, "-m", "decahertz", *arguments]


def run(*arguments: str, env: Mapping[str, str], timeout: float = 50) -> subprocess.CompletedProcess[str]:
    """Runs a command of ``decahertz`` to its end, in a process that has its modules imported already."""
    with tempfile.TemporaryDirectory(prefix="decahertz-run-") as folder:
        errors = Path(folder, "errors")
        process = Forked(arguments, env, errors)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise subprocess.TimeoutExpired(arguments, timeout, errors.read_bytes()) from error
        return subprocess.CompletedProcess(
            command(*arguments), process.returncode or 0, output, errors.read_text()
        )


def _become(
    arguments: Sequence[str],
    env: Mapping[str, str],
    output: Connection,
    log: Path,
    program: Callable[[], object],
    heard: Connection | None,
) -> None:
    """Become ``decahertz ARGUMENTS``; a run of tests that is killed leaves none behind."""
    gc.freeze()  # no collection visits what the forkserver imported: that would copy its memory
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # the forkserver ends with the tests
    os.environ.clear()
    os.environ.update(env)
    os.chdir(env["DECAHERTZ_DATA_DIR"])
    os.dup2(os.open(os.devnull, os.O_RDONLY) if heard is None else heard.fileno(), 0)
    sys.stdin = os.fdopen(0)
    os.dup2(output.fileno(), 1)
    output.close()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    sys.argv = ["decahertz", *arguments]
    program()


def started(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
    """Starts a process in its data folder; its errors go to the log."""
    with log.open("a") as errors:
        return subprocess.Popen(
            arguments,
            env=dict(env),
            cwd=env["DECAHERTZ_DATA_DIR"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )


@contextmanager
def running(
    *arguments: str,
    env: Mapping[str, str],
    log: Path,
    prefix: Sequence[str] = (),
    subcommand: str = "up",
    is_forked: bool = True,
) -> Iterator[RunningDecahertz]:
    """``decahertz up ARGUMENTS`` until the block ends; it has to be there still, or to have ended well.

    With ``is_forked=False`` or a ``prefix`` it is started by its command line.
    """
    data = Path(env["DECAHERTZ_DATA_DIR"]) / "postgres"
    if "DECAHERTZ_DATABASE_URL" not in env and not data.exists():
        create_data(data, has_tables=True)
    process: Program
    if is_forked and not prefix:
        process = Forked([subcommand, *arguments], env, log)
    else:
        process = started([*prefix, *command(subcommand, *arguments)], env, log)
    try:
        yield RunningDecahertz(process, await_welcome(process, log))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=STOP_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def await_welcome(process: Program, log: Path) -> str:
    assert process.stdout is not None
    text = ""
    began = time.monotonic()
    starvation = Starvation(lambda: [process.pid])
    while "Ctrl-C stops it." not in text:
        said = _read(process.stdout, time.monotonic() + 1)
        if said is None and time.monotonic() - began < START_LIMIT_SECONDS + starvation.seconds():
            continue
        if not said:
            process.kill()
            process.communicate()
            raise AssertionError(f"decahertz up did not come up: {text}\n{log.read_text()[-3000:]}")
        text += said
    return text
