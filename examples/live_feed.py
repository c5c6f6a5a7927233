"""Live data with nothing of Decahertz installed: ``python live_feed.py [URL] [TOPIC…]``.

Needs ``websockets`` and ``msgpack``. Prints a line for each state and event until it is stopped, and opens a
lost connection again. ``decahertz_client.Reader.live`` does the same and more.
"""  # noqa: INP001 - a script, not a package

import asyncio
import contextlib
import sys
import time
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/ws"
TOPICS = sys.argv[2:] or ["metrics:market:**", "fills"]


class RefusedError(Exception):
    """The server refuses the topics."""


def show(message: dict[str, Any]) -> None:
    """Prints a message of the server; docs/websocket.md describes each type."""
    kind = message["type"]
    if kind in ("update", "event"):
        age_ms = (time.time_ns() - message["time_ns"]) / 1e6
        print(f"{kind} {message['topic']} {age_ms:.1f} ms old: {message['data']}", flush=True)
    elif kind == "snapshot":
        for item in message["items"]:
            print(f"snapshot {item['topic']}: {item['data']}", flush=True)
    elif kind == "error":
        raise RefusedError(f"{message['code']}: {message['text']}")


async def follow(connection: ClientConnection) -> None:
    """Subscribes, and shows what comes until the connection is lost."""
    await connection.send(msgpack.packb({"type": "subscribe", "topics": TOPICS, "max_hz": 2}))
    async for data in connection:
        show(msgpack.unpackb(data))


async def main() -> None:
    """Connects again with growing pauses, for as long as the program runs: ``connect`` iterates."""
    protocol = Subprotocol("decahertz.v1.msgpack")
    async for connection in connect(URL, subprotocols=[protocol], compression=None, proxy=None):
        with contextlib.suppress(ConnectionClosed):
            await follow(connection)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except RefusedError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(0)
