"""The watchdog in the whole product: restarts, an outage of the database, and readers who hear of both."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.pipeline.running import ANSWER_LIMIT_SECONDS, RunningDecahertz, running
from tests.proxy import PostgresProxy

pytestmark = [pytest.mark.timeout(120)]
LIMIT_SECONDS = 30.0


class Listener:
    """A reader of the topic ``alerts``."""

    def __init__(self, socket: websockets.ClientConnection, firing: list[dict[str, Any]]) -> None:
        self._socket = socket
        self.firing = firing
        """Alerts of the snapshot."""

    async def hear(self, name: str, state: str) -> dict[str, Any]:
        """The next change of an alert of this name, which has to be to this state."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                alert: dict[str, Any] = json.loads(await self._socket.recv())["data"]
                if alert["name"] == name:
                    assert alert["state"] == state
                    return alert


@asynccontextmanager
async def listening(decahertz: RunningDecahertz) -> AsyncIterator[Listener]:
    async with websockets.connect(decahertz.websocket, proxy=None) as socket:
        await socket.recv()
        await socket.send(json.dumps({"type": "subscribe", "topics": ["alerts"]}))
        snapshot = json.loads(await socket.recv())
        yield Listener(socket, [item["data"] for item in snapshot["items"]])


def send(decahertz: RunningDecahertz, sequence: int, **risk: Any) -> None:  # noqa: ANN401 - fields of the event
    event = {"type": "risk", "time_ns": time.time_ns(), "name": "delta", "strategy": "trend", **risk}
    batch = {"source": "desk", "epoch": 1, "first_sequence": sequence, "events": [event]}
    request = urllib.request.Request(  # noqa: S310 - of this machine
        f"{decahertz.api}/api/v1/events",
        json.dumps(batch).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS) as answer:  # noqa: S310 - the same
        assert json.load(answer)["accepted"] == 1


def listed(decahertz: RunningDecahertz, name: str, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = decahertz.get(f"/api/v1/alerts?name={name}&{query}")["items"]
    return items


async def test_alerts_survive_a_kill_and_an_outage_of_the_database(
    env: dict[str, str], data_dir: Path, migrated_url: str, tmp_path: Path
) -> None:
    log = data_dir / "log"
    async with PostgresProxy(migrated_url, tmp_path).running() as proxy:
        here = env | {"DECAHERTZ_DATABASE_URL": proxy.url, "DECAHERTZ_ALERTS_DATABASE_LOST_SECONDS": "1"}
        async with started(here, log) as decahertz, listening(decahertz) as reader:
            await asyncio.to_thread(send, decahertz, 1, value=11.0, limit=10.0)
            fired = await reader.hear("RiskLimitBreached", "firing")
            assert fired["summary"] == "trend uses 110% of its limit of delta: 11 of 10"

            await proxy.cut()
            lost = await reader.hear("DatabaseLost", "firing")
            shown = await asyncio.to_thread(listed, decahertz, "DatabaseLost", "state=firing")
            assert shown == [lost]
            proxy.is_cut = False
            ended = await reader.hear("DatabaseLost", "resolved")
            assert ended["id"] == lost["id"]
            await until_stored(decahertz, ended)
            await until_stored(decahertz, fired)
            decahertz.process.kill()
            decahertz.process.communicate()

        async with started(here, log) as decahertz, listening(decahertz) as reader:
            assert fired in reader.firing
            await asyncio.to_thread(send, decahertz, 2, value=1.0, limit=10.0)
            resolved = await reader.hear("RiskLimitBreached", "resolved")
            assert resolved["id"] == fired["id"]
            await until_stored(decahertz, resolved)
            assert [a["id"] for a in await asyncio.to_thread(listed, decahertz, "RiskLimitBreached")] == [
                fired["id"]
            ]
    assert '"alert_fired"' in log.read_text()


@asynccontextmanager
async def started(env: dict[str, str], log: Path) -> AsyncIterator[RunningDecahertz]:
    """``decahertz up``; the event loop runs on meanwhile, as the proxy needs it."""
    manager = running(env=env, log=log)
    decahertz = await asyncio.to_thread(manager.__enter__)
    try:
        yield decahertz
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


async def until_stored(decahertz: RunningDecahertz, alert: dict[str, Any]) -> None:
    """Waits until the database has the alert as it is."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while alert not in await asyncio.to_thread(listed, decahertz, alert["name"]):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.1)
