"""Secrets are shown nowhere: a real recorder with recognisable ones, while much goes wrong."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.pipeline.running import ANSWER_LIMIT_SECONDS, RunningDecahertz, environment, read, run, running
from tests.postgres_server import PostgresServer
from tests.servers import free_port

pytestmark = pytest.mark.timeout(150)
DATABASE = "database-Aex8seechooquee"
REDIS = "redis-Ohj3aiQu6oht"
ALERTMANAGER = "alertmanager-Ieph6ohlai"
GUESSED = "dhz_aaaaaaaaaaaa_" + "guessed" * 6 + "A"


class Shown:
    """Everything that the program showed to anybody, each with where it was."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def add(self, where: str, text: str) -> str:
        self._texts.append((where, text))
        return text

    def check(self, secrets: dict[str, str]) -> None:
        found = [
            f"{name} in {where}: …{text[max(at - 80, 0) : at + 80]}…"
            for where, text in self._texts
            for name, secret in secrets.items()
            if (at := text.find(secret)) >= 0
        ]
        assert found == []


def with_password(url: str, password: str) -> str:
    """The URL with a password, which the server of the tests does not ask for."""
    return re.sub(r"//([^@/:]+)@", rf"//\1:{password}@", url)


def failures(settings: dict[str, str]) -> Iterator[tuple[str, subprocess.CompletedProcess[str]]]:
    """Commands that fail because of settings with secrets, and what they print."""
    away = f"postgresql://ada:{DATABASE}@127.0.0.1:{free_port()}/x"
    broken = f"postgresql://ada:{DATABASE}@[127.0.0.1/x"
    receiver = f"http://ada:{ALERTMANAGER}@127.0.0.1:9093"
    for name, more in (
        ("a database that is away", {"DECAHERTZ_DATABASE_URL": away}),
        ("an invalid URL", {"DECAHERTZ_DATABASE_URL": broken}),
        ("an invalid Redis", {"DECAHERTZ_API_REDIS_URL": f"http://:{REDIS}@127.0.0.1"}),
        ("credentials of Alertmanager in a URL", {"DECAHERTZ_ALERTS_ALERTMANAGER_URL": receiver}),
        ("the same in a receiver", {"DECAHERTZ_ALERTMANAGER_RECORDER_URL": receiver}),
    ):
        env = {**settings, **more}
        yield f"up with {name}", run("up", env=env)
        yield f"check with {name}", run("check", env=env)
    yield "settings", run("settings", env=settings)
    yield "db status", run("db", "status", env=settings)
    yield "keys list", run("keys", "list", "--json", env=settings)


class Api:
    """Requests to the recorder, whose whole answers are noted."""

    def __init__(self, url: str, shown: Shown) -> None:
        self._url = url
        self._shown = shown

    def ask(
        self, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, str, str]:
        """Status, cookie and text."""
        method = "GET" if body is None else "POST"
        request = urllib.request.Request(self._url + path, body, method=method)  # noqa: S310 - local
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            request.add_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS)  # noqa: S310 - local
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            cookie = answer.headers.get("Set-Cookie", "")
            del answer.headers["Set-Cookie"]  # its only place
            text = answer.read().decode()
        self._shown.add(f"the answer to {method} {path.partition('?')[0]}", f"{answer.headers}{text}")
        return int(answer.status or 0), cookie, text


def provoke(api: Api, key: str, url: str) -> str:
    """Everything that a client can get wrong with secrets in its hands; the secret of the session."""
    bearer = {"Authorization": f"Bearer {key}"}
    assert api.ask("/api/v1/ledger", bearer)[0] == 200
    for path in (f"/api/v1/ledger?key={key}", f"/api/v1/fills?cursor={key}", f"/ws?key={key}"):
        assert api.ask(path, bearer)[0] in (200, 400, 426)
    for wrong in (GUESSED, key + "x", f"{key} {key}", "\x01" + key[1:]):
        assert api.ask("/api/v1/ledger", {"Authorization": f"Bearer {wrong}"})[0] in (400, 401)
    whole = json.dumps({"key": key}).encode()
    for body, status in (
        (whole[:-1], 400),
        (whole.replace(b'"key"', b'"kex"'), 422),
        (json.dumps({"key": [key]}).encode(), 422),
        (json.dumps({"key": key * 9}).encode(), 422),
        (json.dumps({"key": GUESSED}).encode(), 401),
    ):
        assert api.ask("/api/v1/session", body=body)[0] == status, body
    status, cookie, _ = api.ask("/api/v1/session", body=whole)
    assert status == 200
    session = cookie.partition(";")[0]
    for more, expected in (({}, 200), ({"Origin": "http://elsewhere.example"}, 403), ({"Host": "else"}, 421)):
        assert api.ask("/api/v1/ledger", {"Cookie": session, **more})[0] == expected
    assert api.ask("/api/v1/events", {"Cookie": session}, whole)[0] == 403
    # The database refuses: a table is missing, then everything is.
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE fills RENAME TO hidden")
        assert api.ask("/api/v1/fills?limit=3", {"Cookie": session})[0] >= 500
        connection.execute("ALTER TABLE hidden RENAME TO fills")
    return session.partition("=")[2]


def check_processes(decahertz: RunningDecahertz, shown: Shown) -> None:
    process = psutil.Process(decahertz.process.pid)
    for one in (process, *process.children(recursive=True)):
        shown.add(f"the command line of {one.name()}", " ".join(one.cmdline()))


async def test_no_secret_is_in_logs_answers_metrics_errors_addresses_and_process_lists(
    postgres_server: PostgresServer, folder: Path
) -> None:
    shown = Shown()
    async with postgres_server.database() as plain:
        url = with_password(plain, DATABASE)
        assert DATABASE in url
        settings = environment(
            folder,
            DECAHERTZ_DATABASE_URL=url,
            DECAHERTZ_API_REQUIRE_KEYS="true",
            DECAHERTZ_API_REDIS_URL=f"redis://:{REDIS}@127.0.0.1:{free_port()}/0",
            DECAHERTZ_LOG_LEVEL="debug",
        )
        made = run("keys", "create", "ada", "--scope", "read", "--output", "ada.key", env=settings)
        assert made.returncode == 0, made.stderr
        shown.add("keys create", made.stdout + made.stderr)
        key = (folder / "ada.key").read_text().strip()
        log = folder / "log"
        with running("--demo", env=settings, log=log, is_forked=False) as decahertz:
            api = Api(decahertz.api, shown)
            session = provoke(api, key, plain)
            own = (folder / "keys" / "companions.key").read_text().strip()
            check_processes(decahertz, shown)
            for where, done in failures(settings):
                shown.add(where, done.stdout + done.stderr)
            metrics = shown.add("/metrics", read(decahertz.metrics).decode())
            assert "decahertz_api_requests_total" in metrics
            shown.add("the welcome", decahertz.welcome)
            _, output = decahertz.stop()
            shown.add("the output", output)
        text = shown.add("the log", log.read_text())
        assert "shared_cache_failed" in text
        shown.check(
            {
                "the database's password": DATABASE,
                "Redis' password": REDIS,
                "Alertmanager's password": ALERTMANAGER,
                "the key": key.split("_", 2)[2],
                "the key of the demo": own.split("_", 2)[2],
                "a key that was guessed": GUESSED,
                "the session": session,
            }
        )
