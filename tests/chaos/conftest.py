"""Fixtures of the chaos tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.embedded_server import chosen_installation


@pytest.fixture(scope="session")
def installation() -> Installation:
    """The PostgreSQL under test."""
    return chosen_installation()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own, whose path is too long for a socket and which keeps everything."""
    made = Path(tempfile.mkdtemp(prefix="chaos-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)
