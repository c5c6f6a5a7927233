"""A trading process that records how many of its events were acknowledged.

    python emitter.py URL SOURCE FILE EVENTS_PER_SECOND

Its events are numbered from 1 in each start, and it never drops one itself, so the number of an event is its
sequence. To FILE it appends a line ``epoch acknowledged`` whenever more of them became durable: the first
``acknowledged`` events of that epoch are promised to be in the database once. SIGTERM makes it send what is
left; it then prints its figures. It needs nothing but ``decahertz_client``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from decahertz_client import Client

_STEP_SECONDS = 0.02
_CLOSE_SECONDS = 60.0
_WHERE: dict[str, Any] = {"venue": "paper", "instrument": "BTC/USD"}


def emit(client: Client, number: int) -> None:
    """The event of this number; the number can be read back from it, whatever its type."""
    kind = number % 4
    if kind == 0:
        client.quote(**_WHERE, bid=99.5, ask=100.5, sequence=number)
    elif kind == 1:
        side = "buy" if number % 8 == 1 else "sell"
        client.fill(
            **_WHERE,
            strategy="chaos",
            order_id=f"{client.stats().epoch}-{number}",
            fill_id=f"{number}",
            side=side,
            price=100,
            quantity=1,
        )
    elif kind == 2:
        client.log(component="chaos", level="info", message=f"{number}")
    else:
        client.risk(name="chaos", value=number)


def main(url: str, source: str, file: Path, rate: float) -> None:
    """Emits until SIGTERM."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    client = Client(url, source=source, capacity=10_000_000, timeout_seconds=5.0)
    began, number, written = time.monotonic(), 0, -1
    with file.open("a", buffering=1) as promises:

        def note() -> None:
            nonlocal written
            stats = client.stats()
            if stats.acknowledged != written:
                promises.write(f"{stats.epoch} {stats.acknowledged}\n")
                written = stats.acknowledged

        while not stopped:
            due = int((time.monotonic() - began) * rate)
            while number < due:
                number += 1
                emit(client, number)
            note()
            time.sleep(_STEP_SECONDS)
        client.close(_CLOSE_SECONDS)
        note()
    stats = client.stats()
    figures = {
        "epoch": stats.epoch,
        "emitted": stats.emitted,
        "acknowledged": stats.acknowledged,
        "pending": stats.pending,
        "dropped": stats.dropped,
        "last_error": stats.last_error,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
