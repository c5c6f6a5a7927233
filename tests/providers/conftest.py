"""A venue, and gateways in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from tests.providers.venue import venue
from tests.providers.world import World


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with venue() as upstream, AsyncExitStack() as stack:
        yield World(upstream, stack)
