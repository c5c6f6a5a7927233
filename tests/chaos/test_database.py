"""Faults of PostgreSQL and of the connection to it."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import asyncpg
import pytest

from decahertz.clock import to_datetime
from storage.postgres.embedded import Installation
from tests.chaos.background import Background
from tests.chaos.world import LIMIT_SECONDS, SOURCE, World, live_through, world
from tests.pipeline.running import IS_LONG, run, wait_until
from tests.proxy import PostgresProxy

pytestmark = pytest.mark.timeout(3000 if IS_LONG else 120)
_AWAY_SECONDS = 60.0 if IS_LONG else 5.0
_BACKLOG_SECONDS = 600.0 if IS_LONG else 6.0
_KILLS = 10 if IS_LONG else 1
_LOST_ANSWERS = 50 if IS_LONG else 5
_REFUSED_SECONDS = 60.0 if IS_LONG else 2.0
_FROZEN_SECONDS = 60.0 if IS_LONG else 1.0
_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'decahertz'"
_TOLD_SECONDS = 5.0
_HASTY = {"DECAHERTZ_STORAGE_READ_TIMEOUT_SECONDS": "3"}
_READ_SECONDS = 8.0  # the same, and the time of a busy machine


def test_after_an_outage_now_comes_first_while_the_backlog_drains(
    installation: Installation, folder: Path
) -> None:
    # So slow that the backlog is still there when what is new has to be, and nearly all of it on the disk.
    pace = "2000" if IS_LONG else "500"
    slow = {"DECAHERTZ_SPOOL_BACKLOG_ROWS_PER_SECOND": pace, "DECAHERTZ_STORAGE_QUEUE_ROWS": "1000"}
    with world(folder, installation, settings=slow) as chaos:
        chaos.start_client(rate=1000)
        chaos.wait_acknowledged()
        chaos.postgres.stop()
        live_through(_BACKLOG_SECONDS)
        chaos.postgres.start()
        back = to_datetime(time.time_ns())
        new = "SELECT 1 FROM system_samples WHERE time > $1 LIMIT 1"
        seconds = wait_until("a new sample", LIMIT_SECONDS, lambda: bool(chaos.ask(new, back)))
        waiting = chaos.ledger().spooled()
        sys.stdout.write(f"a new sample after {seconds:.2f} s, {waiting} rows of the backlog still wait\n")
        assert waiting > 1000
        if IS_LONG:
            assert seconds < 1.0
        chaos.check(settled_in_seconds=_BACKLOG_SECONDS * 3 + 60)


def test_postgresql_stopped_for_a_while_and_killed_in_the_middle_of_copy(
    installation: Installation, folder: Path
) -> None:
    with world(folder, installation) as chaos:
        chaos.start_client()
        chaos.wait_acknowledged()
        chaos.postgres.stop()
        live_through(_AWAY_SECONDS)
        chaos.postgres.start()
        for _ in range(_KILLS):
            chaos.wait_acknowledged()
            kill_in_copy(chaos)
            chaos.postgres.start()
        chaos.wait_acknowledged()
        chaos.check()


def test_a_poison_row(installation: Installation, folder: Path) -> None:
    with world(folder, installation) as chaos:
        chaos.ask("ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message NOT LIKE '%02')")
        chaos.start_client()
        chaos.wait_acknowledged(600)
        chaos.settle()
        letters = chaos.ask("SELECT source, epoch, sequence, reason FROM dead_letters ORDER BY sequence")
        chaos.dead_letters = {row["sequence"] for row in letters}
        (figures,) = chaos.emitter.figures
        assert chaos.dead_letters == set(range(102, figures["emitted"] + 1, 100))
        assert all("no_poison" in row["reason"] for row in letters)
        chaos.check_events()
        chaos.check_ledger()
        said = chaos.ledger().streams[f"events:{SOURCE}"]
        assert said["dropped"] == {"dead_letter": len(letters)}

        chaos.ask("ALTER TABLE logs DROP CONSTRAINT no_poison")
        replayed = run("dead-letters", "replay", env=chaos.env)
        assert replayed.returncode == 0, replayed.stderr
        assert chaos.ask("SELECT id FROM dead_letters") == []
        chaos.dead_letters = set()
        chaos.check_events()


def test_a_database_that_takes_no_connections_or_is_frozen(installation: Installation, folder: Path) -> None:
    with world(folder, installation, settings=_HASTY) as chaos:
        chaos.start_client()
        chaos.wait_acknowledged()
        admin = chaos.postgres.url.replace("/decahertz?", "/postgres?")
        ask(chaos, admin, "ALTER DATABASE decahertz ALLOW_CONNECTIONS false")
        ask(
            chaos, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'decahertz'"
        )
        wait_until("the reason", _TOLD_SECONDS, lambda: "not currently accepting" in health(chaos)["storage"])
        live_through(_REFUSED_SECONDS)
        ask(chaos, admin, "ALTER DATABASE decahertz ALLOW_CONNECTIONS true")
        wait_until("health", _TOLD_SECONDS, lambda: health(chaos)["storage"] == "ok")

        chaos.wait_acknowledged()
        with chaos.postgres.frozen():
            wait_until("the lack of answers", _TOLD_SECONDS, lambda: "degraded" in health(chaos)["storage"])
            assert get(chaos, "/api/v1/health/ready")[0] == 503
            began = time.monotonic()
            assert get(chaos, "/api/v1/fills")[0] == 503
            assert time.monotonic() - began < _READ_SECONDS
            live_through(_FROZEN_SECONDS)
        wait_until("health", LIMIT_SECONDS, lambda: health(chaos)["storage"] == "ok")
        wait_until("an answer", LIMIT_SECONDS, lambda: get(chaos, "/api/v1/fills")[0] == 200)
        chaos.wait_acknowledged()
        chaos.check()


def ask(chaos: World, url: str, statement: str) -> None:
    """Runs a statement on another database of the server."""

    async def run_it() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    chaos.background.call(run_it())


def get(chaos: World, path: str) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    try:
        with urllib.request.urlopen(chaos.pipeline.url + path, timeout=60) as answer:  # noqa: S310 - ours
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def health(chaos: World) -> dict[str, str]:
    """Health and detail of each component."""
    components = json.loads(get(chaos, "/api/v1/health")[1])["components"]
    return {c["name"]: " ".join(filter(None, (c["health"], c["detail"]))) for c in components}


def kill_in_copy(chaos: World) -> None:
    """Block the COPY into one table, after others of its transaction, and kill the server."""

    async def locked() -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(chaos.postgres.url)
        await connection.execute("BEGIN; LOCK TABLE risks IN ACCESS EXCLUSIVE MODE")
        return connection

    connection = chaos.background.call(locked())
    waiting = (
        "SELECT count(*) AS n FROM pg_stat_activity"
        " WHERE query LIKE 'COPY %risks%' AND wait_event_type = 'Lock'"
    )
    wait_until("a COPY that is held up", LIMIT_SECONDS, lambda: bool(chaos.ask(waiting)[0]["n"]))
    chaos.postgres.kill()
    connection.terminate()


def test_the_answer_to_a_commit_is_lost(installation: Installation, folder: Path) -> None:
    proxies: list[PostgresProxy] = []

    def through_proxy(background: Background, url: str) -> str:
        (folder / "socket").mkdir()
        proxy = PostgresProxy(url, folder / "socket")
        proxies.append(proxy)
        background.call(proxy.start())
        return proxy.url

    with world(folder, installation, database=through_proxy) as chaos:
        (proxy,) = proxies
        chaos.start_client()
        for number in range(1, _LOST_ANSWERS + 1):
            chaos.wait_acknowledged()
            if number % 2:
                proxy.lose_answers = 1
            else:
                proxy.lose_commits = 1
            wait_until("a lost answer", LIMIT_SECONDS, lambda number=number: proxy.lost == number)  # type: ignore[misc]
        chaos.wait_acknowledged()
        chaos.check()
        chaos.pipeline.stop()
        chaos.background.call(proxy.stop())
