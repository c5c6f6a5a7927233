"""The server's log."""

from __future__ import annotations

import os
from pathlib import Path

from storage.postgres.log import ServerLog


def test_the_log_is_rotated_and_its_last_errors_are_returned(folder: Path) -> None:
    log = ServerLog(folder / "log", limit=1000)
    os.write(log.open(), b"x" * 1000 + b"\nFATAL:  gone\n")
    log.rotate()
    os.write(log.open(), b"LOG:  fine\nFATAL:  now\nHINT:  see\n")
    assert log.tail() == "FATAL:  now | HINT:  see"
    assert (folder / "log").stat().st_size < 100
    assert (folder / "log.1").read_bytes().endswith(b"FATAL:  gone\n")
    log.close()
    log.close()
