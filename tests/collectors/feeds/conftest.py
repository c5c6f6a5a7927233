"""Fixtures for the tests of feeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.collectors.feeds.parts import Pipeline

_RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[None]:
    """A blocking call of a feed in the event loop fails the test."""
    with blockbuster_ctx("collectors.feeds"):
        yield


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """Captures log entries as data; rendering a traceback would read files and block the event loop."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def recordings() -> Path:
    """The folder with recordings of real markets."""
    if not (_RECORDINGS / "coinbase.ws").exists():
        pytest.skip("no recordings of real markets next to the checkout")
    return _RECORDINGS


@pytest.fixture
async def pipeline() -> Pipeline:
    """An ingest on the machine's clock."""
    return Pipeline()
