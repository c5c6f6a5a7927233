"""An API process: the program that :mod:`decahertz.app.api_processes` starts, with a socket to the recorder.

Serves clients from the database and from the live state that the recorder sends, and forwards all other
requests to the recorder. Ends when the recorder does.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from api.app import Api, Place
from api.http.body_memory import BodyMemory
from api.parts import ApiParts
from api.processes.forward import Forwarder
from api.processes.messages import READ_AHEAD_BYTES, Attach, framed, read_frame
from api.processes.replica import Replica
from api.security.audit import Auditor
from api.security.keyring import KeyRing
from api.security.sessions import Sessions
from api.security.tls import ServerTls
from decahertz import __version__
from decahertz.app.database import READ_URL
from decahertz.app.garbage_collection import collecting
from decahertz.app.logs import configure_logs
from decahertz.app.read_replica import keep_opening, opens
from decahertz.bus import LocalBus
from decahertz.clock import SystemClock
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.shared_cache import SharedCache
from decahertz.supervision import Supervision, supervise
from decahertz.trading_days import TradingDays
from storage.database import Database, DatabaseError
from storage.query.event_log import EventLog
from storage.query.queries import Queries
from storage.write.alerts import AlertStore
from storage.write.api_keys import ApiKeyStore

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from decahertz.sample import SampleSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStart:
    """The first message of the recorder."""

    number: int
    """From 1; it counts the API processes."""
    settings: Settings
    database_url: str
    read_url: str
    """The same, or that of a replica."""
    schemas: tuple[SampleSchema, ...]
    epoch: int
    floor: int
    """Number of the newest event before those of the snapshot."""
    path: str
    """Unix socket of the recorder's API."""
    sockets: tuple[int, ...]
    """Descriptors of the listening sockets."""


def main() -> None:
    """Runs the process; the last argument is the descriptor of the socket to the recorder."""
    connection = socket.socket(fileno=int(sys.argv[-1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(connection))


async def _run(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=READ_AHEAD_BYTES)
    writer.write(framed(Attach()))
    try:
        path, data = pickle.loads(await read_frame(reader))  # noqa: S301 - from our parent
    except (EOFError, OSError):
        return  # it has ended
    sys.path[:] = path
    start: ProcessStart = pickle.loads(data)  # noqa: S301 - as above
    configure_logs(start.settings.log)
    try:
        async with collecting(SystemClock()):
            await _serve(start, reader, writer)
    except DatabaseError as error:
        structlog.get_logger(part="api").error("api_process_start_failed", reason=str(error))
        sys.exit(1)


async def _serve(start: ProcessStart, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    settings, clock, registry, bus = start.settings, SystemClock(), CollectorRegistry(), LocalBus()
    latest, alerts = LatestSamples(bus), LatestAlerts(bus)
    replica = Replica(reader, writer, bus, start.schemas, start.epoch)
    supervision = Supervision(clock)
    async with AsyncExitStack() as stack:
        stack.enter_context(supervision.watching())
        database = Database(start.database_url, settings.storage)
        reads = database
        if start.read_url != start.database_url:
            reads = Database(start.read_url, settings.storage, key=READ_URL)
        for one in dict.fromkeys((database, reads)):
            stack.push_async_callback(one.close)
            if not await opens(one, start.schemas):
                opening = supervise(partial(keep_opening, one, start.schemas), "database-opening")
                stack.callback(opening.cancel)
        keys = KeyRing(ApiKeyStore(database), clock)
        stack.push_async_callback(keys.stop)
        await keys.start()
        bodies = BodyMemory(settings.api.max_inflight_bytes, registry)
        forward = Forwarder(start.path, settings.api.max_body_bytes, bodies)
        stack.push_async_callback(forward.stop)
        await forward.start()
        auditor = Auditor(database, bus, clock, registry, recorder=settings.recorder)
        stack.push_async_callback(auditor.stop)
        await auditor.start()
        redis_url, certificate = settings.api.redis_url, settings.api.certificate()
        tls = None
        if certificate is not None:
            tls = ServerTls(certificate, clock, CollectorRegistry())  # the recorder exports its expiry
            stack.push_async_callback(tls.stop)
            await tls.start()
        sessions = Sessions(keys, clock, hours=settings.api.session_hours, secure=tls is not None)
        replica.on_session = sessions.put
        api = Api(
            ApiParts(
                recorder=settings.recorder,
                clock=clock,
                bus=bus,
                keys=keys,
                auditor=auditor,
                sessions=sessions,
                ingest=None,
                queries=Queries(
                    reads,
                    clock,
                    settings.retention,
                    settings.recorder,
                    max_exports=settings.storage.max_exports,
                ),
                latest=latest,
                alerts=alerts,
                alert_store=AlertStore(database, settings.recorder),
                schemas=start.schemas,
                collectors=list,
                feeds=list,
                components=list,
                ready=lambda: True,
                registry=registry,
                version=__version__,
                days=TradingDays(settings.accounting),
                accounting=settings.accounting,
                event_log=EventLog(database, settings.recorder, replica),
            ),
            settings.api,
            shared=SharedCache(redis_url, reads.url, clock, registry) if redis_url else None,
            place=Place(
                sockets=tuple(socket.socket(fileno=number) for number in start.sockets),
                forward=forward.__call__,
                bodies=bodies,
                sequence=start.floor,
                client_prefix=f"p{start.number}-c",
            ),
            tls=tls,
        )
        replica.on_changed = api.cache.changed
        stack.push_async_callback(api.stop)
        api.hub.start()
        following = asyncio.create_task(replica.run())
        stack.callback(following.cancel)
        await _first(replica.complete.wait(), following)
        if not following.done():
            await api.start()
        reporting = supervise(
            partial(replica.report, api.hub.statistics, registry, lambda: supervision.status().detail),
            "reports",
        )
        stack.callback(reporting.cancel)
        await _first(_stop_requested().wait(), following)
        if following.done():
            following.result()


async def _first(wanted: object, following: asyncio.Task[None]) -> None:
    """Waits until something happens, or the recorder ends."""
    waiting = asyncio.ensure_future(wanted)  # type: ignore[call-overload]
    await asyncio.wait((waiting, following), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _stop_requested() -> asyncio.Event:
    requested = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, requested.set)
    return requested
