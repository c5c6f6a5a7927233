"""Cost of asking whether trading may go on, for the trading thread.

The client's own thread keeps the answer up to date meanwhile, from a server in another process that says each
second that nothing has changed, as the recorder does. Another strategy and another instrument are halted, so
that both are looked up. Every call is timed by itself, so the figures include two clock readings; the
reference is a look at a ``threading.Event``, which tells neither the strategy nor its age.
"""

from __future__ import annotations

import asyncio
import statistics
import threading

import msgspec
from aiohttp import web

from benchmarks.harness import ROUNDS, Measure, compared, durations, serve, serving
from decahertz.trading_state import Objection, TradingState
from decahertz_client import Client

_CALLS = 100_000
_STATE = TradingState(
    time_ns=1,
    can_trade=False,
    objections=[
        Objection(reason="halted", strategy="other"),
        Objection(reason="halted", venue="kraken", instrument="ETH/USD"),
    ],
)


async def _serve() -> None:
    body = msgspec.msgpack.encode(_STATE)

    async def get(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query.get("wait_seconds", "0")))
        return web.Response(body=body, content_type="application/vnd.msgpack")

    app = web.Application()
    app.router.add_get("/api/v1/risk/can-trade", get)
    await serve(app)


def run() -> list[Measure]:
    """Measures the median and the 99.9th percentile of one call."""
    rounds: dict[str, list[list[int]]] = {"strategy": [], "instrument": [], "event": []}
    event = threading.Event()
    with serving("benchmarks.bench_can_trade") as url, Client(url, source="benchmark") as client:
        if not client.wait_can_trade(30) or not client.can_trade("momentum"):
            raise RuntimeError(f"the server does not answer: {client.trading_permission('momentum')}")
        for _ in range(ROUNDS + 1):
            rounds["strategy"].append(durations(lambda _: client.can_trade("momentum"), _CALLS))
            rounds["instrument"].append(
                durations(lambda _: client.can_trade("momentum", "kraken", "BTC/USD"), _CALLS)
            )
            rounds["event"].append(durations(lambda _: event.is_set(), _CALLS))

    def figure(name: str, share: float) -> float:
        each = (sorted(found)[int(len(found) * share)] for found in rounds[name][1:])
        return statistics.median(each) / 1000

    def row(title: str, name: str, share: float, goal: str) -> Measure:
        return compared(title, figure(name, share), figure("event", share), "µs", goal)

    return [
        row("can-trade", "strategy", 0.5, "ours <= 1"),
        row("can-trade of an instrument", "instrument", 0.5, "ours <= 1"),
        row("can-trade p99.9", "strategy", 0.999, "reported"),
    ]


if __name__ == "__main__":
    asyncio.run(_serve())
