"""A demo trading process: three small strategies on live quotes, recorded by Decahertz.

It reads quotes from the WebSocket, trades them at a simulated broker and sends its events through
``decahertz_client``, as your own trading process would. Nothing is scripted: signals follow from the quotes;
orders have latencies and fees, and are partially filled, rejected or cancelled; a perpetual swap pays
funding. Contracts are worth what their definitions say, and the account is in US dollars: coins are bought
with its cash, of everything else only the result is paid. It needs only ``aiohttp`` and
``decahertz_client``. This file connects it with the recorder; the trading is in the folder ``demo``.

    python examples/demo_trader.py --url http://127.0.0.1:8000 --instruments 6 --seed 1

Strategies keep their names from run to run. Positions left open by an earlier run, however it ended, are read
from the API at the start and traded on. Order requests of the strategy ``demo`` are taken from the recorder's
queue and executed at the same broker.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
from pathlib import Path

import aiohttp

from decahertz_client import Client, OrderRequest, OrderRequests, ProblemError, RequestRefusedError
from demo.earlier_runs import EarlierRuns, pauses
from demo.strategies import BY_REQUEST
from demo.trader import Trader

SOURCE = "demo-trader"
PROTOCOL = "decahertz.v1.json"
ALL_QUOTES = "quotes:*"
CLOSE_SECONDS = 1.2
LEASE_SECONDS = 6.0  # of an order request, unless it is renewed


async def _follow(session: aiohttp.ClientSession, url: str, trader: Trader) -> None:
    """Reads quotes; reconnects when the connection is lost."""
    waits = pauses()
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.ws_connect(f"{url}/ws", protocols=(PROTOCOL,), heartbeat=15.0) as socket:
                await _read(socket, trader)
                waits = pauses()
        await asyncio.sleep(next(waits))


async def _read(socket: aiohttp.ClientWebSocketResponse, trader: Trader) -> None:
    """Subscribes to all quotes until there are enough instruments, then only to those."""
    is_narrow = False
    await socket.send_json({"type": "subscribe", "topics": [ALL_QUOTES]})
    async for frame in socket:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            continue
        message = frame.json()
        if message["type"] != "event":
            continue
        trader.take(message["data"])
        if trader.is_complete and not is_narrow:
            is_narrow = True
            await socket.send_json({"type": "subscribe", "topics": trader.topics})
            await socket.send_json({"type": "unsubscribe", "topics": [ALL_QUOTES]})


async def _trade(session: aiohttp.ClientSession, url: str, trader: Trader) -> None:
    earlier_runs = EarlierRuns(session, url)
    trader.define(await earlier_runs.instruments())
    for account in trader.accounts:
        trader.carry_over(account, *await earlier_runs.read(account.strategy.name))
    follower = asyncio.create_task(_follow(session, url, trader))
    try:
        while not follower.done():
            trader.report()
            trader.check_time()
            await asyncio.wait([follower], timeout=1.0)
        follower.result()
    finally:
        follower.cancel()


def _take_requests(requests: OrderRequests, trader: Trader, loop: asyncio.AbstractEventLoop) -> None:
    """Takes order requests until the iterator is closed; blocks in a thread of its own."""
    try:
        for request in requests:
            try:
                request.begin()
            except RequestRefusedError:
                continue
            sent = asyncio.run_coroutine_threadsafe(_sent(trader, request), loop)
            if refusal := sent.result():
                request.reject(refusal)
    except ProblemError as problem:
        if problem.kind != "not-enabled":  # no key permits to trade
            _print(f"takes no order requests: {problem}")


async def _sent(trader: Trader, request: OrderRequest) -> str:
    return trader.execute(request)


def _key() -> dict[str, str]:
    """Returns the header with the key, if there is one."""
    file = os.environ.get("DECAHERTZ_KEY_FILE")
    key = os.environ.get("DECAHERTZ_KEY") or (Path(file).read_text().strip() if file else "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _trusted() -> ssl.SSLContext:
    """Returns whom to trust with https: those in the file, or those of the system."""
    file = os.environ.get("DECAHERTZ_CA_FILE")
    context = ssl.create_default_context(cafile=file or None)
    if file:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _until_stopped(stop: asyncio.Event, *, with_parent: bool) -> None:
    """Waits for a signal, or for the end of the parent process."""
    parent = os.getppid()
    while not stop.is_set() and not (with_parent and os.getppid() != parent):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


async def run(url: str, instruments: int, seed: int, *, with_parent: bool) -> None:
    """Trades until stopped; raises the error that ended the trading."""
    stop = _stop_on_signals()
    recorder = Client(url, source=SOURCE)  # it finds the same key and certificate on its own
    trader = Trader(recorder, instruments=instruments, seed=seed)
    _print(f"{len(trader.accounts)} strategies on up to {instruments} instruments of {url}")
    timeout = aiohttp.ClientTimeout(total=10.0)
    connector = aiohttp.TCPConnector(ssl=_trusted())
    async with aiohttp.ClientSession(timeout=timeout, headers=_key(), connector=connector) as session:
        requests = recorder.requests(capacity=8, strategies=[BY_REQUEST], lease_seconds=LEASE_SECONDS)
        loop = asyncio.get_running_loop()
        taking = asyncio.ensure_future(asyncio.to_thread(_take_requests, requests, trader, loop))
        work = asyncio.create_task(_trade(session, url, trader))
        stopped = asyncio.create_task(_until_stopped(stop, with_parent=with_parent))
        await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (work, stopped):
            task.cancel()
        results = await asyncio.gather(work, stopped, return_exceptions=True)
        trader.broker.stop()
        trader.report()
        await asyncio.to_thread(requests.close, CLOSE_SECONDS)
        await taking
    await recorder.aclose(CLOSE_SECONDS)
    stats = recorder.stats()
    lost = sum(stats.dropped.values()) + stats.pending
    totals = f"{trader.broker.orders} orders, {trader.broker.fills} fills"
    _print(
        f"{totals}, {stats.acknowledged} of {stats.emitted} events recorded" + (f": {stats}" if lost else "")
    )
    errors = [r for r in results if isinstance(r, Exception)]
    if errors:
        raise errors[0]


def _print(text: str) -> None:
    sys.stdout.write(f"demo trader: {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parses the arguments and runs."""
    parser = argparse.ArgumentParser(description="A demo trading process that Decahertz records.")
    url = os.environ.get("DECAHERTZ_URL")
    parser.add_argument("--url", default=url or "http://127.0.0.1:8000", help="URL of the API")
    parser.add_argument("--instruments", type=int, default=6, help="maximum number of instruments to trade")
    parser.add_argument("--seed", type=int, default=1, help="seed of latencies, rejections and partial fills")
    arguments = parser.parse_args()
    # The last line reports lost events.
    logging.getLogger("decahertz_client").addHandler(logging.NullHandler())
    # Started by `decahertz up`, it ends with its parent, even after a crash.
    with_parent = url is not None
    asyncio.run(
        run(arguments.url.rstrip("/"), arguments.instruments, arguments.seed, with_parent=with_parent)
    )


if __name__ == "__main__":
    main()
