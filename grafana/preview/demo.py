"""The demo as a user starts it, and commands for its data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grafana.preview.stack import StackError

_STOP_SECONDS = 15.0
_PORTS = ("--api-port", "0", "--exporter-port", "0")
_DECAHERTZ = (sys.executable, "-m", "decahertz")


@contextmanager
def recorder(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """Runs ``decahertz up --demo`` with data in the folder; yields its addresses by name."""
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - the project's own command
            [
                *_DECAHERTZ,
                "up",
                "--demo",
                *_PORTS,
                *options,
                *_data(folder),
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(),
        )
    try:
        yield _addresses(process, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _addresses(process: subprocess.Popen[str], log: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    for line in process.stdout:
        name, _, address = line.strip().partition(" ")
        found[name] = address.strip()
        if "Ctrl-C stops it." in line:
            return found
    raise StackError(f"decahertz up did not come up: {log.read_text(encoding='utf-8')[-2000:]}")


def _environment() -> dict[str, str]:
    """The environment without settings of the caller's own recorder."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DECAHERTZ_")}


def _data(folder: Path) -> list[str]:
    return ["--data-dir", str(folder / "data")]


def run(folder: Path, *arguments: str) -> None:
    """Runs a command of ``decahertz``. Raises :class:`~grafana.preview.stack.StackError` if it fails."""
    done = subprocess.run(  # noqa: S603 - the project's own command
        [*_DECAHERTZ, *arguments, *_data(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=_environment(),
    )
    if done.returncode:
        raise StackError(done.stderr.strip())
