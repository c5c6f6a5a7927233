"""Faults, and their alerts on the whole way: Prometheus, Alertmanager, webhook, API, WebSocket, resolved.

The demo runs with real servers and the shipped files (:mod:`tests.prometheus.fast_stack`). Each fault must
raise its alerts and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError

import msgspec
import psycopg
import pytest
from websockets.sync.client import connect

from decahertz.conditions import CONDITIONS
from decahertz_client import Client
from tests.docs.commands import Curl, blocks
from tests.pipeline.running import RunningDecahertz, environment, read, run, running, wait_until
from tests.postgres_server import PostgresServer
from tests.prometheus.fast_stack import FastStack, fast_stack
from tests.proxy import PostgresProxy
from tests.servers import require

pytestmark = pytest.mark.timeout(400)
LIMIT_SECONDS = 70.0
QUIET = ("CpuHigh", "MemoryHigh", "DiskFilling")
"""Alerts about the machine: it is busy with other tests."""
ALWAYS = {"DeadMansSwitch", "CyclesMissed", "EventLoopLag"}
"""Alerts that may fire at any time: a busy machine makes cycles late."""
STARVED = {"RecorderDown", "DatabaseLost", "SpoolLarge"}
"""Alerts that a machine without time also raises: a scrape, or PostgreSQL, takes seconds. Allowed only if the
event loop was blocked or cycles were missed too."""
SETTINGS = {
    "DECAHERTZ_ALERTS_DISABLED": ",".join(QUIET),
    "DECAHERTZ_EXPORTER_WINDOW_SECONDS": "4",
    "DECAHERTZ_COLLECTORS_MARKET_STALE_SECONDS": "4",
    "DECAHERTZ_COLLECTORS_MARKET_MUTE_SECONDS": "4",
    "DECAHERTZ_ALERTS_FEED_STALE_SECONDS": "4",
    "DECAHERTZ_ALERTS_FEED_MUTE_SECONDS": "4",
    "DECAHERTZ_ALERTS_SPREAD_RATIO": "50",  # the lab's book is crossed for much of its short life
    "DECAHERTZ_ALERTS_LOOP_LAG_SECONDS": "1",
    "DECAHERTZ_ALERTS_CYCLES_MISSED": "10",
    "DECAHERTZ_ALERTS_DATABASE_LOST_SECONDS": "0.5",
    "DECAHERTZ_SPOOL_MAX_BYTES": "600000",
    "DECAHERTZ_FEEDS_SYNTHETIC_PAUSE_INTERVAL_SECONDS": "45",
    "DECAHERTZ_FEEDS_SYNTHETIC_PAUSE_SECONDS": "10",
    "DECAHERTZ_FEEDS_SYNTHETIC_PAUSE_KIND": "silent",
}

Named = frozenset[tuple[str, str]]
"""Labels of an alert besides recorder and severity, with its name."""


def named(alertname: str, **labels: str) -> Named:
    return frozenset({"alertname": alertname, **labels}.items())


def named_of(alert: dict[str, Any]) -> Named:
    return frozenset(
        alert["labels"].items() - {("recorder", alert["recorder"]), ("severity", alert["severity"])}
    )


class Reader:
    """A WebSocket reader of the topic ``alerts``: every state of every alert, as it arrives."""

    def __init__(self, url: str) -> None:
        self.seen: defaultdict[tuple[str, str], set[Named]] = defaultdict(set)
        """Alerts by origin and state."""
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with connect(self._url) as socket:
            socket.send('{"type": "subscribe", "topics": ["alerts"]}')
            while not self._ended.is_set():
                with suppress(TimeoutError):
                    self._take(msgspec.json.decode(socket.recv(timeout=0.2)))

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "event" and message["topic"] == "alerts":
            alert = message["data"]
            self.seen[alert["origin"], alert["state"]].add(named_of(alert))

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)


@dataclass
class World:
    """The running product, and what the tests see of it."""

    decahertz: RunningDecahertz
    stack: FastStack
    network: Network
    lab: Lab
    reader: Reader
    env: dict[str, str]
    expected: set[str] = field(default_factory=set)
    """Names of the alerts of all faults so far."""

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        """Alerts of the API, newest first."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return list(self.decahertz.get(f"/api/v1/alerts?limit=200&{text}")["items"])

    def of_prometheus(self, state: str) -> set[Named]:
        return {named_of(alert) for alert in self.alerts(origin="prometheus", state=state)}

    def in_alertmanager(self, query: str = "") -> set[str]:
        """Names of the alerts that Alertmanager has."""
        alerts = msgspec.json.decode(read(f"{self.stack.alertmanager}/api/v2/alerts?{query}"))
        return {alert["labels"]["alertname"] for alert in alerts}

    def require_firing(self, alerts: set[Named]) -> None:
        """Each alert was pending, fires, and is told to API and WebSocket."""
        names = {dict(alert)["alertname"] for alert in alerts}
        self.expected |= names
        told = self.reader.seen["prometheus", "firing"]
        wait_until_all("in the API to fire", alerts, lambda: self.of_prometheus("firing"))
        wait_until_all("on the WebSocket to fire", alerts, lambda: told)
        assert names <= self.stack.seen("pending")
        assert names <= self.stack.seen("firing")

    def require_resolved(self, alerts: set[Named]) -> None:
        """Each alert is resolved, by API and WebSocket. An earlier incident that has ended does not count."""
        told = self.reader.seen["prometheus", "resolved"]
        wait_until_all(
            "in the API to resolve",
            alerts,
            lambda: self.of_prometheus("resolved") - self.of_prometheus("firing"),
        )
        wait_until_all("on the WebSocket to resolve", alerts, lambda: told)

    def require_no_other(self) -> None:
        """No alert, of either origin, but those of the faults so far."""
        alerts = [alert for alert in self.alerts() if not is_of_the_machine(alert) and not is_scripted(alert)]
        found = {alert["name"]: alert["summary"] for alert in alerts}
        starved = STARVED if found.keys() & {"EventLoopLag", "CyclesMissed"} else set()
        assert found.keys() <= self.expected | ALWAYS | starved, found


def is_scripted(alert: dict[str, Any]) -> bool:
    """Whether a pause of the synthetic feed explains it: there is one every 45 s, whichever test runs."""
    labels: dict[str, str] = alert["labels"]
    return alert["name"] == "FeedStale" and labels.get("venue") == "synthetic"


def is_of_the_machine(alert: dict[str, Any]) -> bool:
    """Whether a machine that is busy with other tests explains it: the sampler counts each missed cycle."""
    labels: dict[str, str] = alert["labels"]
    return labels.get("component") == "sampler"


def wait_until_all(what: str, alerts: set[Named], seen: Callable[[], set[Named]]) -> None:
    try:
        wait_until(what, LIMIT_SECONDS, lambda: alerts <= seen())
    except AssertionError:
        pytest.fail(f"waited {LIMIT_SECONDS:.0f} s {what}: {[dict(alert) for alert in alerts - seen()]}")


class Network:
    """The way between the recorder and its database, which can be cut."""

    def __init__(self, url: str, folder: Path) -> None:
        self._proxy = PostgresProxy(url, folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = self._proxy.url

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._proxy.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @contextmanager
    def cut(self) -> Iterator[None]:
        self._run(self._proxy.cut())
        try:
            yield
        finally:
            self._proxy.is_cut = False

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[World]:
    require("prometheus")
    require("prometheus-alertmanager", "alertmanager")
    folder: Path = tmp_path_factory.mktemp("world")
    data = folder / "data"
    data.mkdir()
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE alerts")
    network = Network(postgres_server.url_of("alerts"), folder)
    env = environment(data, **SETTINGS, DECAHERTZ_DATABASE_URL=network.url)
    with (
        network,
        running("--demo", env=env, log=folder / "log") as decahertz,
        fast_stack(folder, decahertz) as stack,
        Client(decahertz.api, source="lab") as client,
    ):
        reader = Reader(decahertz.websocket)
        lab = Lab(client)
        try:
            yield World(decahertz, stack, network, lab, reader, env)
        finally:
            lab.stop()
            reader.close()


LAB: dict[str, Any] = {"strategy": "lab", "venue": "lab", "instrument": "LAB"}
DATA_FAULTS = {
    named("FeedMute", venue="lab", instrument="MUTED"),
    named("SequenceGaps", venue="lab", instrument="LAB"),
    named("BookCrossed", venue="lab", instrument="LAB"),
    named("RejectSpike", strategy="lab", venue="lab"),
    named("DrawdownDeep", strategy="lab"),
    named("RiskLimitBreached", strategy="lab", risk="delta"),
    named("PositionBreak", strategy="lab"),
    named("CashBreak", strategy="lab"),
}


class Lab:
    """A market and a strategy of the test, which send good or bad data in a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ended = threading.Event()
        self._orders = 0
        self._was_bad = False
        self.is_bad = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._ended.wait(0.3):
            is_bad = self.is_bad
            self._send_market(is_bad=is_bad)
            self._send_strategy(is_bad=is_bad)
            self._was_bad = is_bad

    def _send_market(self, *, is_bad: bool) -> None:
        client = self._client
        ask, missed = (99.99, 5) if is_bad else (100.01, 0)
        client.quote(venue="lab", instrument="LAB", bid=100, ask=ask, missed=missed)
        muted: dict[str, Any] = {"venue": "lab", "instrument": "MUTED"}
        if is_bad and not self._was_bad:
            client.heartbeat(component="lab", connection="closed", **muted)
        client.heartbeat(component="lab", **muted)
        if not is_bad:
            client.quote(**muted, bid=1, ask=2)

    def _send_strategy(self, *, is_bad: bool) -> None:
        client = self._client
        self._orders += 1
        for state in ("submitted", "rejected" if is_bad else "cancelled"):
            client.order(**LAB, order_id=f"lab-{self._orders}", side="buy", quantity=1, state=state)
        client.equity(strategy="lab", equity=70 if is_bad else 100, cash=60 if is_bad else 65)
        client.risk(strategy="lab", name="delta", value=12 if is_bad else 8, limit=10)
        client.position(**LAB, quantity=3 if is_bad else 0)


def test_faults_in_the_data_raise_their_alerts_and_no_other_and_are_resolved(world: World) -> None:
    wait_until(
        "a scrape of the lab", 20, lambda: bool(world.stack.query('decahertz_risk_value{risk="delta"}'))
    )
    world.lab.is_bad = True
    world.require_firing(DATA_FAULTS)
    world.lab.is_bad = False
    world.require_resolved(DATA_FAULTS)
    world.require_no_other()


def test_a_feed_that_falls_silent_is_stale_until_it_goes_on(world: World) -> None:
    stale = {named("FeedStale", venue="synthetic")}
    world.require_firing(stale)
    world.require_resolved(stale)
    world.require_no_other()


def test_a_stalled_loop_is_seen_from_outside(world: World) -> None:
    """Missed cycles follow from it: Alertmanager keeps them back, the watchdog tells of both."""
    wait_until(
        "no alert that holds it back", LIMIT_SECONDS, lambda: "RecorderDown" not in world.in_alertmanager()
    )
    process, lag = world.decahertz.process, named("EventLoopLag")
    for _ in range(4):  # on a busy machine a failed scrape may hold the alert back until the lag has passed
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.8)  # the fault
        process.send_signal(signal.SIGCONT)
        with contextlib.suppress(AssertionError, TimeoutError):
            wait_until("the lag in the API", 20, lambda: lag in world.of_prometheus("firing"))
            break
    world.require_firing({named("EventLoopLag")})
    assert {"EventLoopLag", "CyclesMissed"} <= {alert["name"] for alert in world.alerts(origin="watchdog")}
    world.require_resolved({named("EventLoopLag")})
    world.require_no_other()


def test_a_database_that_is_out_of_reach_is_lost_and_the_spool_fills(world: World) -> None:
    """Alertmanager's webhook is answered 503 meanwhile; the watchdog's alerts get through at once."""
    world.expected |= {"DatabaseLost", "SpoolLarge", "SamplesDropped", "EventsDropped", "ComponentUnhealthy"}
    told, lost = world.reader.seen, named("DatabaseLost")
    with world.network.cut():
        for name in ("DatabaseLost", "SpoolLarge"):
            wait_until(f"{name} in Alertmanager", 90, lambda name=name: name in world.in_alertmanager())  # type: ignore[misc]
        assert lost in told["watchdog", "firing"]
        assert "DatabaseLost" in {a["name"] for a in world.alerts(origin="watchdog", state="firing")}
        unhealthy = "filter=component%3Dstorage"
        wait_until("the writer's health", 30, lambda: bool(world.in_alertmanager(unhealthy)))
        assert world.in_alertmanager(f"{unhealthy}&active=false") == {"ComponentUnhealthy"}, "inhibited"
        assert not world.in_alertmanager(f"{unhealthy}&inhibited=false")
    assert {"DatabaseLost", "SpoolLarge"} <= world.stack.seen("pending") & world.stack.seen("firing")
    wait_until("the watchdog to resolve it", 60, lambda: lost in told["watchdog", "resolved"])
    world.require_resolved({lost, named("SpoolLarge")})
    assert world.decahertz.get("/api/v1/ledger")["balanced"]
    world.require_no_other()


RUNBOOKS = [block for block in blocks("sh") if block.page.startswith("docs/runbooks/")]


def is_answered(url: str) -> bool:
    try:
        read(url)
    except HTTPError:
        return False
    return True


def test_every_command_of_the_runbooks_runs(world: World, tmp_path: Path) -> None:
    # Requests for orders, halts and templates are on where a key for them exists.
    key = ("keys", "create", "desk", "--scope", "trade", "--output", str(tmp_path / "key"))
    assert run(*key, env=world.env).returncode == 0
    wait_until("the key to be read", 40, lambda: is_answered(f"{world.decahertz.api}/api/v1/orders/requests"))
    ports = {
        "127.0.0.1:8000": world.decahertz.api,
        "127.0.0.1:9464": world.decahertz.metrics.removesuffix("/metrics"),
        "127.0.0.1:9090": world.stack.prometheus,
    }
    env = {**world.env, "DECAHERTZ_API_PORT": world.decahertz.api.rpartition(":")[2]}
    commands = {command: block for block in RUNBOOKS for command in block.commands()}
    assert len(RUNBOOKS) == len(CONDITIONS)
    for command, block in commands.items():
        here = command
        for address, url in ports.items():
            here = here.replace(address, url.removeprefix("http://"))
        program, *arguments = shlex.split(here)
        if program == "curl":
            status, body = Curl.parse(here).send()
            assert (status, bool(body)) == (200, True), f"{block}: {command}"
        elif program == "decahertz":
            done = run(*arguments, env=env)
            # A sampler that missed cycles is degraded, which is no failure of the command.
            assert done.returncode == 0, f"{block}: {command}: {done.stderr}"
        else:
            assert program in {"promtool", "df"}, f"nothing runs this command of {block}: {command}"
            finished = subprocess.run([program, *arguments], capture_output=True, check=False, timeout=20)
            assert finished.returncode == 0, f"{block}: {command}: {finished.stderr.decode()}"
