"""An exporter on a free port, in front of a real bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import ClientSession
from blockbuster import blockbuster_ctx
from prometheus_client import CollectorRegistry

from decahertz.bus import LocalBus, samples_topic
from decahertz.sample import Sample
from decahertz.testing import ManualClock
from exporter.exporter import Exporter
from exporter.settings import ExporterSettings
from tests.exporter.samples import RECORDER, SOURCES, batch_of


class Rig:
    """The exporter and what feeds it."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - any of the exporter's
        self.bus = LocalBus()
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self.exporter = Exporter(
            self.bus,
            SOURCES,
            self.registry,
            ExporterSettings(port=0, **settings),
            self.clock,
            recorder=RECORDER,
        )

    def publish(self, *samples: Sample) -> None:
        """Lets a collector return these samples."""
        batch = batch_of(*samples)
        self.bus.publish(samples_topic(batch.schema.collector), batch)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.exporter.port}"


@pytest.fixture(autouse=True)
def _nothing_blocks() -> Iterator[None]:
    """A blocking call of the exporter in the event loop fails the test."""
    with blockbuster_ctx("exporter"):
        yield


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The parameter, if there is one, holds settings of the exporter."""
    rig = Rig(**getattr(request, "param", {}))
    await rig.exporter.start()
    yield rig
    await rig.exporter.stop()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(
        auto_decompress=False, skip_auto_headers=("Accept", "Accept-Encoding")
    ) as session:
        yield session
