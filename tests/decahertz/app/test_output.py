"""Commands whose output nobody reads to its end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command",
    [
        ["settings"],
        ["--help"],
        ["up", "--help"],
        ["db", "size", "--instruments", "100", "--strategies", "5"],
    ],
    ids=" ".join,
)
def test_a_command_ends_quietly_when_its_reader_goes_away(command: list[str], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "decahertz", *command],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (ended.stderr, ended.returncode) in {(b"", 141), (b"", 1)}  # rich ends with 1
