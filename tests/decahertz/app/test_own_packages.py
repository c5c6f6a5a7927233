"""The command finds its own packages, whatever the folder it is started in has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decahertz import __version__

SCRIPT = Path(sys.executable).with_name("decahertz")
OF_OURS = ("api", "collectors", "control", "exporter", "providers", "storage")


@pytest.mark.parametrize(
    "program", [[str(SCRIPT)], [sys.executable, "-m", "decahertz"]], ids=["script", "-m"]
)
@pytest.mark.parametrize("path", [".", ""], ids=["PYTHONPATH=.", "no PYTHONPATH"])
def test_a_folder_of_ones_own_with_the_name_of_a_package_does_no_harm(
    program: list[str], path: str, tmp_path: Path
) -> None:
    for name in OF_OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not this one')\n")
    if not path:
        (tmp_path / "msgspec.py").write_text("raise ImportError('not this one')\n")
    ended = subprocess.run(
        [*program, "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.stdout.strip() == __version__, ended.stderr
