"""What the API needs of the rest of the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from decahertz.bus import Bus
from decahertz.clock import Clock
from decahertz.health import CollectorStatus, ComponentStatus, FeedStatus
from decahertz.ingest import Ingest
from decahertz.latest import LatestSamples
from decahertz.ledger import StreamLedger
from decahertz.sample import SampleSchema
from storage.query.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """Collaborators, made by the composition root. The callables are cheap and show the present."""

    clock: Clock
    bus: Bus
    ingest: Ingest
    queries: Queries
    latest: LatestSamples
    schemas: Sequence[SampleSchema]
    """Of all collectors that run."""
    collectors: Callable[[], list[CollectorStatus]]
    feeds: Callable[[], list[FeedStatus]]
    components: Callable[[], list[ComponentStatus]]
    ready: Callable[[], bool]
    """True once everything is started and the database answers."""
    ledger: Callable[[], list[StreamLedger]] = list
    """The loss ledger, all streams at one moment."""
    registry: CollectorRegistry
    version: str
