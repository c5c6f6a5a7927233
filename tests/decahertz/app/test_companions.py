"""Companion programs: where they run, what they see, and how they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from decahertz.app import companions
from decahertz.app.companions import Companion, running

LIMIT_SECONDS = 20


def script(folder: Path, text: str) -> Path:
    """An executable shell script."""
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


async def until(condition: Callable[[], bool]) -> None:
    """Waits for other processes."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - they cannot set an event
            await asyncio.sleep(0.02)


async def test_a_program_runs_in_this_folder_with_its_environment_and_ends_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path, 'umask; echo "$PWD $SECRET $1" >told.new; echo $$ >pid; mv told.new told; sleep 60')
    environment = {"PATH": os.defpath, "SECRET": "verysecret"}
    umask = os.umask(0o022)
    os.umask(umask)
    log = tmp_path / "log"
    async with running([Companion(argv=["./program", "word"], environment=environment, log=log)]):
        await until((tmp_path / "told").exists)
        assert (tmp_path / "told").read_text() == f"{tmp_path} verysecret word\n"
        assert int(log.read_text(), 8) == umask
        program = psutil.Process(int((tmp_path / "pid").read_text()))
        family = [program, *program.children()]
        assert "verysecret" not in " ".join(program.cmdline())
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


async def test_a_program_that_ends_well_is_not_started_again_and_a_server_is(tmp_path: Path) -> None:
    program = script(tmp_path, f"echo it is over; echo x >>{tmp_path}/$1")
    both = [
        Companion(argv=[str(program), "job"], environment={}, log=tmp_path / "job.log"),
        Companion(argv=[str(program), "server"], environment={}, log=tmp_path / "server.log", is_server=True),
    ]

    def starts(name: str) -> int:
        return (tmp_path / name).read_text().count("x")

    with capture_logs() as logs:
        async with running(both):
            await until(lambda: (tmp_path / "server").exists() and starts("server") == 2)
    assert starts("job") == 1
    assert {entry["event"] for entry in logs if entry["program"].endswith("job")} == {"companion_ended"}
    [failed] = [entry for entry in logs if entry["event"] == "companion_failed"]
    assert (failed["program"], failed["exit_code"], failed["message"]) == ("program", 0, "it is over")


async def test_an_error_while_a_program_runs_ends_it_before_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    program = script(tmp_path, f"echo $$ >>{pids}; exec sleep 60")

    failures: list[int] = []

    def fail(_: object) -> None:
        """Fails once for each start, after the program has begun: on a busy machine that takes longer."""
        begun = pids.read_text().count("\n") if pids.exists() else 0
        if begun > len(failures):
            failures.append(begun)
            raise RuntimeError

    monkeypatch.setattr(companions, "_CHECK_SECONDS", 0.2)
    monkeypatch.setattr(companions._Output, "maintain", fail)
    companion = Companion(argv=[str(program)], environment={"PATH": os.defpath}, log=tmp_path / "log")
    with capture_logs():
        async with running([companion]):
            await until(lambda: pids.exists() and pids.read_text().count("\n") >= 2)
            first, *_ = map(int, pids.read_text().split())
            assert not psutil.pid_exists(first)


async def test_a_program_that_is_missing_is_reported(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running([Companion(argv=[str(tmp_path / "nothing")], environment={})]):
            await until(lambda: bool(logs))
    [entry] = logs
    assert entry["event"] == "companion_start_failed"
    assert str(tmp_path / "nothing") in entry["reason"]


async def test_a_log_that_cannot_be_written_does_not_stop_the_recorder(tmp_path: Path) -> None:
    log = tmp_path / "missing" / "log"
    with capture_logs() as logs:
        async with running([Companion(argv=["true"], environment={}, log=log)]):
            await until(lambda: bool(logs))
    [entry] = logs
    assert (entry["event"], entry["exit_code"]) == ("companion_failed", None)
