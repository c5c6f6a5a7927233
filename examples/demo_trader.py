"""A demo trading process: three small strategies on live quotes, recorded by Decahertz.

It reads quotes from the WebSocket, trades them at a simulated broker and sends its events through
``decahertz_client``, as your own trading process would. Nothing is scripted: signals follow from the quotes;
orders have latencies and fees, and are partially filled, rejected or cancelled. It needs only ``aiohttp``
and ``decahertz_client``.

    python examples/demo_trader.py --url http://127.0.0.1:8000 --instruments 6 --seed 1

Strategies keep their names from run to run. Positions left open by an earlier run, however it ended, are read
from the API at the start and traded on.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import math
import os
import random
import signal
import ssl
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

import aiohttp

from decahertz_client import Client

SOURCE = "demo-trader"
PROTOCOL = "decahertz.v1.json"
ALL_QUOTES = "quotes:*"
FAST, SLOW = 8, 40  # quotes in the two moving averages
WARM_UP_QUOTES = 20  # quotes before a strategy trades an instrument
NOTIONAL = 10_000.0  # money per trade
START_EQUITY = 1_000_000.0
TAKER_FEE, MAKER_FEE = 0.2e-4, -0.05e-4  # of the notional
STOP = 2.5  # standard deviations of the price around its slow mean: the R of a trade
MAX_HOLD = 8.0  # seconds until a position is closed
ORDER_LIFETIME = 1.5  # seconds until a limit order is cancelled
COOLDOWN = 0.5  # seconds between two trades of one strategy in one instrument
WINDOW_NS = 120 * 10**9  # no position is held longer, so open positions were opened within it
CLOSE_SECONDS = 1.2

Key = tuple[str, str]
"""Venue and instrument."""


@dataclass(frozen=True)
class Quote:
    """Best bid and ask."""

    bid: float
    ask: float
    bid_size: float
    ask_size: float

    @property
    def mid(self) -> float:
        """Mean of bid and ask."""
        return (self.bid + self.ask) / 2


class View:
    """One instrument as the strategies see it: the quote, and moving averages of the price."""

    def __init__(self, quote: Quote) -> None:
        self.quote = quote
        self.count = 0
        self._fast = self._slow = quote.mid
        self._variance = 0.0

    def take(self, quote: Quote) -> None:
        """Updates by the next quote."""
        change = quote.mid - self.quote.mid
        self._variance += (change * change - self._variance) / min(self.count + 1, SLOW)
        self._fast += (quote.mid - self._fast) / FAST
        self._slow += (quote.mid - self._slow) / SLOW
        self.quote = quote
        self.count += 1

    @property
    def deviation(self) -> float:
        """Standard deviation of a random walk around its ``SLOW``-step moving average, in price units."""
        return max(math.sqrt(self._variance * SLOW / 2), (self.quote.ask - self.quote.bid) / 2, 1e-12)

    @property
    def score(self) -> float:
        """Distance of the price from its slow mean, in standard deviations."""
        return (self.quote.mid - self._slow) / self.deviation

    @property
    def trend(self) -> float:
        """Distance of the fast mean from the slow one, in standard deviations."""
        return (self._fast - self._slow) / self.deviation


@dataclass(frozen=True)
class Intent:
    """An order that a strategy wants to place."""

    side: str
    reason: str
    strength: float = 1.0
    is_passive: bool = False


class Strategy(ABC):
    """Decides when to enter a position, and when to exit before the stop or the time limit."""

    name: ClassVar[str]

    @abstractmethod
    def enter(self, view: View) -> Intent | None:
        """Returns the order that opens a position, or ``None``."""

    @abstractmethod
    def exit(self, view: View, side: str, age: float) -> Intent | None:
        """Returns the order that closes a position opened on ``side`` ``age`` seconds ago, or ``None``."""


class MeanReversion(Strategy):
    """Buys far below the mean and sells far above it."""

    name = "mean-reversion"

    def enter(self, view: View) -> Intent | None:
        score = view.score
        if abs(score) < 1.2:  # noqa: PLR2004 - the parameter of the strategy
            return None
        return Intent("sell" if score > 0 else "buy", f"{score:+.1f} deviations from the mean", abs(score))

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - other strategies use it
        is_back = view.score > -0.2 if side == "buy" else view.score < 0.2  # noqa: PLR2004 - a parameter
        return Intent(_other(side), "back at the mean") if is_back else None


class Momentum(Strategy):
    """Follows the fast mean away from the slow one."""

    name = "momentum"

    def enter(self, view: View) -> Intent | None:
        trend = view.trend
        if abs(trend) < 0.7:  # noqa: PLR2004 - the parameter of the strategy
            return None
        return Intent("buy" if trend > 0 else "sell", f"trend of {trend:+.1f} deviations", abs(trend))

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - other strategies use it
        is_over = view.trend < 0.2 if side == "buy" else view.trend > -0.2  # noqa: PLR2004 - a parameter
        return Intent(_other(side), "the trend is over") if is_over else None


class MarketMaker(Strategy):
    """Quotes at the touch on the larger side, then on the other one; crosses the spread after a while."""

    name = "market-maker"

    def enter(self, view: View) -> Intent | None:
        quote = view.quote
        share = quote.bid_size / max(quote.bid_size + quote.ask_size, 1e-12)
        side = "buy" if share > 0.5 else "sell"  # noqa: PLR2004 - an even book
        return Intent(side, f"{share:.0%} of the size at the bid", abs(2 * share - 1), is_passive=True)

    def exit(self, view: View, side: str, age: float) -> Intent | None:  # noqa: ARG002 - other strategies use it
        is_passive = age < MAX_HOLD / 2
        reason = "earn the spread" if is_passive else "waited too long at the touch"
        return Intent(_other(side), reason, is_passive=is_passive)


@dataclass(eq=False)
class Order:
    """An order, shared by its desk and the broker."""

    desk: Desk
    order_id: str
    signal_id: str
    side: str
    quantity: float
    limit: float | None
    arrival_price: float
    placed: float = field(default_factory=time.monotonic)
    filled: float = 0.0
    fills: int = 0
    state: str = "new"
    is_cancelling: bool = False

    @property
    def left(self) -> float:
        """The unfilled quantity."""
        return self.quantity - self.filled

    @property
    def is_done(self) -> bool:
        """Whether the order has a final state."""
        return self.state in ("filled", "cancelled", "rejected")


class Desk:
    """Trades one instrument for one strategy: at most one order at a time, which never flips the position."""

    def __init__(self, account: Account, key: Key, broker: Broker) -> None:
        self.account = account
        self.key = key
        self.broker = broker
        self.position = 0.0
        self.average = 0.0
        self.stop = 0.0
        """Largest adverse price move before the position is closed."""
        self.order: Order | None = None
        self._since = time.monotonic()
        self.at: dict[str, Any] = {"strategy": account.strategy.name, "venue": key[0], "instrument": key[1]}
        """The fields common to all events of this desk."""

    def carry_over(self, position: float, average: float) -> None:
        """Starts with a position of an earlier run; it is closed at the time limit."""
        self.position, self.average, self.stop = position, average, math.inf

    def decide(self, view: View) -> None:
        """Decides whether to trade; called for each quote, and once a second."""
        now = time.monotonic()
        order = self.order
        if order is not None:
            if order.limit is not None and now - order.placed > ORDER_LIFETIME:
                self.broker.cancel(order)
        elif self.position:
            self._maybe_exit(view, now - self._since)
        elif view.count >= WARM_UP_QUOTES and now - self._since > COOLDOWN:
            intent = self.account.strategy.enter(view)
            if intent is not None:
                self.stop = STOP * view.deviation
                self._act(view, intent, float(f"{NOTIONAL / view.quote.mid:.4g}"), intent.side)

    def _maybe_exit(self, view: View, age: float) -> None:
        side = "buy" if self.position > 0 else "sell"
        loss = (self.average - view.quote.mid) * (1 if side == "buy" else -1)
        if loss >= self.stop:
            intent: Intent | None = Intent(_other(side), "stop")
        elif age > MAX_HOLD:
            intent = Intent(_other(side), "held too long")
        else:
            intent = self.account.strategy.exit(view, side, age)
        if intent is not None:
            self._act(view, intent, abs(self.position), "flat")

    def _act(self, view: View, intent: Intent, quantity: float, direction: str) -> None:
        quote = view.quote
        number = self.account.next_number()
        price = (quote.bid if intent.side == "buy" else quote.ask) if intent.is_passive else None
        self.account.recorder.signal(
            **self.at,
            signal_id=f"{number}-signal",
            direction=direction,
            strength=intent.strength,
            price=quote.mid,
            risk=None if direction == "flat" else self.stop * quantity,
            reason=intent.reason,
        )
        self.order = Order(self, number, f"{number}-signal", intent.side, quantity, price, quote.mid)
        self.broker.submit(self.order)

    def on_fill(self, order: Order, price: float, quantity: float, fee: float) -> None:
        """Applies a fill."""
        signed = quantity if order.side == "buy" else -quantity
        if self.position * signed >= 0:
            held = abs(self.position)
            self.average = (self.average * held + price * quantity) / (held + quantity)
            if not self.position:
                self._since = time.monotonic()
        self.position += signed
        if abs(self.position) < 1e-9 * order.quantity:  # the rest is rounding
            self.position = 0.0
        self.account.cash -= signed * price + fee
        self.report(price)

    def on_done(self) -> None:
        """Forgets the finished order."""
        self.order = None
        if not self.position:
            self._since = time.monotonic()

    def report(self, mark: float) -> None:
        """Reports the position."""
        self.account.recorder.position(
            **self.at,
            quantity=self.position,
            average_price=self.average if self.position else None,
            mark_price=mark,
        )


class Account:
    """Cash and desks of one strategy."""

    def __init__(self, strategy: Strategy, recorder: Client) -> None:
        self.strategy = strategy
        self.recorder = recorder
        self.cash = START_EQUITY
        self.desks: dict[Key, Desk] = {}
        started = f"{time.time_ns() // 10**6:x}"
        self._numbers = (f"{strategy.name}-{started}-{n}" for n in itertools.count(1))

    def next_number(self) -> str:
        """Returns an order id that is unique across all runs."""
        return next(self._numbers)

    def report(self, views: dict[Key, View]) -> None:
        """Reports equity, open positions and exposure, and sends a heartbeat."""
        name = self.strategy.name
        equity, gross = self.cash, 0.0
        for key, desk in self.desks.items():
            if desk.position:
                mark = views[key].quote.mid if key in views else desk.average
                equity += desk.position * mark
                gross += abs(desk.position) * mark
                desk.report(mark)
        limit = 1.25 * NOTIONAL * max(len(self.desks), 1)  # a price may rise while a position is open
        self.recorder.equity(strategy=name, equity=equity, cash=self.cash)
        self.recorder.risk(
            name="gross-exposure", value=gross, limit=limit, strategy=name, breached=gross > limit
        )
        self.recorder.heartbeat(component=name)


class Broker:
    """A simulated venue: answers with a latency and fills orders at the current quotes."""

    def __init__(self, recorder: Client, views: dict[Key, View], rng: random.Random) -> None:
        self.orders = 0
        self.fills = 0
        self._recorder = recorder
        self._views = views
        self._random = rng
        self._working: dict[Order, None] = {}

    def submit(self, order: Order) -> None:
        """Submits an order."""
        self.orders += 1
        self._working[order] = None
        self._report(order, "submitted")
        self._later(order, self._accept)

    def cancel(self, order: Order) -> None:
        """Requests a cancellation; until it is processed, the order may still be filled."""
        if not order.is_cancelling:
            order.is_cancelling = True
            self._later(order, lambda o: self._end(o, "cancelled", "not filled in time"))

    def on_quote(self, key: Key, quote: Quote) -> None:
        """Fills the limit orders that the market has reached."""
        for order in [o for o in self._working if o.desk.key == key and o.limit is not None]:
            assert order.limit is not None  # noqa: S101 - chosen so
            if order.state not in ("accepted", "partially_filled"):
                continue
            ours, theirs, size = (
                (quote.bid, quote.ask, quote.bid_size)
                if order.side == "buy"
                else (quote.ask, quote.bid, quote.ask_size)
            )
            sign = 1 if order.side == "buy" else -1
            # The market crossed the limit, or the order has reached the front of the queue at the touch.
            is_crossed = (order.limit - theirs) * sign >= 0
            is_first_in_queue = order.limit == ours and self._random.random() < 0.15  # noqa: PLR2004 - a probability
            if is_crossed or is_first_in_queue:
                self._fill(order, order.limit, self._fill_quantity(order, size), "maker")

    def stop(self) -> None:
        """Cancels all working orders; positions stay open."""
        for order in list(self._working):
            self._end(order, "cancelled", "the trading process stops")

    def _accept(self, order: Order) -> None:
        if self._random.random() < 0.015:  # noqa: PLR2004 - a probability
            self._end(order, "rejected", "refused by the simulated venue")
            return
        self._report(order, "accepted")
        if order.limit is None:
            self._take(order)

    def _take(self, order: Order) -> None:
        """Fills a market order with the quoted size; the rest follows later."""
        quote = self._views[order.desk.key].quote
        price, size = (quote.ask, quote.ask_size) if order.side == "buy" else (quote.bid, quote.bid_size)
        self._fill(order, price, self._fill_quantity(order, size), "taker")
        if not order.is_done:
            self._later(order, self._take)

    def _fill_quantity(self, order: Order, size: float) -> float:
        share = 1.0 if self._random.random() < 0.8 else self._random.uniform(0.3, 0.8)  # noqa: PLR2004 - a probability
        part = min(order.left * share, size)
        # After a few partial fills, or if almost nothing would remain, fill the rest.
        return order.left if order.fills >= 4 or part > 0.98 * order.left or not part else part  # noqa: PLR2004 - a limit

    def _fill(self, order: Order, price: float, quantity: float, liquidity: str) -> None:
        self.fills += 1
        order.fills += 1
        desk = order.desk
        is_opening = desk.position * (1 if order.side == "buy" else -1) >= 0
        fee = price * quantity * (MAKER_FEE if liquidity == "maker" else TAKER_FEE)
        is_last = quantity >= order.left
        order.filled = order.quantity if is_last else order.filled + quantity
        self._recorder.fill(
            **desk.at,
            order_id=order.order_id,
            fill_id=f"{order.order_id}-{order.fills}",
            side=order.side,
            price=price,
            quantity=quantity,
            fee=fee,
            liquidity=liquidity,
            risk=desk.stop * quantity if is_opening and math.isfinite(desk.stop) else None,
        )
        desk.on_fill(order, price, quantity, fee)
        if is_last:
            self._end(order, "filled", None)
        else:
            self._report(order, "partially_filled")

    def _end(self, order: Order, state: str, reason: str | None) -> None:
        if not order.is_done:
            self._report(order, state, reason)
            del self._working[order]
            order.desk.on_done()

    def _report(self, order: Order, state: str, reason: str | None = None) -> None:
        order.state = state
        self._recorder.order(
            **order.desk.at,
            order_id=order.order_id,
            signal_id=order.signal_id,
            state=state,
            side=order.side,
            quantity=order.quantity,
            filled_quantity=order.filled,
            price=order.limit,
            arrival_price=order.arrival_price,
            order_type="market" if order.limit is None else "limit",
            reason=reason,
        )

    def _later(self, order: Order, act: Any) -> None:  # noqa: ANN401 - a function of the order
        """Acts after the latency of the venue: log-normal, median 25 ms."""
        latency = 0.025 * self._random.lognormvariate(0.0, 0.6)
        asyncio.get_running_loop().call_later(latency, lambda: None if order.is_done else act(order))


class Trader:
    """Passes quotes to the desks of all strategies."""

    def __init__(self, recorder: Client, *, instruments: int, seed: int) -> None:
        self.views: dict[Key, View] = {}
        self.broker = Broker(recorder, self.views, random.Random(seed))  # noqa: S311 - a market, no secret
        strategies = (MeanReversion(), Momentum(), MarketMaker())
        self.accounts = [Account(strategy, recorder) for strategy in strategies]
        self._max_instruments = instruments
        self._carried_over: set[Key] = set()

    @property
    def is_complete(self) -> bool:
        """Whether the maximum number of instruments is reached."""
        return len(self.views) >= self._max_instruments

    @property
    def topics(self) -> list[str]:
        """Topics of the quotes of all instruments traded or carried over."""
        return sorted({f"quotes:{instrument}" for _, instrument in {*self.views, *self._carried_over}})

    def take(self, data: dict[str, Any]) -> None:
        """Takes a quote event from the WebSocket; one-sided quotes are ignored."""
        if data.get("bid") is None or data.get("ask") is None:
            return
        key = data["venue"], data["instrument"]
        quote = Quote(data["bid"], data["ask"], data.get("bid_size") or 0.0, data.get("ask_size") or 0.0)
        view = self.views.get(key)
        if view is None:
            if self.is_complete and key not in self._carried_over:
                return
            view = self.views[key] = View(quote)
        view.take(quote)
        self.broker.on_quote(key, quote)
        for account in self.accounts:
            self._desk(account, key).decide(view)

    def carry_over(self, account: Account, positions: dict[Key, tuple[float, float]], equity: float) -> None:
        """Starts with the positions of an earlier run: position and average price by instrument."""
        account.cash = equity
        for key, (position, average) in positions.items():
            self._carried_over.add(key)
            self._desk(account, key).carry_over(position, average)
            account.cash -= position * average

    def report(self) -> None:
        """Reports each strategy; called once a second."""
        for account in self.accounts:
            account.report(self.views)

    def check_time(self) -> None:
        """Checks the age of orders and positions, also if no quotes arrive."""
        for account in self.accounts:
            for key, desk in account.desks.items():
                if key in self.views:
                    desk.decide(self.views[key])

    def _desk(self, account: Account, key: Key) -> Desk:
        desk = account.desks.get(key)
        if desk is None:
            desk = account.desks[key] = Desk(account, key, self.broker)
        return desk


class EarlierRuns:
    """Reads the positions and equity of earlier runs from the API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def read(self, strategy: str) -> tuple[dict[Key, tuple[float, float]], float]:
        """Returns the open positions (signed quantity, average price) and the last equity of a strategy."""
        newest = await self._page("fills", strategy=strategy, limit=1)
        if not newest["items"]:
            return {}, START_EQUITY
        end = newest["items"][0]["time_ns"]
        start = end - WINDOW_NS
        fills = await self._all("fills", strategy=strategy, start=start)
        flat_since: dict[Key, int] = {}
        for trade in await self._all("trades", strategy=strategy, start=start):
            key = trade["venue"], trade["instrument"]
            flat_since[key] = max(flat_since.get(key, 0), trade["closed_ns"])
        positions = dict(_open_positions(fills, flat_since))
        return positions, await self._equity(strategy, start, end)

    async def _equity(self, strategy: str, start: int, end: int) -> float:
        history = await self._page(
            "metrics/history",
            collector="strategy",
            fields="equity",
            strategy=strategy,
            start=start,
            end=end + 10**9,
        )
        known = [
            value for series in history["series"] for value in series["fields"]["equity"] if value is not None
        ]
        return float(known[-1]) if known else START_EQUITY

    async def _all(self, name: str, **query: str | int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = await self._page(name, **query, **more, limit=1000)
            items += page["items"]
            cursor = page["next_cursor"]
        return items

    async def _page(self, name: str, **query: str | int) -> dict[str, Any]:
        for pause in _pauses():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(f"{self._url}/api/v1/{name}", params=query) as answer:
                    if answer.status == HTTPStatus.NOT_FOUND:  # nothing is recorded of the strategy
                        return {"items": [], "next_cursor": None}
                    answer.raise_for_status()
                    page: dict[str, Any] = await answer.json()
                    return page
            await asyncio.sleep(pause)
        raise AssertionError  # pauses never end


def _open_positions(
    fills: list[dict[str, Any]],
    flat_since: dict[Key, int],
) -> Iterator[tuple[Key, tuple[float, float]]]:
    """Yields the position and average price that follow from the fills since the instrument was last flat."""
    open_fills: dict[Key, list[dict[str, Any]]] = {}
    for fill in fills:
        key = fill["venue"], fill["instrument"]
        if fill["time_ns"] > flat_since.get(key, 0):
            open_fills.setdefault(key, []).append(fill)
    for key, mine in open_fills.items():
        opening = mine[-1]["side"]  # newest first; a desk never flips a position
        entries = [fill for fill in mine if fill["side"] == opening]
        bought = sum(fill["quantity"] for fill in entries)
        left = bought - sum(fill["quantity"] for fill in mine if fill["side"] != opening)
        if left > 1e-9 * bought:
            average = sum(fill["quantity"] * fill["price"] for fill in entries) / bought
            yield key, (left if opening == "buy" else -left, average)


def _pauses() -> Iterator[float]:
    for attempt in itertools.count():
        yield min(0.2 * 1.5**attempt, 2.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts


def _other(side: str) -> str:
    return "sell" if side == "buy" else "buy"


async def _follow(session: aiohttp.ClientSession, url: str, trader: Trader) -> None:
    """Reads quotes; reconnects when the connection is lost."""
    pauses = _pauses()
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.ws_connect(f"{url}/ws", protocols=(PROTOCOL,), heartbeat=15.0) as socket:
                await _read(socket, trader)
                pauses = _pauses()
        await asyncio.sleep(next(pauses))


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
    recorder = Client(url, source=SOURCE)  # it finds the same key and certificate by itself
    trader = Trader(recorder, instruments=instruments, seed=seed)
    _print(f"{len(trader.accounts)} strategies on up to {instruments} instruments of {url}")
    timeout = aiohttp.ClientTimeout(total=10.0)
    connector = aiohttp.TCPConnector(ssl=_trusted())
    async with aiohttp.ClientSession(timeout=timeout, headers=_key(), connector=connector) as session:
        work = asyncio.create_task(_trade(session, url, trader))
        stopped = asyncio.create_task(_until_stopped(stop, with_parent=with_parent))
        await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (work, stopped):
            task.cancel()
        results = await asyncio.gather(work, stopped, return_exceptions=True)
        trader.broker.stop()
        trader.report()
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
