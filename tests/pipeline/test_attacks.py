"""Broken and hostile connections: a few seconds here, ten minutes with scripts/soak.

The process stays up, its memory does not grow, and a reader and an emitter that keep to the protocol notice
nothing of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import websockets
from aiohttp import ClientSession

from decahertz.clock import SystemClock
from tests.pipeline.attacks import ATTACKS, attack
from tests.pipeline.running import RunningDecahertz, wait_until

MINUTES = float(os.environ.get("DECAHERTZ_ATTACK_MINUTES", "0.08"))
SEED = int(os.environ.get("DECAHERTZ_ATTACK_SEED", "0")) or Random().randrange(1, 2**32)
"""Printed; the attacks are the same again with the same seed, but not their order in time."""
GROWTH_BYTES = 48 * 1024 * 1024
LIMIT_SECONDS = 30.0
_OWN_CONNECTIONS = 10
_ATTACKERS = 12


class Bystander:
    """A reader and an emitter that keep to the protocol."""

    def __init__(self, decahertz: RunningDecahertz) -> None:
        self._decahertz = decahertz
        self._clock = SystemClock()
        self.sent = 0
        self.heard: list[int] = []
        self.states = 0

    async def read(self, subscribed: asyncio.Event) -> None:
        """Reads until cancelled; every event in order, and no state skipped."""
        async with websockets.connect(self._decahertz.websocket, proxy=None, max_size=None) as socket:
            await socket.send('{"type": "subscribe", "topics": ["risk", "metrics:system:**"]}')
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                match message["type"]:
                    case "snapshot":
                        subscribed.set()
                    case "update":
                        assert message["conflated"] == 0
                        self.states += 1
                    case "event" if message["data"].get("name") == "bystander":
                        self.heard.append(int(message["data"]["value"]))

    async def emit(self, session: ClientSession) -> None:
        """Sends one more event."""
        event = {
            "type": "risk",
            "time_ns": self._clock.time_ns(),
            "name": "bystander",
            "value": self.sent + 1,
        }
        body = {"source": "bystander", "epoch": 1, "first_sequence": self.sent + 1, "events": [event]}
        async with session.post(f"{self._decahertz.api}/api/v1/events", json=body) as answer:
            assert answer.status == 200, await answer.text()
        self.sent += 1


@pytest.mark.timeout(MINUTES * 60 + 120)
async def test_attackers_get_errors_and_the_others_notice_nothing(
    idle: tuple[RunningDecahertz, dict[str, str]],
) -> None:
    decahertz, env = idle
    sys.stdout.write(f"seed {SEED}\n")
    process = psutil.Process(decahertz.process.pid)
    port = urlsplit(decahertz.api).port
    assert port is not None
    bystander = Bystander(decahertz)
    answers: Counter[str] = Counter()
    sizes: list[int] = []
    subscribed = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with ClientSession() as session:
        reading = asyncio.create_task(bystander.read(subscribed))
        await asyncio.wait_for(subscribed.wait(), LIMIT_SECONDS)
        files = process.num_fds()
        end = loop.time() + MINUTES * 60
        attackers = [
            asyncio.create_task(_attack_until(end, port, Random(SEED + number), answers))
            for number in range(_ATTACKERS)
        ]
        while loop.time() < end:
            await bystander.emit(session)
            sizes.append(process.memory_info().rss)
            await asyncio.sleep(0.1)
            assert not reading.done(), reading.result()
        await asyncio.gather(*attackers)
        await bystander.emit(session)
        async with asyncio.timeout(LIMIT_SECONDS):
            while bystander.heard[-1:] != [bystander.sent]:
                assert not reading.done(), reading.result()
                await asyncio.sleep(0.01)
        await asyncio.to_thread(
            wait_until,
            "the bystander to be the only client",
            LIMIT_SECONDS,
            lambda: len(decahertz.get("/api/v1/system/stats")["clients"]) == 1,
        )
        reading.cancel()
    sys.stdout.write(f"{dict(sorted(answers.items()))}, {sizes[-1] / 2**20:.0f} MiB\n")
    assert bystander.heard == list(range(1, bystander.sent + 1))
    assert bystander.states
    assert decahertz.problems() == []
    # The memory of a warm process: every kind of attack has been made.
    assert process.memory_info().rss - sizes[len(sizes) // 2] < GROWTH_BYTES
    # The recorder's own connections to its database come and go; attackers would leave many more.
    wait_until("closed connections", LIMIT_SECONDS, lambda: process.num_fds() <= files + _OWN_CONNECTIONS)
    assert not {status for status in answers if status.startswith("5") and status != "503"}
    assert _errors(Path(env["DECAHERTZ_DATA_DIR"], "log")) == []


def _errors(log: Path) -> list[str]:
    """Lines of the log that report a fault of what was attacked."""
    faults = re.compile(r'Traceback|"part": "(api|websocket)".*"level": "(error|critical)"')
    return [line for line in log.read_text().splitlines() if faults.search(line)]


async def _attack_until(end: float, port: int, random: Random, answers: Counter[str]) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        chosen = random.choice(ATTACKS)
        received = await attack(port, random, chosen)
        assert b"Traceback" not in received
        for status in re.findall(rb"HTTP/1\.\d (\d{3})", received):
            answers[status.decode()] += 1
        answers[chosen.__name__] += 1
