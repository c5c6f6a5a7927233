"""A trading process that executes order requests, and can be killed at any moment.

    python taker.py URL NAME BROKER

Its broker is the file BROKER: each order is a line with the id of its request. It needs nothing but
``decahertz_client``.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from decahertz_client import Client, OrderRequests, RequestRefusedError

_THREADS = 4
_CAPACITY = 8
_LEASE_SECONDS = 2.0


def work(requests: OrderRequests, broker: int) -> None:
    """Executes requests until the process ends."""
    for request in requests:
        try:
            request.begin()
        except RequestRefusedError:
            continue
        os.write(broker, f"{request.request_id}\n".encode())
        request.ack()


def main(url: str, name: str, file: Path) -> None:
    """Executes requests in several threads."""
    broker = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with (
        Client(url, source=name) as client,
        client.requests(_CAPACITY, lease_seconds=_LEASE_SECONDS) as taken,
    ):
        threads = [threading.Thread(target=work, args=(taken, broker)) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
