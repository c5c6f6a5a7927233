"""Folders and recordings for the tests of the whole product."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.running import ROOT, RunningDecahertz, environment, running


@pytest.fixture
def data_dir(folder: Path) -> Path:
    """A data folder that is removed after the test."""
    return folder


@pytest.fixture
def env(data_dir: Path) -> dict[str, str]:
    """The environment of a ``decahertz`` command on that folder."""
    return environment(data_dir)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningDecahertz, dict[str, str]]]:
    """A program without feeds that the tests of a file share, and the environment of commands on its data."""
    folder = tmp_path_factory.mktemp("idle")
    env = environment(folder)
    with running("--feeds-enabled", "", env=env, log=folder / "log") as decahertz:
        yield decahertz, env


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Where the recordings of real markets lie."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recordings of real markets are not next to the checkout")
    return folder
