"""A reader of the WebSocket that resumes, across disconnects and SIGKILL of the service."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
import websockets
from websockets.sync.client import ClientConnection, connect

from decahertz.risk_limits import CAN_TRADE
from storage.postgres.embedded import Installation
from tests.chaos.world import LIMIT_SECONDS, World, live_through, world
from tests.pipeline.running import IS_LONG, wait_until

pytestmark = pytest.mark.timeout(3000 if IS_LONG else 240)
_AWAY_SECONDS = 30.0 if IS_LONG else 1.5
_KILLS = 5 if IS_LONG else 1
_TOPICS = ["quotes:BTC/USD", "fills", "risk", "logs"]
_NUMBERS = {"quote": "sequence", "fill": "fill_id", "log": "message", "risk": "value"}


class Resuming:
    """Keeps its position, and nothing else, between two connections."""

    def __init__(self) -> None:
        self.epoch = self.sequence = 0
        self.sequences: list[int] = []
        self.numbers: list[int] = []
        self._open = ExitStack()
        self._socket: ClientConnection | None = None
        self._protocol = "decahertz.v1.json"

    def connect(self, url: str) -> None:
        """Subscribes the first time, and resumes from then on; another codec each time."""
        self._protocol = "decahertz.v1.msgpack" if "json" in self._protocol else "decahertz.v1.json"
        self.disconnect()
        protocols = [websockets.Subprotocol(self._protocol)]
        self._socket = self._open.enter_context(
            connect(url, subprotocols=protocols, proxy=None, max_size=None)
        )
        hello = self._hear()
        if self.epoch:
            self._say(type="resume", topics=_TOPICS, epoch=self.epoch, sequence=self.sequence)
        else:
            self._say(type="subscribe", topics=_TOPICS)
        self.epoch = hello["epoch"]

    def read(self, events: int) -> None:
        """Reads that many more events, across any number of other messages."""
        goal = len(self.numbers) + events
        while len(self.numbers) < goal:
            message = self._hear()
            assert message["type"] in ("event", "snapshot"), message
            self.sequence = message["sequence"]
            if message["type"] == "event":
                data = message["data"]
                self.sequences.append(message["sequence"])
                if data["type"] not in _NUMBERS or (data["type"] == "risk" and data["name"] == CAN_TRADE):
                    continue  # the recorder's own
                self.numbers.append(int(data[_NUMBERS[data["type"]]]))

    def read_to_the_end(self) -> None:
        """Reads until the service is gone."""
        with pytest.raises(websockets.ConnectionClosed):
            self.read(10**9)

    def disconnect(self) -> None:
        self._open.close()

    def _hear(self) -> dict[str, Any]:
        assert self._socket is not None
        data = self._socket.recv(timeout=LIMIT_SECONDS)
        message = msgpack.unpackb(data) if isinstance(data, bytes) else json.loads(data)
        assert isinstance(message, dict)
        return message

    def _say(self, **message: object) -> None:
        assert self._socket is not None
        is_binary = "msgpack" in self._protocol
        self._socket.send(msgpack.packb(message) if is_binary else json.dumps(message))


def test_every_event_comes_once_and_in_order(installation: Installation, folder: Path) -> None:
    with world(folder, installation) as chaos:
        url = f"ws://127.0.0.1:{chaos.pipeline.port}/ws"
        reader = Resuming()
        reader.connect(url)
        chaos.start_client(rate=500)
        reader.read(200)
        away(chaos, reader)
        reader.connect(url)
        reader.read(200)
        for _ in range(_KILLS):  # while it reads, and while it is away
            chaos.pipeline.kill()
            reader.read_to_the_end()
            chaos.start_pipeline()
            reader.connect(url)
            reader.read(100)
            away(chaos, reader)
            chaos.pipeline.kill()
            chaos.start_pipeline()
            reader.connect(url)
            reader.read(100)
        reader.disconnect()
        chaos.postgres.stop()
        chaos.wait_acknowledged(500)  # safe in the spool alone
        chaos.pipeline.kill()
        chaos.postgres.start()
        chaos.start_pipeline()
        reader.connect(url)
        reader.read(100)
        chaos.emitter.stop()
        (figures,) = chaos.emitter.figures
        reader.read(figures["emitted"] - len(reader.numbers))
        reader.disconnect()
        assert reader.numbers == list(range(1, figures["emitted"] + 1))
        assert reader.sequences == sorted(set(reader.sequences))


def away(chaos: World, reader: Resuming) -> None:
    """Disconnect for a while, in which events arrive."""
    reader.disconnect()
    before = chaos.acknowledged()
    live_through(_AWAY_SECONDS)
    wait_until("events that it misses", LIMIT_SECONDS, lambda: chaos.acknowledged() > before + 100)
