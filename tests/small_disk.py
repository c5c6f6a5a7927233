"""A filesystem that a test can fill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "40m") -> Iterator[None]:
    """Mounts a filesystem of this size on the folder; skips the test where that is not possible."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root under Linux can make a small filesystem")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "small-disk", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not permit to mount a small filesystem: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(file: Path) -> None:
    """Fills the file's disk to the last byte."""
    with file.open("ab", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    stream.write(b"\0" * size)
                except OSError:
                    break
