"""SIGKILL for the recorder, its database and the processes that take order requests, while people submit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from decahertz_client import Client, ReaderError
from storage.postgres.embedded import Installation
from tests.chaos.background import Background
from tests.chaos.processes import Pipeline, Postgres
from tests.chaos.world import live_through
from tests.pipeline.running import IS_LONG, ROOT, environment, run, wait_until

pytestmark = pytest.mark.timeout(3600 if IS_LONG else 180)
_REQUESTS = 10_000 if IS_LONG else 240
_TAKERS = 3
_SUBMITTERS = 4
_ORDERS_PER_KILL = 60 if IS_LONG else 10
"""Orders between two kills, on average."""
_KILLED_SHARE = 0.8
"""Kills end when this share of the orders is at the broker."""
_RECORDER_EVERY = 8
"""Every how many kills the recorder is killed too, and in the long form its database every other time."""
_LIMIT_SECONDS = 600.0 if IS_LONG else 90.0
_ORDER = {
    "kind": "equity",
    "strategy": "momentum",
    "venue": "synthetic",
    "instrument": "BTC-USD",
    "side": "buy",
    "quantity": 1,
    "order_type": "market",
}


class Takers:
    """Trading processes and the broker that they share."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._broker = folder / "broker"
        self._log = folder / "takers.log"
        self._names = count(1)
        self._running: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def start(self, number: int = 1) -> None:
        program = Path(__file__).with_name("taker.py")
        for _ in range(number):
            arguments = [self._url, f"taker-{next(self._names)}", str(self._broker)]
            with self._log.open("a") as errors:
                process = subprocess.Popen(
                    [sys.executable, str(program), *arguments],
                    env={**os.environ, "PYTHONPATH": str(ROOT / "client")},
                    stderr=errors,
                )
            self._running.append(process)

    def kill(self) -> None:
        """SIGKILL for one of them."""
        self.kills += 1
        process = self._running.pop(random.randrange(len(self._running)))
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        while self._running:
            self.kill()

    def said(self) -> str:
        """The end of their errors."""
        return self._log.read_text()[-2000:]

    def executed(self) -> Counter[str]:
        """Orders at the broker by request."""
        return Counter(self._broker.read_text().split()) if self._broker.exists() else Counter()


class Desk:
    """The recorder with its database, and people who submit."""

    def __init__(self, background: Background, postgres: Postgres, pipeline: Pipeline) -> None:
        self._background = background
        self.postgres = postgres
        self.pipeline = pipeline

    def submit(self, number: int) -> str:
        """Submits a request, as often as it takes to get an answer."""
        with Client(self.pipeline.url, source="desk") as client:
            while True:
                try:
                    receipt = client.submit_order(idempotency_key=f"key-{number}", **_ORDER)
                except ReaderError:
                    time.sleep(0.1)
                else:
                    return str(receipt["request_id"])

    def states(self) -> dict[str, str]:
        """The state of every request, from the database."""

        async def read() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.postgres.url)
            try:
                rows: list[asyncpg.Record] = await connection.fetch(
                    "SELECT request_id, state FROM order_requests"
                )
                return rows
            finally:
                await connection.close()

        return {row["request_id"]: row["state"] for row in self._background.call(read())}

    def in_progress(self) -> list[str]:
        return [r for r, state in self.states().items() if state in ("queued", "taken", "working")]

    def resolve(self, request_id: str, outcome: str) -> None:
        body = json.dumps({"outcome": outcome, "reason": "looked at the broker"}).encode()
        url = f"{self.pipeline.url}/api/v1/orders/{request_id}/resolve"
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20) as answer:  # noqa: S310 - of this machine
            assert answer.status == 200


@contextmanager
def desk(folder: Path, installation: Installation) -> Iterator[Desk]:
    background = Background()
    postgres = Postgres(background, folder / "postgres", installation)
    postgres.start()
    data = folder / "data"
    data.mkdir()
    settings = {"DECAHERTZ_RISK_ORDERS_REQUIRE_LIVE_FEED": "false", "DECAHERTZ_DATABASE_URL": postgres.url}
    env = environment(data, **settings)
    pipeline = Pipeline(env, folder / "log")
    try:
        pipeline.start()
        made = run("keys", "create", "desk", "--scope", "trade", "--output", str(folder / "key"), env=env)
        assert made.returncode == 0, made.stderr
        # Until the recorder has read the key it refuses requests, and a process that asks for some ends.
        wait_until("the queue", _LIMIT_SECONDS, lambda: pipeline.get("/api/v1/risk/halts")["is_enabled"])
        yield Desk(background, postgres, pipeline)
    finally:
        if pipeline.running is not None:
            pipeline.kill()
        postgres.stop()
        background.close()


def test_each_request_is_done_once_or_visibly_unresolved(installation: Installation, folder: Path) -> None:
    with desk(folder, installation) as made:
        takers = Takers(made.pipeline.url, folder)
        try:
            takers.start(_TAKERS)
            with ThreadPoolExecutor(_SUBMITTERS) as people:
                submitted = [people.submit(made.submit, number) for number in range(_REQUESTS)]
                _kill(made, takers)
            ids = [one.result() for one in submitted]
            assert len(set(ids)) == _REQUESTS
            wait_until("the queue to be empty", _LIMIT_SECONDS, lambda: not made.in_progress())
            takers.kill_all()

            states, executed = made.states(), takers.executed()
            assert states.keys() == set(ids)  # none lost, none invented
            assert set(executed.values()) <= {1}  # none done twice
            open_ = {request_id: state for request_id, state in states.items() if state != "done"}
            assert set(open_.values()) <= {"unresolved", "dead"}
            assert set(ids) - open_.keys() <= executed.keys()
            assert not any(executed[request_id] for request_id, state in open_.items() if state == "dead")
            told = f"{_REQUESTS} requests, {len(executed)} orders, {takers.kills} kills of takers"
            sys.stdout.write(f"{told}, not done: {Counter(open_.values())}\n")

            # A person looks at the broker: then every request is done once.
            for request_id in open_:
                made.resolve(request_id, "done" if executed[request_id] else "queued")
            takers.start()
            wait_until("the rest to be done", _LIMIT_SECONDS, lambda: not made.in_progress())
            assert takers.executed() == Counter(ids)
            assert set(made.states().values()) == {"done"}
        except BaseException as error:
            error.add_note(
                f"requests: {Counter(made.states().values())}, orders: {takers.executed().total()}"
            )
            error.add_note(takers.said() + made.pipeline.said())
            raise
        finally:
            takers.kill_all()


def _kill(made: Desk, takers: Takers) -> None:
    """Kills takers, and now and then the recorder, at random moments of their work."""
    for number in count(1):
        target = takers.executed().total() + random.randint(1, 2 * _ORDERS_PER_KILL)
        if target > _KILLED_SHARE * _REQUESTS:
            return
        wait_until("orders", _LIMIT_SECONDS, lambda target=target: takers.executed().total() >= target)  # type: ignore[misc]
        live_through(random.uniform(0, 0.02))
        takers.kill()
        if number % _RECORDER_EVERY == 0:
            made.pipeline.kill()
            if IS_LONG and number % (2 * _RECORDER_EVERY) == 0:
                made.postgres.kill()
                made.postgres.start()
            made.pipeline.start()
        takers.start()
