"""The feed of an API process: messages of the recorder, and reports of the process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.http.access import Caller, Scope
from api.live.statistics import no_statistics
from api.processes import link as link_module
from api.processes.feed import LiveFeed
from api.processes.figures import ProcessFigures
from api.processes.link import ProcessLink
from api.processes.messages import READ_AHEAD_BYTES, Attach, Report, framed, read_frame
from api.processes.replica import Replica, families_of
from api.security.keyring import KeyRing
from api.security.sessions import Session, Sessions
from decahertz.alert import TOPIC as ALERTS
from decahertz.bus import RECORDED, LocalBus, Message, samples_topic
from decahertz.clock import SystemClock
from decahertz.event import Arrival, EventBatch
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.sample import SampleBatch
from decahertz.trading_state import TOPIC as TRADING
from decahertz.trading_state import Objection, TradingState
from storage.database import Database
from storage.settings import StorageSettings
from storage.spool.errors import SpoolError
from storage.write.api_keys import ApiKeyStore
from tests.alert_examples import alert
from tests.api.helpers import NOWHERE, PROBE, START_NS, ProbeSample, quote, wait_for

_RING_EVENTS = 3


class Spool:
    """Has one arrival, until it breaks."""

    epoch = 10
    is_broken = False

    async def read_arrivals(self, after_id: int) -> tuple[list[Arrival], int | None]:
        if self.is_broken:
            raise SpoolError("the disk is gone")
        return [arrival(after_id + 1)], after_id + 1


class Recorder:
    """The recorder's side."""

    def __init__(self) -> None:
        self.bus = LocalBus()
        self.spool = Spool()
        clock = SystemClock()
        keys = KeyRing(ApiKeyStore(Database(NOWHERE, StorageSettings())), clock)
        self.sessions = Sessions(keys, clock, hours=1, secure=False)
        self.feed = LiveFeed(
            self.bus,
            LatestSamples(self.bus),
            LatestAlerts(self.bus),
            self.sessions,
            epoch=10,
            ring_events=_RING_EVENTS,
        )
        self.feed.start()

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[tuple[ProcessLink, socket.socket]]:
        ours, theirs = socket.socketpair()
        link = ProcessLink(self.feed, self.spool, lambda: b"start")
        task = asyncio.create_task(link.run(ours))
        try:
            yield link, theirs
        finally:
            theirs.close()
            await asyncio.wait_for(task, 20)

    @asynccontextmanager
    async def followed(
        self, on_session: Callable[[bytes, Session | None], None] = lambda _digest, _session: None
    ) -> AsyncIterator[tuple[Replica, list[Message]]]:
        """A replica that has its snapshot, and the messages of its bus."""
        async with self.linked() as (_, connection):
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=READ_AHEAD_BYTES)
            writer.write(framed(Attach()))
            assert await read_frame(reader) == b"start"
            bus, heard = LocalBus(), list[Message]()
            for topic in ("samples:*", RECORDED, ALERTS, TRADING):
                bus.subscribe(topic, heard.append)
            replica = Replica(reader, writer, bus, [PROBE], 10)
            replica.on_session = on_session
            task = asyncio.create_task(replica.run())
            try:
                await asyncio.wait_for(replica.complete.wait(), 20)
                yield replica, heard
            finally:
                writer.close()
                await asyncio.wait_for(task, 20)


def arrival(number: int) -> Arrival:
    batch = EventBatch(source="bot", epoch=1, first_sequence=number, events=(quote(str(number)),))
    return Arrival(batch=batch, received_ns=START_NS, number=number)


def samples(mid: float) -> SampleBatch:
    return SampleBatch(PROBE, START_NS, (ProbeSample(venue="v", instrument="A/B", mid=mid, ticks=3),))


async def test_a_process_gets_the_present_state_and_then_every_message() -> None:
    recorder = Recorder()
    bus, firing = recorder.bus, alert()
    for mid in (1.0, 2.0):
        bus.publish(samples_topic("probe"), samples(mid))
    for number in range(11, 16):
        bus.publish(RECORDED, arrival(number))
    bus.publish(ALERTS, firing)
    free = TradingState(time_ns=1, can_trade=True, objections=[])
    bus.publish(TRADING, free)
    async with recorder.followed() as (replica, heard):
        assert heard == [arrival(13), arrival(14), arrival(15), samples(2.0), firing, free]
        assert (recorder.feed.floor, recorder.feed.sequence, recorder.feed.events) == (12, 15, _RING_EVENTS)
        heard.clear()
        halted = replace(free, can_trade=False, objections=[Objection(reason="news", strategy="momentum")])
        news: list[Message] = [samples(3.0), arrival(16), replace(firing, summary="worse"), halted]
        for topic, message in zip((samples_topic("probe"), RECORDED, ALERTS, TRADING), news, strict=True):
            bus.publish(topic, message)
        changed: list[str] = []
        replica.on_changed = changed.extend
        await wait_for(lambda: len(heard) == len(news), "the news")
        recorder.feed.changed(["fills"])
        await wait_for(lambda: changed == ["fills"], "the change of a table")
        assert heard == news


async def test_a_process_knows_the_browsers_that_have_signed_in() -> None:
    recorder = Recorder()
    ada = Caller(name="ada", key_id="k1", scopes=frozenset({Scope.READ}))
    first, _ = recorder.sessions.begin(ada, {})
    known: dict[bytes, Session] = {}

    def changed(digest: bytes, session: Session | None) -> None:
        if session is None:
            del known[digest]
        else:
            known[digest] = session

    async with recorder.followed(changed):
        assert list(known.values()) == [first]
        second, cookie = recorder.sessions.begin(ada, {})  # ends the first one: there is no such key
        await wait_for(lambda: list(known.values()) == [second], "the new session")
        recorder.sessions.end({"Cookie": cookie.partition(";")[0]})
        await wait_for(lambda: not known, "its end")


async def test_a_process_reads_the_spool_of_the_recorder() -> None:
    recorder = Recorder()
    async with recorder.followed() as (replica, _):
        assert await replica.read_arrivals(41) == ([arrival(42)], 42)
        recorder.spool.is_broken = True
        with pytest.raises(SpoolError, match="the disk is gone"):
            await replica.read_arrivals(41)


async def test_a_process_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_MAX_STATE_BYTES", 50_000)
    monkeypatch.setattr(link_module, "_MAX_UNREAD_BYTES", 100_000)
    recorder = Recorder()
    async with recorder.linked() as (_, connection), recorder.followed() as (_, heard):
        connection.setblocking(False)
        connection.send(framed(Attach()))
        for number in range(5_000):  # states are left out
            recorder.bus.publish(samples_topic("probe"), samples(float(number)))
            await asyncio.sleep(0)
        assert _open(connection)
        sent = 0
        while _open(connection) and sent < 10_000:
            sent += 1
            recorder.bus.publish(RECORDED, arrival(10 + sent))
            await asyncio.sleep(0)
        assert sent < 10_000
        await wait_for(lambda: heard[-1] == arrival(10 + sent), "the other process has all events")


def _open(connection: socket.socket) -> list[socket.socket]:
    """The connection, unless the other side has closed it."""
    peer_is_gone = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    try:
        connection.send(b"")
    except OSError:
        peer_is_gone = True
    return [] if peer_is_gone else [connection]


async def test_counters_of_a_process_that_has_ended_stay_and_its_gauges_do_not() -> None:
    def report(requests: int, clients: int, lag: float) -> Report:
        registry = CollectorRegistry()
        Counter("requests", "Requests.", ("route",), registry=registry).labels("/a").inc(requests)
        Gauge("clients", "Clients.", registry=registry).set(clients)
        Gauge("lag_seconds", "Lag.", registry=registry).set(lag)
        return Report(no_statistics().clients, families_of(registry))

    reports = [report(3, 2, 0.5), report(4, 1, 2.0)]
    figures = ProcessFigures(Recorder().feed, lambda: reports, max_clients=8)

    def values() -> dict[str, float]:
        return {sample.name: sample.value for family in figures.collect() for sample in family.samples}

    assert values() == {"requests_total": 7, "clients": 3, "lag_seconds": 2.0}
    figures.retire(reports.pop())
    assert values() == {"requests_total": 7, "clients": 2, "lag_seconds": 0.5}
    reports.append(report(1, 0, 0.0))
    assert values() == {"requests_total": 8, "clients": 2, "lag_seconds": 0.5}
    assert figures.live().max_clients == 8
