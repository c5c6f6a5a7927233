"""The scripts of the README, run as a newcomer runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.docs.commands import ROOT
from tests.pipeline.running import RunningDecahertz, await_welcome, environment, read, started

pytestmark = pytest.mark.timeout(120)


def test_up_serves_the_demo_passes_options_on_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["--api-port", "0", "--data-dir", str(tmp_path / "data")]
    process = started([str(ROOT / "scripts" / "up"), *arguments], environment(tmp_path), log)
    try:
        up = RunningDecahertz(process, await_welcome(process, log))
        assert b"synthetic" in read(f"{up.api}/api/v1/collectors")
        assert (tmp_path / "data").is_dir()
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody in the foreground gets it
        process.communicate(timeout=15)
        assert process.returncode == 0, log.read_text()
        assert time.monotonic() - began < 5
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("options", "command"), [([], "up"), (["--stack"], "stack")])
def test_up_makes_the_environment_and_passes_options_on(
    tmp_path: Path, options: list[str], command: str
) -> None:
    printed = subprocess.run(
        [str(ROOT / "scripts" / "up"), "--help", *options],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed.startswith(f"Usage: decahertz {command} ")


@pytest.mark.parametrize(
    "name", ["up", "test", "check", "bench", "soak", "dashboards-preview", "page-preview"]
)
def test_a_script_is_posix_sh_and_make_knows_its_name(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.read_text().startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)
    makefile = (ROOT / "Makefile").read_text()
    assert f" {name}" in makefile.split(".PHONY:")[1].splitlines()[0]


def test_what_the_lock_file_pins_is_what_pip_is_told() -> None:
    printed = subprocess.run(
        ["python3", str(ROOT / "scripts" / "constraints.py"), str(ROOT / "uv.lock")],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    assert "\naiohttp==" in printed
    assert "decahertz" not in printed
