"""Folders and recordings for the tests of the whole product."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.running import ROOT, environment


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that goes with the test."""
    folder = Path(tempfile.mkdtemp(prefix="decahertz-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def env(data_dir: Path) -> dict[str, str]:
    """The environment of a ``decahertz`` command on that folder."""
    return environment(data_dir)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Where the recordings of real markets lie."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recordings of real markets are not next to the checkout")
    return folder
