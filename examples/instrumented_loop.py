"""Trading loop on a simulated price, instrumented for Decahertz: ``python instrumented_loop.py [URL]``.

Without the lines that start with ``recorder`` it trades exactly the same.
"""  # noqa: INP001 - a script, not a package

import random
import sys
import time
from typing import Any

from decahertz_client import Client

AT: dict[str, Any] = {"strategy": "example", "venue": "paper", "instrument": "BTC/USD"}
URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"

with Client(URL, source="instrumented-loop") as recorder:
    cash, held, price, start = 10_000.0, 0, 100.0, time.time_ns()
    for step in range(200):
        price *= 1 + random.gauss(0, 0.001)
        recorder.quote(venue="paper", instrument="BTC/USD", bid=price - 0.01, ask=price + 0.01)
        if step % 10 == 0:
            side, name = ("sell" if held else "buy"), f"{start}-{step}"
            recorder.signal(**AT, signal_id=name, direction=side, price=price, risk=0.5)
            recorder.order(**AT, order_id=name, signal_id=name, state="submitted", side=side, quantity=1)
            held, cash = (0, cash + price) if held else (1, cash - price)
            recorder.fill(**AT, order_id=name, fill_id=name, side=side, price=price, quantity=1, risk=0.5)
            recorder.order(**AT, order_id=name, signal_id=name, state="filled", side=side, quantity=1)
            recorder.position(**AT, quantity=held, mark_price=price)
            recorder.equity(strategy="example", equity=cash + held * price, cash=cash)
        time.sleep(0.005)
