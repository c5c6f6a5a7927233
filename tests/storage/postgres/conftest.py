"""Data directories for embedded servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.embedded_server import create_data


@pytest.fixture
def filled(folder: Path, installation: Installation) -> Path:
    """The folder with an empty database in ``pg``, for tests that are not about creating it."""
    create_data(folder / "pg", installation)
    return folder
