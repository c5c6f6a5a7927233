"""API processes: clients are served as by the recorder itself, and a killed process costs its connections."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.routes.table import ROUTES
from decahertz_client import Client
from tests.certificates import make_certificate
from tests.docs.route_examples import ask_all, create_key
from tests.pipeline.running import (
    ANSWER_LIMIT_SECONDS,
    RunningDecahertz,
    environment,
    read,
    run,
    running,
    wait_until,
)

pytestmark = pytest.mark.timeout(120)
_LIMIT_SECONDS = 30.0
_EVENTS = 300


def processes_of(decahertz: RunningDecahertz) -> list[psutil.Process]:
    """The API processes."""
    children = psutil.Process(decahertz.process.pid).children()
    return [child for child in children if "--api-process" in child.cmdline()]


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; nobody may have asked for its exit code yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def health_of(decahertz: RunningDecahertz) -> dict[str, str]:
    """Health of the API processes by name."""
    components = decahertz.get("/api/v1/health")["components"]
    return {part["name"]: part["health"] for part in components if part["name"].startswith("api ")}


def clients_of(decahertz: RunningDecahertz) -> set[str]:
    """The WebSocket clients of all processes."""
    return {client["client_id"] for client in decahertz.get("/api/v1/system/stats")["clients"]}


def routes_of(decahertz: RunningDecahertz) -> set[str]:
    """The routes that have served requests."""
    return {row["route"] for row in decahertz.get("/api/v1/system/performance")["routes"]}


def total(decahertz: RunningDecahertz, name: str) -> float:
    """Sum of a family of metrics."""
    text = read(decahertz.metrics).decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


class Reader:
    """Reads log events, and resumes behind the last one."""

    def __init__(self, url: str) -> None:
        self.numbers: list[int] = []
        self._url = url
        self._position: tuple[int, int] | None = None

    def read(self, upto: int) -> None:
        """Connects and reads up to the event with this number."""
        with connect(self._url, proxy=None, max_size=None, open_timeout=_LIMIT_SECONDS) as connection:
            epoch = self._hear(connection)["epoch"]
            if self._position is None:
                request: dict[str, object] = {"type": "subscribe"}
            else:
                request = dict(zip(("epoch", "sequence"), self._position, strict=True), type="resume")
            connection.send(json.dumps({**request, "topics": ["logs"]}))
            while not self.numbers or self.numbers[-1] < upto:
                message = self._hear(connection)
                assert message["type"] in ("event", "snapshot"), message
                self._position = (epoch, message["sequence"])
                if message["type"] == "event":
                    self.numbers.append(int(message["data"]["message"]))
                elif upto == 0:
                    return

    def _hear(self, connection: ClientConnection) -> dict[str, Any]:
        message = json.loads(connection.recv(timeout=_LIMIT_SECONDS))
        assert isinstance(message, dict)
        return message


@pytest.mark.parametrize("count", [1, 2])
def test_readers_resume_after_all_api_processes_were_killed(folder: Path, count: int) -> None:
    env = environment(folder, DECAHERTZ_API_PROCESSES=str(count))
    with running("--feeds-enabled", "synthetic", env=env, log=folder / "log") as decahertz:
        names = {f"api {number}": "ok" for number in range(1, count + 1)}
        assert health_of(decahertz) == names
        reader = Reader(decahertz.websocket)
        reader.read(0)
        with Client(decahertz.api, source="bot") as client:

            def emit(first: int, last: int) -> None:
                for number in range(first, last + 1):
                    client.emit("log", component="bot", level="info", message=str(number))

            emit(1, _EVENTS)
            reader.read(_EVENTS)
            wait_until(
                "metrics of the processes",
                _LIMIT_SECONDS,
                lambda: total(decahertz, "decahertz_api_websocket_sent_total") >= _EVENTS,
            )
            requests = total(decahertz, "decahertz_api_requests_total")
            killed = processes_of(decahertz)
            assert len(killed) == count
            for process in killed:
                process.kill()
            emit(_EVENTS + 1, 2 * _EVENTS)
            reader.read(2 * _EVENTS)
        assert reader.numbers == list(range(1, 2 * _EVENTS + 1))
        wait_until("new processes", _LIMIT_SECONDS, lambda: health_of(decahertz) == names)
        assert not {process.pid for process in killed} & {p.pid for p in processes_of(decahertz)}
        assert total(decahertz, "decahertz_api_requests_total") >= requests > 0
        missing = decahertz.get("/api/v1/ledger")
        assert missing["balanced"], missing
        last = processes_of(decahertz)
        seconds, output = decahertz.stop()
        assert output.endswith("stopped\n")
        assert seconds < 5
        assert all(has_ended(process) for process in last)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """A demo with two API processes."""
    folder = tmp_path_factory.mktemp("apart")
    env = environment(folder, DECAHERTZ_API_PROCESSES="2")
    with running("--demo", env=env, log=folder / "log") as decahertz:
        create_key(env)
        yield decahertz


def test_every_route_responds(apart: RunningDecahertz) -> None:
    for route, _, (status, _, body) in ask_all(apart, ROUTES):
        assert status in route.statuses, (route.name, body)


def test_clients_and_requests_of_all_processes_are_shown(apart: RunningDecahertz) -> None:
    with connect(apart.websocket, proxy=None) as one, connect(apart.websocket, proxy=None) as other:
        for client in (one, other):
            client.send(json.dumps({"type": "subscribe", "topics": ["metrics:system:*"]}))
        wait_until("the clients", _LIMIT_SECONDS, lambda: len(clients_of(apart)) >= 2)
    apart.get("/api/v1/ping")
    wait_until(
        "the requests", _LIMIT_SECONDS, lambda: {"/api/v1/ping", "/api/v1/system/stats"} <= routes_of(apart)
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/health?x=1", None, 400),  # by the recorder
        ("GET", "/api/v1/fills?limit=0", None, 400),  # by the process
        ("POST", "/api/v1/events", b"{", 400),
        ("POST", "/api/v1/events", b"too large", 413),
        ("DELETE", "/api/v1/health", None, 405),
        ("GET", "/api/v1/nothing", None, 404),
    ],
)
def test_problems_are_the_same(
    apart: RunningDecahertz, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {"X-Request-ID": "mine", "Content-Type": "application/json"}
    if status == 413:
        headers["Content-Length"] = "100000000"
    request = urllib.request.Request(apart.api + path, body, headers, method=method)  # noqa: S310 - local
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS)  # noqa: S310 - local
    with refused.value as error:
        assert error.code == status
        assert json.load(error)["request_id"] == error.headers["X-Request-ID"] == "mine"


def test_head_of_a_forwarded_response_has_the_length_of_its_body(apart: RunningDecahertz) -> None:
    request = urllib.request.Request(f"{apart.api}/api/v1/health/ready", method="HEAD")  # noqa: S310 - local
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS) as answer:  # noqa: S310 - local
        assert int(answer.headers["Content-Length"]) == len(read(request.full_url))


def test_sessions_keys_tls_and_the_audit_log_are_those_of_all_processes(folder: Path) -> None:
    certificate = make_certificate(folder, "127.0.0.1")
    trusted = ssl.create_default_context(cafile=str(certificate.certificate))
    env = environment(
        folder,
        DECAHERTZ_API_PROCESSES="2",
        DECAHERTZ_API_REQUIRE_KEYS="true",
        DECAHERTZ_API_TLS_CERTIFICATE=str(certificate.certificate),
        DECAHERTZ_API_TLS_KEY=str(certificate.key),
    )
    with running("--feeds-enabled", "", env=env, log=folder / "log") as decahertz:
        assert decahertz.api.startswith("https://")
        key = run("keys", "create", "ada", "--scope", "read", env=env).stdout.strip()
        admin = run("keys", "create", "root", "--scope", "admin", env=env).stdout.strip()
        session = f"{decahertz.api}/api/v1/session"

        def ask(
            url: str, method: str, headers: dict[str, str], body: bytes | None = None
        ) -> tuple[int, str, bytes]:
            request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - local
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS, context=trusted) as answer:  # noqa: S310 - local
                    return answer.status, answer.headers.get("Set-Cookie", ""), answer.read()
            except urllib.error.HTTPError as error:
                return error.code, "", b""

        def statuses(cookie: str) -> set[int]:
            fills = f"{decahertz.api}/api/v1/fills"
            return {ask(fills, "GET", {"Cookie": cookie})[0] for _ in range(20)}

        sign_in = json.dumps({"key": key}).encode()
        own = {"Origin": decahertz.api, "Content-Type": "application/json"}
        status, cookie, _ = ask(session, "POST", own, sign_in)
        assert (status, "Secure" in cookie) == (200, True)
        cookie = cookie.partition(";")[0]
        wait_until("the session", _LIMIT_SECONDS, lambda: statuses(cookie) == {200})
        with connect(
            decahertz.websocket,
            proxy=None,
            ssl=trusted,
            additional_headers={"Cookie": cookie, "Origin": decahertz.api},
        ) as reader:
            assert json.loads(reader.recv(timeout=_LIMIT_SECONDS))["type"] == "connected"
            assert ask(session, "DELETE", {**own, "Cookie": cookie})[0] == 200
            with pytest.raises(ConnectionClosed) as closed:
                reader.recv(timeout=_LIMIT_SECONDS)
            assert closed.value.rcvd is not None
        wait_until("its end", _LIMIT_SECONDS, lambda: statuses(cookie) == {401})

        bearer = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        refused = {ask(f"{decahertz.api}/api/v1/alerts/webhook", "POST", bearer, b"{}")[0] for _ in range(4)}
        assert refused == {403}

        def refusals() -> list[dict[str, Any]]:
            question = f"{decahertz.api}/api/v1/audit?action=alerts.report"
            _, _, body = ask(question, "GET", {"Authorization": f"Bearer {admin}"})
            items: list[dict[str, Any]] = json.loads(body)["items"]
            return items

        wait_until("the refusals in the audit log", _LIMIT_SECONDS, lambda: len(refusals()) == 4)
        assert {(row["actor"], row["result"], row["address"]) for row in refusals()} == {
            ("ada", "insufficient-scope", "127.0.0.1")
        }


def test_api_processes_end_when_the_recorder_is_killed(folder: Path) -> None:
    env = environment(folder, DECAHERTZ_API_PROCESSES="1")
    with running("--feeds-enabled", "", env=env, log=folder / "log") as decahertz:
        (process,) = processes_of(decahertz)
        os.kill(decahertz.process.pid, signal.SIGKILL)
        decahertz.process.communicate(timeout=_LIMIT_SECONDS)
        wait_until("the end of the API process", _LIMIT_SECONDS, lambda: has_ended(process))
        port = int(decahertz.api.rpartition(":")[2])
        socket.create_server(("127.0.0.1", port)).close()
