"""A running API with real parts around it, and readers of its WebSocket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import websockets
from prometheus_client import CollectorRegistry

from api.alertmanager.silences import Silences
from api.app import Api
from api.http.access import Scope
from api.live.client import Client
from api.live.limits import HubLimits
from api.live.replay import EventSource
from api.parts import ApiParts
from api.security.audit import Auditor
from api.security.keyring import KeyRing
from api.security.keys import new_key
from api.security.sessions import Sessions
from api.security.tls import ServerTls
from api.settings import ApiSettings
from collectors.host.dispatch import Dispatcher
from collectors.host.hosted import HostedCollector
from collectors.host.plugins import LoadedCollector, LoadedGenerator, load_generators
from collectors.market.collector import MarketCollector
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from collectors.strategy.sample import StrategySample
from control.checks import PreTradeChecks
from control.halts import Halts
from control.queue import RequestQueue
from control.schedules import Schedules
from control.settings import ControlSettings
from control.signals.schedule import SignalSchedules
from control.signals.service import Generators, SignalService
from control.signals.settings import SignalsSettings
from control.templates import Templates
from decahertz.bus import EVENTS, RECORDED, LocalBus, samples_topic
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, Clock, SystemClock
from decahertz.currencies import CurrencyCodes
from decahertz.definitions import Definitions
from decahertz.event import AnyEvent, Arrival, EventBatch, Quote
from decahertz.health import CollectorStatus, ComponentStatus, FeedStatus, Health, RunState
from decahertz.ingest import EmitterId, EventSink, Ingest, Receipt, part_of
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.metric import Kind, Metric, Unit
from decahertz.provider import Provider
from decahertz.risk.monitor import RiskMonitor
from decahertz.risk_limits import RiskSettings
from decahertz.sample import Sample, SampleBatch, schema_of
from decahertz.sequences import SequenceSet
from decahertz.trading_days import TradingDays
from providers.gateway import Gateway
from providers.recorder import RecorderOptions, RecorderProvider
from providers.settings import ProvidersSettings
from storage.database import Database, DatabaseUnavailableError
from storage.query.event_log import EventLog, Numbered
from storage.query.queries import Queries
from storage.settings import SpoolSettings, StorageSettings
from storage.spool import Spool
from storage.write.alerts import AlertStore
from storage.write.api_keys import ApiKeyStore
from storage.write.halts import HaltStore
from storage.write.lease import RecorderLease
from storage.write.order_requests import RequestStore
from storage.write.order_templates import TemplateStore
from storage.write.writer import Writer
from tests.client_server import Sink
from tests.postgres_server import PostgresServer, create_tables
from tests.storage_examples import HOLDER
from tests.storage_examples import RECORDER as STORED_BY
from tests.tables import ensure_tables

LIMIT_SECONDS = 15.0
"""Limit of every wait."""
RECORDER = "desk-1"
START_NS = 1_767_225_600_000_000_000
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
"""A database that does not answer."""


class ProbeSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "probe"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    mid: Annotated[
        float | None, Metric("Middle of bid and ask.", unit=Unit.PRICE, formula="(bid + ask) / 2")
    ] = None
    ticks: Annotated[int, Metric("Ticks seen.", kind=Kind.COUNTER)] = 0


class DeskSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "desk"
    key: ClassVar[tuple[str, ...]] = ("strategy",)
    strategy: str
    pnl: Annotated[float, Metric("Profit and loss.", unit=Unit.MONEY)] = 0.0


PROBE = schema_of(ProbeSample)
DESK = schema_of(DeskSample)


class LiveSink(Sink):
    """Numbers events and publishes them when they are stored, as the spool does."""

    epoch = 0

    def __init__(self) -> None:
        super().__init__()
        self.bus: LocalBus | None = None
        self._number = self.epoch
        self._durable: dict[EmitterId, SequenceSet] = {}

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        batch = arrival.batch
        durable = self._durable.setdefault((batch.source, batch.epoch), SequenceSet())
        receipt = await super().append(arrival, timeout_seconds)
        for low, high in durable.missing(batch.first_sequence, batch.last_sequence):
            part = msgspec.structs.replace(
                arrival, batch=part_of(batch, low, high), number=self._number + 1, encoded=b""
            )
            self._number += high - low + 1
            assert self.bus is not None
            self.bus.publish(RECORDED, part)
        if batch.events:
            durable.add(batch.first_sequence, batch.last_sequence)
        return receipt

    async def pages(self, *_: object) -> AsyncGenerator[tuple[list[Numbered], int]]:
        """No database: nothing but the ring."""
        raise DatabaseUnavailableError("no database in this test")
        yield [], 0


@dataclass
class StoringSink:
    """The spool; but it answers when the database has the events too, so that it can be asked at once."""

    spool: Spool
    writer: Writer

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        receipt = await self.spool.append(arrival, timeout_seconds)
        await wait_for(lambda: self.rows_waiting == 0, "all is stored")
        return receipt

    async def enqueue(self, arrival: Arrival) -> None:
        await self.spool.enqueue(arrival)
        await self.spool.flush()

    async def stop(self) -> None:
        await self.spool.stop()

    @property
    def rows_waiting(self) -> int:
        return sum(ledger.spooled for ledger in self.spool.ledger())


async def create_api_tables(database: Database) -> None:
    """Applies the migrations and creates the tables of all events and of the two samples."""
    await create_tables(database)
    await ensure_tables(database, (PROBE, DESK))


@contextlib.asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    database = Database(url, StorageSettings(flush_seconds=0.01, read_timeout_seconds=30.0))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@functools.cache
def _generators(enabled: tuple[str, ...]) -> tuple[LoadedGenerator, ...]:
    """The signal generators; to find them, the files of every installed distribution are read."""
    return load_generators(enabled).plugins


@dataclass
class Stack:
    """The parts of a process, and the API in front of them."""

    clock: Clock = field(default_factory=SystemClock)
    sink: EventSink = field(default_factory=LiveSink)
    database: Database = field(default_factory=lambda: Database(NOWHERE, StorageSettings()))
    settings: ApiSettings = field(default_factory=lambda: ApiSettings(port=0))
    limits: HubLimits = field(default_factory=HubLimits)
    known: dict[EmitterId, SequenceSet] = field(default_factory=dict)
    components: list[ComponentStatus] = field(default_factory=list)
    is_ready: bool = True
    bus: LocalBus = field(default_factory=LocalBus)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    silences: Silences | None = None
    has_strategies: bool = True
    """Whether the strategy collector is enabled."""
    risk_settings: RiskSettings = field(default_factory=RiskSettings)
    checks: PreTradeChecks | None = None
    control_settings: ControlSettings = field(default_factory=ControlSettings)
    signals_settings: SignalsSettings = field(default_factory=lambda: SignalsSettings(settle_seconds=0.001))
    behind_seconds: float = 0.0
    """Age of the oldest event that the database lacks, as the signals are told."""
    market: MarketCollector | None = None
    """The market collector, if it is enabled; nothing feeds it."""
    failed_collectors: list[CollectorStatus] = field(default_factory=list)
    providers: Sequence[Provider] = ()
    """Providers in addition to the recorder's own."""
    providers_settings: ProvidersSettings = field(default_factory=ProvidersSettings)

    def __post_init__(self) -> None:
        self.latest = LatestSamples(self.bus)
        self.alerts = LatestAlerts(self.bus)
        if isinstance(self.sink, LiveSink):
            self.sink.bus = self.bus
        self.ingest = Ingest(
            self.bus,
            self.sink,
            self.clock,
            max_future_ns=60_000_000_000,
            timeout_seconds=5.0,
            known=self.known,
        )
        self.strategy = StrategyCollector(self.clock, StrategyOptions()) if self.has_strategies else None
        if self.strategy is not None:
            loaded = LoadedCollector("strategy", "decahertz", self.strategy, schema_of(StrategySample))
            hosted = HostedCollector(loaded, self.clock.monotonic_ns, budget_ns=NS_PER_SECOND)
            self.bus.subscribe(EVENTS, Dispatcher((hosted,), self.clock.monotonic_ns).take)
        self.risk = RiskMonitor(
            self.bus,
            self.clock,
            self.ingest,
            self.risk_settings,
            self.latest,
            strategies=lambda: self.strategy,
            risks=lambda: None,
            behind=lambda: (),
            components=lambda: [*self.components, self.api.status()],
        )
        self.keys = KeyRing(ApiKeyStore(self.database), self.clock)
        self.auditor = Auditor(self.database, self.bus, self.clock, self.registry, recorder=RECORDER)
        certificate = self.settings.certificate()
        self.sessions = Sessions(
            self.keys, self.clock, hours=self.settings.session_hours, secure=certificate is not None
        )
        self.tls = (
            None
            if certificate is None
            else ServerTls(certificate, self.clock, self.registry, look_seconds=0.05)
        )
        self.halts = Halts(
            HaltStore(self.database, STORED_BY),
            self.bus,
            self.clock,
            self.control_settings,
            recorder=STORED_BY,
        )
        self.risk.halted = lambda: self.halts.objections() if self.halts.is_read else []
        self.risk.on_hard = self.halts.exceeded
        self.queue = RequestQueue(
            RequestStore(self.database, STORED_BY),
            self.bus,
            self.clock,
            self.control_settings,
            recorder=STORED_BY,
            checks=self.checks,
            halts=self.halts,
        )
        definitions = Definitions(CurrencyCodes())
        own = RecorderProvider(self.clock, RecorderOptions(), latest=self.latest, definitions=definitions)
        self.gateway = Gateway(
            [own, *self.providers], [], self.providers_settings, self.clock, self.registry, self.database
        )
        self.templates = Templates(
            TemplateStore(self.database, STORED_BY),
            self.queue,
            Schedules(self.clock, "America/New_York"),
            self.clock,
            self.control_settings,
            recorder=STORED_BY,
        )
        self.signals = SignalService(
            Queries(self.database),
            self.ingest,
            self.clock,
            Generators(_generators(tuple(self.signals_settings.enabled)), TradingDays()),
            self.registry,
            settle_seconds=self.signals_settings.settle_seconds,
            behind_seconds=lambda: self.behind_seconds,
        )
        self.schedules = SignalSchedules(self.signals, self.clock, self.signals_settings)
        self.api = Api(self._parts(), self.settings, self.limits, tls=self.tls)
        self._sequence = 0

    def _parts(self) -> ApiParts:
        return ApiParts(
            recorder=RECORDER,
            clock=self.clock,
            bus=self.bus,
            keys=self.keys,
            auditor=self.auditor,
            sessions=self.sessions,
            ingest=self.ingest,
            queries=Queries(self.database),
            latest=self.latest,
            alerts=self.alerts,
            alert_store=AlertStore(self.database, RECORDER),
            silences=self.silences,
            schemas=(PROBE, DESK),
            collectors=lambda: [
                *self.failed_collectors,
                *(
                    CollectorStatus(name=name, state=RunState.RUNNING)
                    for name in ("probe", "strategy", "execution", *(["market"] if self.market else []))
                ),
            ],
            feeds=lambda: [FeedStatus(name="synthetic", state=RunState.FINISHED, counters={"messages": 3})],
            components=lambda: [*self.components, self.api.status()],
            ready=lambda: self.is_ready,
            strategy=lambda: self.strategy,
            risk=self.risk,
            queue=self.queue,
            halts=self.halts,
            gateway=self.gateway,
            templates=self.templates,
            signals=(self.signals, self.schedules),
            market=lambda: self.market,
            ledger=self.sink.spool.ledger if isinstance(self.sink, StoringSink) else list,
            registry=self.registry,
            version="0.0.test",
            event_log=self._event_log(),
        )

    def _event_log(self) -> EventSource:
        if isinstance(self.sink, StoringSink):
            return EventLog(self.database, STORED_BY, self.sink.spool)
        assert isinstance(self.sink, LiveSink)
        return self.sink

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Stack]:
        if self.tls is not None:
            await self.tls.start()
        await self.api.start()
        await self.auditor.start()
        self.queue.on_changed = self.api.cache.changed
        await self.halts.start()
        await self.queue.start()
        await self.gateway.start()
        await self.templates.start()
        try:
            yield self
        finally:
            await self.templates.stop()
            await self.gateway.stop()
            await self.queue.stop()
            await self.halts.stop()
            await self.api.stop()
            await self.auditor.stop()
            if self.tls is not None:
                await self.tls.stop()
            await self.keys.stop()

    async def key(self, *scopes: Scope, expires_ns: int | None = None) -> str:
        """Stores a key with these scopes; returns it."""
        made = new_key("test", scopes, now_ns=self.clock.time_ns(), expires_ns=expires_ns)
        await ApiKeyStore(self.database).add(made[1])
        return made[0].reveal()

    def clients(self) -> list[Client]:
        """The connected WebSocket clients."""
        return list(self.api.hub._clients.values())

    def fail(self, name: str, health: Health) -> None:
        self.components.append(ComponentStatus(name=name, health=health, detail="for a test"))

    def publish_cycle(self, number: int, instruments: Iterable[str] = ("A",), venue: str = "SIM") -> int:
        """Publishes a sample per instrument, for the cycle ``number``; returns its time."""
        time_ns = START_NS + number * CYCLE_NS
        samples = tuple(ProbeSample(venue=venue, instrument=i, mid=1.5, ticks=number) for i in instruments)
        self.bus.publish(samples_topic("probe"), SampleBatch(PROBE, time_ns, samples))
        return time_ns

    async def emit(self, *events: AnyEvent) -> None:
        """Lets events arrive, as from a feed."""
        batch = EventBatch(source="test", epoch=1, first_sequence=self._sequence + 1, events=events)
        self._sequence += len(events)
        await self.ingest.take(batch, self.clock.time_ns())

    async def all_stored(self, samples: int = 0) -> None:
        """Waits until the database has all events and this number of samples."""
        sink = self.sink
        assert isinstance(sink, StoringSink)
        await wait_for(
            lambda: sink.writer.samples_stored == samples and sink.rows_waiting == 0, "all is stored"
        )

    @property
    def live_url(self) -> str:
        return self.api.url.replace("http", "ws", 1) + "/ws"

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def storing(
    server: PostgresServer,
    folder: Path,
    *,
    settings: ApiSettings,
    silences: Silences | None = None,
    limits: HubLimits | None = None,
) -> AsyncIterator[Stack]:
    """Real parts with a database of their own, and the writer that fills it."""
    bus, registry = LocalBus(), CollectorRegistry()
    clock, schemas = SystemClock(), (PROBE, DESK)
    async with server.database(create_api_tables) as url, open_database(url) as database:
        spool = Spool(folder / "spool", bus, clock, registry, SpoolSettings(commit_seconds=0.01), schemas)
        await spool.start()
        lease = RecorderLease(database, STORED_BY, HOLDER)
        await lease.take()
        writer = Writer(database, spool, lease, clock, registry, schemas)
        await writer.start()
        sink = StoringSink(spool, writer)
        try:
            stack = Stack(
                bus=bus,
                registry=registry,
                sink=sink,
                database=database,
                silences=silences,
                limits=limits or HubLimits(),
                settings=settings,
            )
            writer.on_stored = stack.api.cache.changed
            async with stack.running() as running:
                yield running
        finally:
            await writer.stop()
            await spool.stop()
            await lease.stop()


def quote(instrument: str = "A", bid: float = 1.0) -> Quote:
    return Quote(time_ns=START_NS, venue="SIM", instrument=instrument, bid=bid, ask=bid + 1)


class Reader:
    """A WebSocket client of another library."""

    def __init__(self, socket_: websockets.ClientConnection) -> None:
        self.socket = socket_
        self.is_binary = socket_.subprotocol == "decahertz.v1.msgpack"

    async def say(self, **message: object) -> None:
        await self.socket.send(msgspec.msgpack.encode(message) if self.is_binary else json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_SECONDS):
            data = await self.socket.recv()
        assert isinstance(data, bytes) is self.is_binary
        message = msgspec.msgpack.decode(data) if isinstance(data, bytes) else json.loads(data)
        assert isinstance(message, dict)
        return message

    async def subscribe(self, *topics: str) -> list[dict[str, Any]]:
        """Subscribes; the items of the whole snapshot."""
        await self.say(type="subscribe", topics=topics)
        items: list[dict[str, Any]] = []
        while True:
            message = await self.hear()
            assert (message["type"], message["recorder"]) == ("snapshot", RECORDER), message
            items += message["items"]
            if message["complete"]:
                return items

    async def until_pong(self) -> list[dict[str, Any]]:
        """Everything that was sent before the answer to a ping."""
        await self.say(type="ping", id="fence")
        heard: list[dict[str, Any]] = []
        while True:
            message = await self.hear()
            if message["type"] == "pong" and message.get("id") == "fence":
                return heard
            heard.append(message)

    async def close_code(self) -> int | None:
        """Reads on until the server closes; the code."""
        with contextlib.suppress(websockets.ConnectionClosed):
            async with asyncio.timeout(LIMIT_SECONDS):
                while True:
                    await self.socket.recv()
        return self.socket.close_code


@contextlib.asynccontextmanager
async def reader(
    stack: Stack,
    protocol: str | None = None,
    *,
    waits: bool = True,
    **options: Any,  # noqa: ANN401 - the options of websockets.connect
) -> AsyncIterator[Reader]:
    """A connected reader that has heard ``connected``, if it ``waits`` for that."""
    protocols = None if protocol is None else [websockets.Subprotocol(protocol)]
    async with websockets.connect(
        stack.live_url, subprotocols=protocols, proxy=None, compression=None, **options
    ) as socket_:
        connected = Reader(socket_)
        if waits:
            hello = await connected.hear()
            assert (hello["type"], hello["recorder"]) == ("connected", RECORDER)
        yield connected


class SlowReader:
    """A reader on a bare socket, which reads only when it is told to."""

    def __init__(self, reader_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader_
        self._writer = writer

    def say(self, **message: object) -> None:
        """Sends a masked text frame (the mask is zero, which is allowed)."""
        payload = json.dumps(message).encode()
        self._writer.write(struct.pack(">BB4x", 0x81, 0x80 | len(payload)) + payload)

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)

    async def hear(self) -> tuple[int, bytes]:
        """The opcode and the payload of the next frame."""
        async with asyncio.timeout(LIMIT_SECONDS):
            first, second = await self._reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", await self._reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
            return first & 0x0F, await self._reader.readexactly(length)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Text messages until the server closes; then :attr:`close_code` is set."""
        while True:
            opcode, payload = await self.hear()
            if opcode == 8:
                self.close_code = int.from_bytes(payload[:2], "big")
                self._writer.write(b"\x88\x80\0\0\0\0")
                return
            if opcode == 1:
                yield json.loads(payload)


@contextlib.asynccontextmanager
async def slow_reader(stack: Stack, topics: Sequence[str]) -> AsyncIterator[SlowReader]:
    """A slow reader that has subscribed and heard the snapshot, and reads nothing from then on."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", stack.api.port))
    incoming, outgoing = await asyncio.open_connection(sock=raw, limit=4096)
    key = base64.b64encode(os.urandom(16)).decode()
    outgoing.write(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{stack.api.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await incoming.readuntil(b"\r\n\r\n")
    assert b" 101 " in head
    slow = SlowReader(incoming, outgoing)
    await slow.hear()
    slow.say(type="subscribe", topics=list(topics))
    await slow.hear()
    try:
        yield slow
    finally:
        outgoing.transport.abort()


async def wait_for(condition: Callable[[], object], what: str) -> None:
    """Lets the event loop run until the condition holds; fails naming ``what`` after the limit."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions of all kinds
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"did not happen: {what}") from None
