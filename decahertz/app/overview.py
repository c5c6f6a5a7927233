"""Status and figures of the running parts: for the status line, the API and the self metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.health import ComponentStatus, FeedStatus, Health, ProcessFigures, RunState

if TYPE_CHECKING:
    from collectors.feeds.host import FeedHost
    from collectors.host.plugins import Loaded, LoadedFeed
    from collectors.host.sampler import Sampler
    from decahertz.app.api_processes import ApiProcesses
    from decahertz.app.running_parts import RunningParts
    from decahertz.feed import Progress
    from decahertz.ingest import Ingest
    from decahertz.supervision import Supervision
    from storage.spool import Spool
    from storage.write.writer import Writer


class StatusFigures(Struct, frozen=True, kw_only=True):
    """The figures of the status line."""

    cycles: int
    missed_cycles: int
    lateness_p99_seconds: float
    samples_stored: int
    events: int
    dropped: int
    unhealthy: list[ComponentStatus]
    """Parts that are degraded or failed."""


class Overview:
    """Reads the parts of the process. Every method is cheap."""

    def __init__(  # noqa: PLR0913 - one for each part that it reads
        self,
        running: RunningParts,
        supervision: Supervision,
        feeds: Loaded[LoadedFeed],
        *,
        sampler: Sampler,
        writer: Writer,
        spool: Spool,
        ingest: Ingest,
        feed_host: FeedHost,
        api_processes: ApiProcesses | None,
    ) -> None:
        self._running = running
        self._supervision = supervision
        self._loaded_feeds = feeds.plugins
        self._failed_feeds = feeds.failures
        self._sampler = sampler
        self._writer = writer
        self._spool = spool
        self._ingest = ingest
        self._feed_host = feed_host
        self._api_processes = api_processes

    def is_ready(self) -> bool:
        """Whether all parts have started, none has failed, and the database is reachable."""
        healthy = all(part.health is not Health.FAILED for part in self.components())
        return self._running.started and healthy and not self._writer.is_database_lost

    def components(self) -> list[ComponentStatus]:
        """Status of each part; a feed that could not be loaded counts as a degraded part."""
        failed = [
            ComponentStatus(name=f"feed {failure.name}", health=Health.DEGRADED, detail=failure.reason)
            for failure in self._failed_feeds
        ]
        apart = [] if self._api_processes is None else self._api_processes.components()
        tasks = self._supervision.status()
        return [*(part.status() for part in self._running.components), tasks, *apart, *failed]

    def feeds(self) -> list[FeedStatus]:
        """Status of every enabled feed; those that could not be loaded come last."""
        failed = [
            FeedStatus(name=failure.name, state=RunState.FAILED, last_error=failure.reason)
            for failure in self._failed_feeds
        ]
        return [*self._feed_host.feeds(), *failed]

    def feed_progress(self) -> dict[str, Progress]:
        """Progress of the feeds that end."""
        found = {loaded.name: loaded.feed.progress for loaded in self._loaded_feeds}
        return {name: progress for name, progress in found.items() if progress is not None}

    def figures(self) -> StatusFigures:
        """Figures of the status line."""
        return StatusFigures(
            cycles=self._sampler.cycles,
            missed_cycles=self._sampler.missed_cycles,
            lateness_p99_seconds=self._sampler.lateness_seconds(0.99) or 0.0,
            samples_stored=self._writer.samples_stored,
            events=self._ingest.events,
            dropped=self._spool.dropped,
            unhealthy=[part for part in self.components() if part.health is not Health.OK],
        )

    def process_figures(self) -> ProcessFigures:
        """Figures of the process for the API."""
        return ProcessFigures(
            cycles=self._sampler.cycles,
            missed_cycles=self._sampler.missed_cycles,
            lateness_p50_seconds=self._sampler.lateness_seconds(0.5),
            lateness_p99_seconds=self._sampler.lateness_seconds(0.99),
            events=self._ingest.events,
            samples_stored=self._writer.samples_stored,
            dropped=self._spool.dropped,
        )
