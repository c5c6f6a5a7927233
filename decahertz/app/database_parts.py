"""The parts of the recorder that need the database, and the order in which they come up with it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from decahertz.app.database import database_url, embedded_supervisor, reads_of
from decahertz.app.database_opening import DatabaseOpening, Step
from decahertz.app.past import Past, read_past
from decahertz.app.read_replica import ReadReplica
from storage.database import Database
from storage.maintenance.disk_watch import DiskWatch
from storage.schema.migrate import migrate
from storage.tiers.worker import RollUpWorker
from storage.write.alerts import AlertStore
from storage.write.halts import HaltStore
from storage.write.lease import HolderFile, LeaseLostError, RecorderLease
from storage.write.order_requests import RequestStore
from storage.write.order_templates import TemplateStore

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.app.running_parts import RunningParts
    from decahertz.app.settings import Settings
    from decahertz.clock import Clock
    from decahertz.sample import SampleSchema


class DatabaseParts:
    """The database with its server, the lease, the tiers and the stored past.

    They come up in this order: the embedded server, the migrations, the lease of the recorder's name, the
    tiers, the connections for queries, and what the rest of the process has to know of the past.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: CollectorRegistry,
        schemas: tuple[SampleSchema, ...],
        holder: HolderFile,
    ) -> None:
        """Raises :class:`~storage.database.DatabaseUnsuitableError` for a URL that is not PostgreSQL's."""
        recorder = settings.recorder
        database = self.database = Database(database_url(settings), settings.storage)
        self.alert_store = AlertStore(database, recorder)
        self.request_store = RequestStore(database, recorder)
        self.halt_store = HaltStore(database, recorder)
        self.template_store = TemplateStore(database, recorder)
        self.lease = RecorderLease(database, recorder, holder.holder, standby=settings.standby)
        self.past = Past()
        self._schemas = schemas
        self._clock = clock
        self._supervisor = embedded_supervisor(settings)
        self._roll_ups = RollUpWorker(
            database,
            clock,
            registry,
            settings.tiers,
            settings.retention,
            schemas,
            archived_only=settings.archive.required,
        )
        self.reads = reads_of(settings, database)
        """For queries of the API: a replica, or the database itself."""
        self._replica = None
        if self.reads is not database:
            self._replica = ReadReplica(self.reads, schemas, clock, registry)
        self.disk = DiskWatch(database, recorder, clock, registry)
        steps: list[Step] = [
            Step("connecting", database.check),
            Step("migrating the tables", partial(migrate, database)),
            Step("waiting for the lease of the recorder's name", self.lease.start),
            Step("preparing tables, tiers and partitions", self._roll_ups.start),
            Step("opening connections for queries", database.open),
            Step("starting to watch the disk", self._start_watching),
            Step("reading what earlier processes have left", self._read_past),
        ]
        if self._supervisor is not None:
            steps.insert(0, Step("starting PostgreSQL", self._supervisor.start))
        self.opening = DatabaseOpening(database, clock, steps, wait=settings.standby)

    def add_to(self, running: RunningParts) -> None:
        """Adds the parts: their health is shown, and they are stopped at the end."""
        if self._supervisor is not None:
            running.add(self._supervisor)
        running.stack.push_async_callback(self.database.close)
        running.add(self.lease)
        running.add(self._roll_ups)
        running.add(self.disk)
        if self._replica is not None:
            running.add(self._replica)
        running.add(self.opening)

    async def lost(self) -> None:
        """Raises the error of the lease once another process has taken the name over or proves to hold it."""
        waiting: list[asyncio.Task[LeaseLostError | None]] = [
            asyncio.create_task(self.lease.lost(), name="lease-lost"),
            asyncio.create_task(self.opening.refused(), name="lease-refused"),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                if task.done() and (error := task.result()) is not None:
                    raise error
        finally:
            for task in waiting:
                task.cancel()

    def expect_server_end(self) -> None:
        """Takes the end of the embedded server for a part of the stop."""
        if self._supervisor is not None:
            self._supervisor.expect_end()

    def kill_server(self) -> None:
        """Kills the embedded server. Its next start recovers."""
        if self._supervisor is not None:
            self._supervisor.kill()

    async def _start_watching(self) -> None:
        await self.disk.start()
        if self._replica is not None:
            await self._replica.start()

    async def _read_past(self) -> None:
        self.past = await read_past(
            self.database, self.alert_store, self._schemas, self.lease.recorder, self._clock
        )
