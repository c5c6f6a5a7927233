"""A running API for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.helpers import Stack


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Stack]:
    """Real parts, without a database."""
    async with Stack().running() as running:
        yield running
