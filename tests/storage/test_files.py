"""Locks of files, and the processes that held them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.files import open_locked

_HOLDER = """
import os, sys, time
from pathlib import Path
from storage.files import open_locked

open_locked(Path(sys.argv[1]))
if os.fork() == 0:  # a child that has not executed its program yet
    time.sleep(0.3)
    os._exit(0)
print("locked", flush=True)
time.sleep(60)
"""


def test_a_lock_that_a_killed_process_left_to_its_child_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    command = [sys.executable, "-c", _HOLDER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.close(open_locked(file))


def test_a_lock_of_a_process_that_runs_is_refused(tmp_path: Path) -> None:
    held = open_locked(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        open_locked(tmp_path / "lock")
    os.close(held)
    os.close(open_locked(tmp_path / "lock"))
