"""Clients that share no code with the product use every message of docs/websocket.md."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
import websockets

from api.live.limits import HubLimits
from tests.api.helpers import LIMIT_SECONDS, Stack, quote
from tests.servers import require

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "websocket.md"


def documented(title: str) -> dict[str, dict[str, Any]]:
    """The messages of a section of the page by type, with 0 for what is left out."""
    section = DOCUMENT.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    code = "".join(f"{line[4:]} " for line in section.splitlines() if line.startswith("    "))
    code += "".join(re.findall(r"^\| `(\{.*?\})` \|", section, re.MULTILINE))
    decoder, messages = json.JSONDecoder(), {}
    plain = re.sub(r"\{…\}", "{}", re.sub(r", …(?=[]}])", "", code))
    plain = re.sub(r"\[pattern\]", '["x"]', plain.replace("…", "0")).strip()
    while plain:
        message, end = decoder.raw_decode(plain)
        messages[message["type"]] = message
        plain = plain[end:].strip()
    return messages


class Independent:
    """A client made of ``websockets`` with ``json`` or ``msgpack``."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._is_binary = socket.subprotocol == "decahertz.v1.msgpack"
        self.said: set[str] = set()
        self.heard: dict[str, dict[str, Any]] = {}

    async def say(self, kind: str, **fields: object) -> None:
        self.said.add(kind)
        message = {"type": kind, **fields}
        await self._socket.send(msgpack.packb(message) if self._is_binary else json.dumps(message))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message, which is of this type."""
        async with asyncio.timeout(LIMIT_SECONDS):
            data = await self._socket.recv()
        assert isinstance(data, bytes) is self._is_binary
        message: dict[str, Any] = msgpack.unpackb(data) if isinstance(data, bytes) else json.loads(data)
        assert message["type"] == kind, message
        self.heard[kind] = message
        return message


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_every_message_is_as_documented(codec: str) -> None:
    protocols = [websockets.Subprotocol(f"decahertz.v1.{codec}")]
    async with (
        Stack(limits=HubLimits(resume_seconds=1e10)).running() as stack,
        websockets.connect(stack.live_url, subprotocols=protocols, proxy=None) as socket,
    ):
        stack.publish_cycle(1)
        client = Independent(socket)
        hello = await client.hear("connected")
        await client.say("subscribe", topics=["metrics:**", "quotes:A"], max_hz=None)
        snapshot = await client.hear("snapshot")
        assert [set(item) for item in snapshot["items"]] == [{"topic", "time_ns", "data"}]
        stack.publish_cycle(2)
        assert (await client.hear("update"))["data"]["ticks"] == 2
        await stack.emit(quote("A", bid=1.0))
        assert (await client.hear("event"))["data"]["bid"] == 1.0
        await client.say("subscribe", topics=["metrics:desk:*"], batch=True)
        await client.hear("snapshot")
        stack.publish_cycle(3)
        items = (await client.hear("updates"))["items"]
        assert [set(item) for item in items] == [{"topic", "time_ns", "data", "conflated"}]
        await client.say("unsubscribe", topics=["metrics:**", "quotes:A"])
        await client.say("authenticate", key="dhz_needed_by_nobody")
        await client.say("ping", id="x")
        assert (await client.hear("pong"))["id"] == "x"
        await stack.emit(quote("A", bid=2.0))
        position = snapshot["sequence"]
        await client.say("resume", topics=["quotes:A"], epoch=hello["epoch"], sequence=position)
        bids = [(await client.hear("event"))["data"]["bid"] for _ in range(2)]
        assert bids == [1.0, 2.0]
        assert (await client.hear("snapshot"))["items"] == []
        await client.say("subscribe", topics=["quo*"])
        await client.hear("error")
    messages = documented("Server messages")
    assert {kind: set(message) for kind, message in client.heard.items()} == {
        kind: set(message) for kind, message in messages.items()
    }
    assert client.said == {*documented("Client messages"), "authenticate"}


async def test_curl_opens_the_websocket_and_gets_the_first_message(stack: Stack) -> None:
    headers = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    options = [option for header in headers for option in ("-H", header)]
    curl = await asyncio.create_subprocess_exec(
        *(require("curl"), "-siN", "--http1.1", "--noproxy", "*", *options, f"{stack.api.url}/ws"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert curl.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            head = await curl.stdout.readuntil(b"\r\n\r\n")
            message = await curl.stdout.readuntil(b"}")
    finally:
        curl.kill()
        await curl.wait()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert json.loads(message[message.index(b"{") :])["type"] == "connected"
