"""Alerts in the database: what a report changes, whatever order reports come in; the watchdog's queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from decahertz.alert import TOPIC, Acknowledgement, Alert, AlertOrigin, AlertState
from decahertz.bus import LocalBus
from decahertz.clock import Clock, SystemClock
from decahertz.fakes import ManualClock, MessageLog
from decahertz.health import Health
from storage.database import Database
from storage.query.alerts import AlertFilter, find_alert, newest_alerts
from storage.settings import StorageSettings
from storage.write.alert_queue import AlertmanagerError, AlertQueue
from storage.write.alerts import AlertStore, changes, resolved
from tests.alert_examples import alert, ns, watchdog_alert
from tests.proxy import PostgresProxy


def after(*reports: Alert) -> list[tuple[float, float | None]]:
    """Start and end of each occurrence, in seconds, after these reports in their order."""
    known: dict[str, Alert] = {}
    for report in reports:
        known |= {a.id: a for a in changes(known.values(), [report])}
    return [
        ((a.starts_ns - ns(0)) / 1e9, None if a.ends_ns is None else (a.ends_ns - ns(0)) / 1e9)
        for a in sorted(known.values(), key=lambda a: a.starts_ns)
    ]


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([alert(0), alert(0, 60)], [(0, 60)]),
        ([alert(0, 60, at=60), alert(0, at=61)], [(0, 60)]),
        ([alert(0, 60, at=60), alert(0, at=130)], [(0, None)]),
        ([alert(0), alert(0, 60), alert(90)], [(0, 60), (90, None)]),
        ([alert(0), alert(90, at=90)], [(0, 90), (90, None)]),
        ([alert(90), alert(0, at=91)], [(0, 90), (90, None)]),
        ([alert(90), alert(0, 60, at=91)], [(0, 60), (90, None)]),
        ([alert(0, 60), alert(0, 70)], [(0, 60)]),
    ],
    ids=[
        "it ends",
        "a report that it fires came after a later one that it is resolved",
        "Prometheus was cut off from Alertmanager and is back: it fires still",
        "it fires again",
        "it fires again, and nobody said that it had ended",
        "an earlier time is reported late",
        "the end of an earlier time is reported late",
        "the first end counts",
    ],
)
def test_reports_in_any_order_leave_each_occurrence_as_it_was(
    reports: Sequence[Alert], expected: list[tuple[float, float | None]]
) -> None:
    assert after(*reports) == expected


def test_the_same_report_again_changes_nothing_and_another_text_does() -> None:
    first = alert(0)
    assert changes([first], [alert(0, at=300)]) == []
    news = alert(0, at=300, summary="XETR has been stale for 320 s")
    assert changes([first], [news]) == [news]


def test_a_large_group_is_compared_quickly() -> None:
    group = [alert(0, fingerprint=f"{n:016x}") for n in range(10_000)]
    started = time.process_time()
    assert (
        len(changes([], group)) == len(changes(group, [resolved(a, ns(60), ns(60)) for a in group])) == 10_000
    )
    assert time.process_time() - started < 2.0  # comparing each with each takes half a minute


def test_a_report_keeps_what_only_the_recorder_knows() -> None:
    acknowledgement = Acknowledgement(who="ada", comment="on it", time_ns=ns(1), until_ns=ns(100))
    known = alert(0, value=20.0, acknowledgement=acknowledgement, recorder="other")
    (news,) = changes([known], [alert(0, 60)])
    assert (news.state, news.ends_ns, news.updated_ns) == (AlertState.RESOLVED, ns(60), ns(60))
    assert (news.value, news.acknowledgement, news.recorder) == (20.0, acknowledgement, "other")


async def test_what_is_stored_is_found_again(database: Database) -> None:
    store = AlertStore(database, "desk-1")
    first = alert(0, 60, value=20.5, threshold=15.0, description="More.", runbook_url="docs/x.md")
    second, other = alert(90), watchdog_alert(30)
    assert await store.report([first, second, other]) == [first, second, other]
    assert await store.report([first, second, other]) == []
    assert await find_alert(database, first.id) == first
    assert await find_alert(database, "no\0such") is None
    assert await store.firing() == [other, second]
    assert await AlertStore(database, "desk-2").firing() == [second]
    assert await newest_alerts(database, AlertFilter(), 10, None) == ([second, other, first], None)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (AlertFilter(state=AlertState.FIRING), [90, 30]),
        (AlertFilter(origin=AlertOrigin.WATCHDOG), [30]),
        (AlertFilter(name="FeedMute"), []),
        (AlertFilter(severity="page", recorder="desk-1"), [90, 30, 0]),
        (AlertFilter(recorder="desk-2"), []),
        (AlertFilter(start_ns=ns(60)), [90, 30]),
        (AlertFilter(start_ns=ns(59), end_ns=ns(90)), [30, 0]),
        (AlertFilter(name="a\0b"), []),
    ],
)
async def test_alerts_are_selected_by_what_they_are_and_by_when_they_fired(
    database: Database, which: AlertFilter, found: list[int]
) -> None:
    stored = [alert(0, 60), alert(90), watchdog_alert(30)]
    await AlertStore(database, "desk-1").report(stored)
    items, cursor = await newest_alerts(database, which, 10, None)
    assert [(a.starts_ns - ns(0)) // 10**9 for a in items] == found
    assert cursor is None
    if which.state is AlertState.FIRING:
        assert {a.id for a in items} == {a.id for a in stored if which.selects(a)}


async def test_the_newest_acknowledgement_counts(database: Database) -> None:
    store = AlertStore(database, "desk-1")
    await store.report([alert(0)])
    first = Acknowledgement(who="ada", comment="on it", time_ns=ns(1), until_ns=ns(100))
    second = Acknowledgement(who="bob", comment="mine", time_ns=ns(2), until_ns=ns(200))
    for acknowledgement in (first, second):
        await store.acknowledge(alert(0).id, acknowledgement)
    silenced = msgspec.structs.replace(second, silence_id="s-1")
    assert await store.acknowledge(alert(0).id, silenced) == alert(0, at=2, acknowledgement=silenced)
    assert await store.acknowledge("unknown", first) is None
    assert (await store.firing())[0].acknowledgement == silenced


def queue_of(database: Database, bus: LocalBus, clock: Clock) -> AlertQueue:
    return AlertQueue(AlertStore(database, "desk-1"), bus, clock, CollectorRegistry(), expire_seconds=3600)


async def test_an_alert_of_an_outage_is_stored_when_the_database_is_back(
    migrated_url: str, tmp_path: Path
) -> None:
    bus = LocalBus()
    async with PostgresProxy(migrated_url, tmp_path).running() as proxy:
        database = Database(proxy.url, StorageSettings(connect_timeout_seconds=1.0))
        await database.open()
        queue = queue_of(database, bus, SystemClock())
        await queue.start()
        try:
            await proxy.cut()
            bus.publish(TOPIC, alert(0))  # of Prometheus: the webhook has stored it
            bus.publish(TOPIC, watchdog_alert(0))
            await _until(lambda: queue.status().health is Health.DEGRADED)
            assert queue.status().detail.startswith("1 alert not stored yet: cannot use ")
            ended = watchdog_alert(0, 5)
            bus.publish(TOPIC, ended)
            proxy.is_cut = False
            await _until(lambda: queue.status().health is Health.OK)
            assert await newest_alerts(database, AlertFilter(), 10, None) == ([ended], None)
        finally:
            await queue.stop()
            await database.close()


async def test_the_queue_stores_what_waits_when_it_stops(database: Database) -> None:
    bus = LocalBus()
    queue = queue_of(database, bus, SystemClock())
    await queue.start()
    await asyncio.sleep(0)
    bus.publish(TOPIC, watchdog_alert(0))
    await queue.stop()
    await queue.stop()
    assert await find_alert(database, watchdog_alert(0).id) == watchdog_alert(0)


async def test_an_alert_that_alertmanager_no_longer_reports_is_resolved(database: Database) -> None:
    clock, bus = ManualClock(ns(3000)), LocalBus()
    store, log = AlertStore(database, "desk-1"), MessageLog(bus)
    queue = queue_of(database, bus, clock)
    kept = alert(0, fingerprint="1" * 16)
    await store.report([alert(0), kept, watchdog_alert(0), alert(0, 60, fingerprint="2" * 16)])
    assert await store.report([alert(0, at=2000, fingerprint="1" * 16)]) == []
    await queue.expire()
    assert log.messages == []
    clock.advance(ns(3700) - ns(3000))
    await queue.expire()
    assert log.messages == [alert(0, 3700)]
    assert await store.firing() == [kept, watchdog_alert(0)]


async def test_an_end_that_was_not_reported_is_found_in_alertmanager(database: Database) -> None:
    clock, bus = ManualClock(ns(800)), LocalBus()
    store, log = AlertStore(database, "desk-1"), MessageLog(bus)
    answers: list[Collection[str] | Exception | None] = []

    async def firing() -> Collection[str] | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    queue = AlertQueue(store, bus, clock, CollectorRegistry(), expire_seconds=86_400, alertmanager=firing)
    silenced, elsewhere = alert(0, fingerprint="1" * 16), alert(0, fingerprint="2" * 16, recorder="desk-2")
    await store.report([alert(0), silenced, elsewhere, watchdog_alert(0)])
    await queue.reconcile()  # all reports are young: Alertmanager is not asked
    clock.advance(ns(1000) - ns(800))
    answers = [AlertmanagerError("Alertmanager did not answer within 3 s"), None]
    await queue.reconcile()
    await queue.reconcile()
    assert (answers, log.messages) == ([], [])
    answers = [{silenced.fingerprint}]
    await queue.reconcile()
    assert log.messages == [alert(0, 1000)]
    assert {a.id for a in await store.firing()} == {silenced.id, elsewhere.id, watchdog_alert(0).id}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.01)
