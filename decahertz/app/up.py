"""``decahertz up``: runs the pipeline with a live status line and companion programs, and stops cleanly."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from api.http.access import Scope
from collectors.feeds.settings import FeedsSettings
from decahertz import __version__
from decahertz.app.companions import Companion, running
from decahertz.app.database import start_errors
from decahertz.app.garbage_collection import collecting
from decahertz.app.pipeline import Pipeline
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock
from decahertz.supervision import SUPERVISION, supervise

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from decahertz.app.stack.stack import Stack

_DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo_trader.py"
_PLAIN_STATUS_SECONDS = 10.0
_LIVE_STATUS_SECONDS = 0.5
_GRACE_SECONDS = 3.2
_KILL_SECONDS = 4.4
_MIN_WAIT_SECONDS = 0.4


async def run_up(
    settings: Settings,
    *,
    demo: bool = False,
    commands: Sequence[str] = (),
    until_finished: bool = False,
    stack: Stack | None = None,
) -> int:
    """Runs until SIGINT or SIGTERM, or until all feeds have ended; returns the exit code.

    ``commands`` are programs to run next to the recorder, and ``stack`` has servers.
    Raises :class:`~decahertz.app.start_error.StartError` if a part cannot start, and after another process
    took over the recorder's name.
    """
    programs = [shlex.split(command) for command in commands]
    if [] in programs:
        raise StartError("--run names no program")
    if demo:
        if not _DEMO.exists():
            raise StartError("the demo program is not installed: run scripts/up --demo in a checkout")
        programs.append([sys.executable, str(_DEMO)])
        if not settings.feeds.enabled:
            settings = msgspec.structs.replace(settings, feeds=FeedsSettings(enabled=("synthetic",)))
    stop = _stop_on_signals()
    pipeline = Pipeline(settings)
    SUPERVISION.set(pipeline.supervision)
    starting = asyncio.create_task(pipeline.start())
    stopping: asyncio.Future[object] = asyncio.create_task(stop.requested.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # Ctrl-C during the start
        starting.cancel()
    try:
        with suppress(asyncio.CancelledError):
            await starting
        if pipeline.started:
            companions = await _companions(programs, pipeline, trades=demo)
            addresses: Sequence[tuple[str, str]] = ()
            if stack is not None:
                companions += await stack.companions(pipeline)
                addresses = stack.addresses()
            async with collecting(SystemClock()), running(companions), _status(pipeline, addresses):
                await _until(pipeline, stopping, until_finished=until_finished)
                pipeline.expect_end()
    finally:
        stopping.cancel()
        stopped = await _stop_pipeline(pipeline, stop)
    if not stopped:
        sys.stdout.write(killed(*pipeline.rows_left()))
        sys.stdout.flush()
        os._exit(1)  # what hangs would hang a normal exit too
    sys.stdout.write("stopped\n")
    return 0


class _StopRequest:
    """The stop that a user requested with signals."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.repeated = asyncio.Event()
        self.requested_at: float | None = None

    def request(self) -> None:
        """Handles SIGINT or SIGTERM; the second one shortens the wait."""
        if self.requested.is_set():
            self.repeated.set()
        else:
            self.requested_at = asyncio.get_running_loop().time()
            self.requested.set()


def _stop_on_signals() -> _StopRequest:
    stop = _StopRequest()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.request)
    return stop


async def _stop_pipeline(pipeline: Pipeline, stop: _StopRequest) -> bool:
    """Stops the pipeline within five seconds of the first signal; returns whether that worked.

    The database is the usual cause of a slow stop. An embedded one is killed: committed data is safe, and
    its next start replays the write-ahead log.
    """
    now = asyncio.get_running_loop().time
    start = now() if stop.requested_at is None else stop.requested_at
    stopping = asyncio.create_task(pipeline.stop())
    repeated = asyncio.create_task(stop.repeated.wait())
    timeout = max(_MIN_WAIT_SECONDS, start + _GRACE_SECONDS - now())
    await asyncio.wait((stopping, repeated), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    repeated.cancel()
    if not stopping.done():
        structlog.get_logger(part="pipeline").error("stop_timed_out")
        pipeline.abandon()
        await asyncio.wait((stopping,), timeout=max(_MIN_WAIT_SECONDS, start + _KILL_SECONDS - now()))
    if not stopping.done():
        return False
    stopping.result()
    return True


async def _until(pipeline: Pipeline, stopping: asyncio.Future[object], *, until_finished: bool) -> None:
    lost: asyncio.Future[object] = asyncio.ensure_future(pipeline.lease_lost())
    waiting = {stopping, lost}
    if until_finished:
        waiting.add(asyncio.ensure_future(pipeline.feeds_finished()))
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for future in rest - {stopping}:
        future.cancel()
    for future in done:
        with start_errors():  # a lost lease is one
            future.result()


async def _companions(
    programs: Sequence[Sequence[str]], pipeline: Pipeline, *, trades: bool
) -> list[Companion]:
    """Companions for programs: variables tell them the address of the API, its certificate and their key.

    ``trades``: one of them takes order requests, for which a key has to permit it.
    """
    if not programs:
        return []
    environment = {**os.environ, "DECAHERTZ_URL": pipeline.api_url}
    if pipeline.api_certificate is not None:
        environment.setdefault("DECAHERTZ_CA_FILE", str(pipeline.api_certificate))
    if not environment.keys() & {"DECAHERTZ_KEY", "DECAHERTZ_KEY_FILE"}:
        scopes = (Scope.READ, Scope.INGEST, *([Scope.TRADE] if trades else ()))
        file = await pipeline.key_file("companions", *scopes, exists=trades)
        if file is not None:
            environment["DECAHERTZ_KEY_FILE"] = str(file)
    return [Companion(argv=program, environment=environment) for program in programs]


def killed(kept: int, lost: int) -> str:
    """The text printed when the parts do not stop in time."""
    text = f"killed after 5 seconds: {kept:,} rows wait in the spool for the next start"
    return text + (f", {lost:,} rows that had not reached the disk are lost\n" if lost else "\n")


def welcome(pipeline: Pipeline, more: Sequence[tuple[str, str]] = ()) -> str:
    """The text printed when all parts run; ``more`` are rows of names and addresses."""
    rows = [
        ("Page", f"{pipeline.api_url}/"),
        ("API", f"{pipeline.api_url}/api/v1/health"),
        ("WebSocket", f"{pipeline.api_url.replace('http', 'ws', 1)}/ws"),
        ("Metrics", f"{pipeline.exporter_url}/metrics"),
        ("Database", pipeline.shown_database_url),
        *more,
    ]
    width = max(len(name) for name, _ in rows) + 1
    lines = "\n".join(f"  {name:<{width}} {value}" for name, value in rows)
    return f"Decahertz {__version__} is recording\n{lines}\nCtrl-C stops it.\n"


def status_text(pipeline: Pipeline) -> str:
    """The one-line status."""
    now = pipeline.figures()
    parts = [
        f"cycles {now.cycles:,}",
        f"missed {now.missed_cycles:,}",
        f"late p99 {now.lateness_p99_seconds * 1000:.1f} ms",
        f"samples stored {now.samples_stored:,}",
        f"events {now.events:,}",
    ]
    if now.dropped:
        parts.append(f"dropped {now.dropped:,}")
    parts += [f"{part.name}: {part.detail or part.health.value}" for part in now.unhealthy]
    return " · ".join(parts)


@asynccontextmanager
async def _status(pipeline: Pipeline, addresses: Sequence[tuple[str, str]]) -> AsyncIterator[None]:
    sys.stdout.write(welcome(pipeline, addresses))
    sys.stdout.flush()
    show = _live if sys.stdout.isatty() else _plain
    task = supervise(partial(_while_read, show, pipeline), "status-line")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _while_read(show: Callable[[Pipeline], Awaitable[None]], pipeline: Pipeline) -> None:
    with suppress(OSError):  # its reader is gone: a pipe or a terminal
        await show(pipeline)


async def _plain(pipeline: Pipeline) -> None:
    while True:
        await asyncio.sleep(_PLAIN_STATUS_SECONDS)
        sys.stdout.write(status_text(pipeline) + "\n")
        sys.stdout.flush()


async def _live(pipeline: Pipeline) -> None:
    # Only a terminal needs them.
    from rich.console import Console, Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    bars = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"),
                    TimeRemainingColumn())  # fmt: skip
    tasks: dict[str, TaskID] = {}
    with Live(console=Console(), refresh_per_second=2, transient=False) as live:
        while True:
            for name, progress in pipeline.feed_progress().items():
                if name not in tasks:
                    tasks[name] = bars.add_task(name)
                bars.update(tasks[name], completed=progress.done, total=progress.total)
            line = Text(status_text(pipeline), no_wrap=True, overflow="ellipsis")
            live.update(Group(bars, line) if tasks else line)
            await asyncio.sleep(_LIVE_STATUS_SECONDS)
