"""Folders for embedded servers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.embedded_server import chosen_installation, create_data


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that only we can enter; for root that means: not the server's user."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def installation() -> Installation:
    return chosen_installation()


@pytest.fixture
def filled(folder: Path, installation: Installation) -> Path:
    """That folder with an empty database in its ``pg``: for tests of anything but its creation."""
    create_data(folder / "pg", installation)
    return folder
