"""Sends what a trading process does to Decahertz: signals, orders, fills, positions, quotes.

    from decahertz_client import Client

    with Client("http://127.0.0.1:8000", source="arb-1") as recorder:
        recorder.fill(strategy="arb", venue="kraken", instrument="BTC/USD", order_id="17",
                      fill_id="17-1", side="buy", price=67_321.5, quantity=0.2, fee=1.3)

To emit an event puts it into a ring in memory, about a microsecond of work that takes no lock and never
waits. A background thread sends what the ring holds every few hundredths of a second over one HTTP
connection and keeps it until the server says that it is durable. After a failure it sends the same events
under the same numbers, so the server stores each of them once. What a full ring, or the server, does not
take is counted by reason and the counts travel to the server: see :class:`Stats`.

A process that forks may go on emitting on both sides: the child starts with an empty ring and a new epoch.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import email.utils
import enum
import functools
import http.client
import inspect
import itertools
import json
import logging
import math
import os
import random
import re
import socket
import sys
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Callable, NamedTuple, SupportsFloat, Union
from urllib.parse import urlsplit

import msgpack  # type: ignore[import-untyped]  # it ships no types

__version__ = "0.1.0"
__all__ = ["Client", "Stats"]

_log = logging.getLogger("decahertz_client")

Item = Union[dict[str, Any], tuple[Any, ...]]
"""What waits in the ring: the fields by name, or the values in the order of a method's parameters."""

_PATH = "/api/v1/events"
_MEDIA_TYPE = "application/vnd.msgpack"
# What decahertz.event.Name allows: a segment of a topic.
_NAME = re.compile(r"[^\s:*\x00-\x1f](?:[^:*\x00-\x1f]{0,126}[^\s:*\x00-\x1f])?")
# A double of MessagePack whose exponent is all ones: NaN or an infinity.
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_CHUNK = 64  # events packed between two offers of the interpreter lock to the trading thread
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts while the server is away
_SLOW_PAUSE = 5.0  # seconds between attempts that only a person can make succeed
_LONGEST_RETRY_AFTER = 60.0  # seconds; a server that asks for more is asked again after this
_LONGEST_ANSWER = 1 << 20
_EXIT_SECONDS = 2.0  # what an interpreter that exits without close() waits at most
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_BAD_CONTENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_LEAST_BYTES = 1024  # of a batch: no server is so strict, and no network so slow, that less would help
_CAUSES_TOLD = 100  # causes of refusal that are logged; more are counted only


@dataclass(frozen=True)
class Stats:
    """What became of the events of one epoch. ``emitted == acknowledged + pending + sum(dropped)``."""

    source: str
    epoch: int
    """When the epoch began, nanoseconds UTC; the last six digits are random."""
    emitted: int
    """Calls of ``emit`` and its typed forms."""
    acknowledged: int
    """Durable on the server."""
    pending: int
    """In the ring, or sent and not acknowledged yet. What is still pending after :meth:`Client.close`
    was sent without an answer: it may have been stored."""
    dropped: dict[str, int]
    """Lost, by reason: ``ring_full``, ``unserialisable`` (a value that is not finite or no number, text,
    or list of them), ``rejected`` (by the server), ``too_large`` (for the server), ``closed`` (emitted
    after :meth:`Client.close`, or never sent before its time was over)."""
    resends: int
    """Batches sent again."""
    connected: bool
    """The last attempt reached the server."""
    last_error: str | None
    """What went wrong last, for a person."""


class Client:
    """Takes events and sends them from a background thread.

    ``url`` is the address of Decahertz' API (a path before ``/api`` is kept). ``source`` names this process
    among all that emit, as up to 128 characters without colon, asterisk or control characters; without it,
    program and host do. ``capacity`` bounds the events kept in memory, waiting or not acknowledged; threads
    that emit in the very same moment may exceed it by one each. ``api_key`` is sent as ``X-API-Key``.
    ``flush_seconds`` is the pause between two batches, ``timeout_seconds`` the limit for connecting and for
    an answer (the server itself may take 10 s to make a batch durable). Raises ``ValueError`` for bad
    arguments; nothing else here raises.

    Every method that emits returns whether the event was taken; ``time_ns`` defaults to now. Numbers may be
    ``int``, ``float``, ``Decimal`` or NumPy scalars, texts may be members of an ``Enum``. What a list holds
    must not change after it was emitted.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        source: str | None = None,
        *,
        capacity: int = 100_000,
        flush_seconds: float = 0.03,
        timeout_seconds: float = 15.0,
        max_batch_events: int = 5_000,
        max_batch_bytes: int = 1 << 20,
        api_key: str | None = None,
    ) -> None:
        """Check the arguments and start the background thread."""
        name = _default_source() if source is None else source
        if not _NAME.fullmatch(name):
            raise ValueError(f"source {name!r}: 1 to 128 characters, no colon, asterisk or control character")
        for what, value in (
            ("capacity", capacity),
            ("max_batch_events", max_batch_events),
            ("max_batch_bytes", max_batch_bytes),
        ):
            if value < 1:
                raise ValueError(f"{what} is {value}, must be at least 1")
        for what, seconds in (("flush_seconds", flush_seconds), ("timeout_seconds", timeout_seconds)):
            if not 0 < seconds < threading.TIMEOUT_MAX:
                raise ValueError(f"{what} is {seconds}, must be positive")
        self._connect = functools.partial(_Connection, _target(url), timeout_seconds, api_key)
        self._options = _Options(
            name, capacity, flush_seconds, timeout_seconds, max_batch_events, max_batch_bytes
        )
        self._starting = threading.Lock()
        self._begin()
        self._sender.start()
        atexit.register(self.close, _EXIT_SECONDS)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_after_fork, weakref.ref(self)))

    def emit(self, event_type: str, /, *, time_ns: int | None = None, **fields: object) -> bool:
        """Emit an event of any type with the given fields; fields that are ``None`` are left out."""
        fields["type"] = event_type
        fields["time_ns"] = time.time_ns() if time_ns is None else time_ns
        return self._put(fields)

    def quote(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        venue: str,
        instrument: str,
        bid: SupportsFloat | None = None,
        ask: SupportsFloat | None = None,
        bid_size: SupportsFloat | None = None,
        ask_size: SupportsFloat | None = None,
        sequence: int | None = None,
        missed: int = 0,
        time_ns: int | None = None,
    ) -> bool:
        """Best bid and ask; an empty side is ``None``.

        ``sequence`` is the venue's number of the message, ``missed`` how many before it never came.
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            ("quote", venue, instrument, bid, ask, bid_size, ask_size, sequence, missed, now),
        )

    def tick(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        venue: str,
        instrument: str,
        price: SupportsFloat,
        size: SupportsFloat,
        side: str | None = None,
        trade_id: str | None = None,
        sequence: int | None = None,
        missed: int = 0,
        time_ns: int | None = None,
    ) -> bool:
        """A trade on the market; ``side`` is the aggressor's, ``buy`` or ``sell``."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("tick", venue, instrument, price, size, side, trade_id, sequence, missed, now))

    def signal(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        strategy: str,
        venue: str,
        instrument: str,
        signal_id: str,
        direction: str,
        strength: SupportsFloat | None = None,
        price: SupportsFloat | None = None,
        risk: SupportsFloat | None = None,
        reason: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """What a strategy wants, before any order: ``direction`` is ``buy``, ``sell`` or ``flat``.

        ``price`` is the market when it decided, ``risk`` the money lost if the trade goes to its stop.
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            ("signal", strategy, venue, instrument, signal_id, direction, strength, price, risk, reason, now),
        )

    def order(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        strategy: str,
        venue: str,
        instrument: str,
        order_id: str,
        state: str,
        side: str,
        quantity: SupportsFloat,
        filled_quantity: SupportsFloat | None = None,
        price: SupportsFloat | None = None,
        arrival_price: SupportsFloat | None = None,
        order_type: str | None = None,
        signal_id: str | None = None,
        reason: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """A change in the life of an order; each repeats what identifies the order.

        ``state`` is ``submitted``, ``accepted``, ``partially_filled``, ``filled``, ``cancelled``,
        ``rejected`` or ``expired``; ``price`` the limit, ``arrival_price`` the mid at submission.
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            (
                "order",
                strategy,
                venue,
                instrument,
                order_id,
                state,
                side,
                quantity,
                filled_quantity,
                price,
                arrival_price,
                order_type,
                signal_id,
                reason,
                now,
            ),
        )

    def fill(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        strategy: str,
        venue: str,
        instrument: str,
        order_id: str,
        fill_id: str,
        side: str,
        price: SupportsFloat,
        quantity: SupportsFloat,
        fee: SupportsFloat = 0.0,
        liquidity: str | None = None,
        risk: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """An execution; ``fee`` is money paid (negative: a rebate), ``liquidity`` ``maker`` or ``taker``.

        ``risk`` is the money at risk of the trade that this fill opens.
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            (
                "fill",
                strategy,
                venue,
                instrument,
                order_id,
                fill_id,
                side,
                price,
                quantity,
                fee,
                liquidity,
                risk,
                now,
            ),
        )

    def position(
        self,
        *,
        strategy: str,
        venue: str,
        instrument: str,
        quantity: SupportsFloat,
        average_price: SupportsFloat | None = None,
        mark_price: SupportsFloat | None = None,
        held_by: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """What a strategy holds; negative is short. ``held_by``: ``bot``, ``manual``, ``autonomous``."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            ("position", strategy, venue, instrument, quantity, average_price, mark_price, held_by, now),
        )

    def equity(
        self,
        *,
        strategy: str,
        equity: SupportsFloat,
        cash: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """The worth of a strategy's account, marked to market, in money."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("equity", strategy, equity, cash, now))

    def regime(
        self,
        *,
        regime: str,
        strategy: str | None = None,
        confidence: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """The market regime that a strategy, or the desk, believes in; ``confidence`` is 0 to 1."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("regime", regime, strategy, confidence, now))

    def risk(
        self,
        *,
        name: str,
        value: SupportsFloat,
        limit: SupportsFloat | None = None,
        strategy: str | None = None,
        breached: bool = False,
        time_ns: int | None = None,
    ) -> bool:
        """A risk measure beside its limit."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("risk", name, value, limit, strategy, breached, now))

    def news(
        self,
        *,
        headline: str,
        publisher: str | None = None,
        instruments: tuple[str, ...] = (),
        sentiment: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """A headline; ``sentiment`` runs from -1 (bad) to 1 (good)."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("news", headline, publisher, instruments, sentiment, now))

    def log(
        self,
        *,
        component: str,
        level: str,
        message: str,
        time_ns: int | None = None,
    ) -> bool:
        """A log line; ``level`` is ``debug``, ``info``, ``warning``, ``error`` or ``critical``."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("log", component, level, message, now))

    def heartbeat(
        self,
        *,
        component: str,
        connection: str = "open",
        venue: str | None = None,
        instrument: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """A sign of life of a component, or of a feed (with a venue); ``connection``: open or closed."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("heartbeat", component, connection, venue, instrument, now))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was emitted before is acknowledged or dropped; ``False`` if it took longer."""
        return self._sender.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Send what is left for at most ``timeout`` seconds and end; safe to call twice.

        Whether all was acknowledged or dropped in time. What was never sent is counted as ``closed``.
        """
        atexit.unregister(self.close)
        return self._sender.close(timeout)

    async def aclose(self, timeout: float = 5.0) -> bool:
        """Like :meth:`close`, for asyncio: the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(None, self.close, timeout)

    def stats(self) -> Stats:
        """What became of the events so far."""
        return self._sender.stats()

    def __enter__(self) -> Client:  # noqa: PYI034 - Self is of Python 3.11
        """Nothing to do: the constructor started all."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Client:  # noqa: PYI034 - see above
        """Nothing to do: the constructor started all."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close without blocking the event loop."""
        await self.aclose()

    def _put(self, item: Item) -> bool:
        ring = self._ring
        if len(ring.items) >= ring.room:
            return self._no_room(item)
        ring.items.append(item)
        return True

    def _no_room(self, item: Item) -> bool:
        """Off the fast path: the ring is full or closed, or this is a fork that has not begun yet."""
        ring, sender = self._ring, self._sender
        if sender.thread is None and not sender.closing:
            try:
                with self._starting:
                    if sender.thread is None:
                        sender.start()
            except RuntimeError:  # no threads any more: the interpreter is ending
                ring.full.add()
                return False
            if len(ring.items) < ring.room:
                ring.items.append(item)
                return True
        (ring.late if sender.closing else ring.full).add()
        return False

    def _begin(self) -> None:
        self._ring = _Ring()
        self._sender = _Sender(self._ring, self._options, self._connect())

    def _begin_again(self) -> None:
        closed = self._sender.closing
        self._sender.forsake()
        self._starting = threading.Lock()
        self._begin()
        self._sender.closing = closed


_TYPED = (
    *("quote", "tick", "signal", "order", "fill", "position", "equity", "regime", "risk", "news"),
    *("log", "heartbeat"),
)
_FIELDS = {name: ("type", *list(inspect.signature(getattr(Client, name)).parameters)[1:]) for name in _TYPED}


def _after_fork(reference: Callable[[], Client | None]) -> None:
    client = reference()
    if client is not None:
        client._begin_again()  # noqa: SLF001 - a part of the class


def _default_source() -> str:
    program = Path(sys.argv[0] if sys.argv else "")
    stem = program.parent.name if program.stem == "__main__" else program.stem
    name = f"{stem if stem not in ('', '-c') else 'python'}@{socket.gethostname() or 'localhost'}"
    return re.sub(r"[:*\s\x00-\x1f]", "_", name)[:128]


def _new_epoch() -> int:
    """Now, with six random digits: processes that are forked in the same instant differ."""
    return time.time_ns() // 1_000_000 * 1_000_000 + int.from_bytes(os.urandom(4), "big") % 1_000_000


class _Options(NamedTuple):
    source: str
    capacity: int
    flush_seconds: float
    timeout_seconds: float
    max_batch_events: int
    max_batch_bytes: int


class _Tally:
    """Counts from any thread without a lock: the interpreter advances an iterator in one step."""

    def __init__(self) -> None:
        self._steps = itertools.count()
        self._reads = 0

    def add(self) -> None:
        next(self._steps)

    def read(self) -> int:
        """How often it was added to; for one thread at a time. To read is to step, hence the second count."""
        self._reads += 1
        return next(self._steps) - self._reads + 1


class _Ring:
    """What emitting threads and the sender share: they append, it takes from the left."""

    __slots__ = ("full", "items", "late", "room")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.room = 0
        """How long ``items`` may get; 0 before the start and after the end."""
        self.full = _Tally()
        self.late = _Tally()


class _Batch:
    """Packed events under consecutive numbers, kept until acknowledged."""

    __slots__ = ("events", "first", "is_uncertain", "was_sent")

    def __init__(self, first: int, events: list[bytes], is_uncertain: bool = False) -> None:  # noqa: FBT001, FBT002 - private
        self.first = first
        self.events = events
        self.was_sent = False
        self.is_uncertain = is_uncertain
        """An attempt went out whose outcome is unknown: the server may hold these numbers already."""


class _Sender:
    """The background thread of one epoch, and its ledger."""

    def __init__(self, ring: _Ring, options: _Options, connection: _Connection) -> None:
        self.thread: threading.Thread | None = None
        self.closing = False
        self._ring = ring
        self._options = options
        self._connection = connection
        self._epoch = _new_epoch()
        self._packer = _Packer()
        self._wake = threading.Event()
        self._aborted = False
        self._flushing = 0
        # The ledger: written by the thread, read by stats() and flush(), all under this lock.
        self._settled = threading.Condition(threading.Lock())
        self._taken = 0
        self._in_flight = 0
        self._acknowledged = 0
        self._dropped: dict[str, int] = {}
        self._resends = 0
        self._connected = False
        self._last_error: str | None = None
        # What follows belongs to the thread alone.
        self._outbox: deque[_Batch] = deque()
        self._next_sequence = 1
        self._most_bytes = self._max_bytes = options.max_batch_bytes
        self._not_before = 0.0
        self._failures = 0
        self._announced: dict[str, int] = {}
        self._told: set[str] = set()
        self._causes: set[tuple[str, str]] = set()

    def start(self) -> None:
        """Start the thread and open the ring."""
        self.thread = threading.Thread(target=self._run, name="decahertz-client", daemon=True)
        self.thread.start()
        self._ring.room = self._options.capacity

    def stats(self) -> Stats:
        with self._settled:
            waiting = len(self._ring.items)
            dropped = self._drops()
            late = self._ring.late.read()
            emitted = self._taken + waiting + dropped.get("ring_full", 0) + late
            if late:
                dropped["closed"] = dropped.get("closed", 0) + late
            return Stats(
                source=self._options.source,
                epoch=self._epoch,
                emitted=emitted,
                acknowledged=self._acknowledged,
                pending=self._in_flight + waiting,
                dropped=dropped,
                resends=self._resends,
                connected=self._connected,
                last_error=self._last_error,
            )

    def flush(self, timeout: float) -> bool:
        with self._settled:
            goal = self._taken + len(self._ring.items)
            self._flushing += 1
            self._wake.set()
            try:
                return self._settled.wait_for(lambda: self._taken - self._in_flight >= goal, timeout)
            finally:
                self._flushing -= 1

    def close(self, timeout: float) -> bool:
        with self._settled:
            self.closing = True
            self._ring.room = 0
        self._wake.set()
        if self.thread is not None and self.thread is not threading.current_thread():
            grace = max(min(0.25, timeout / 4), 0.0)
            self.thread.join(max(timeout - grace, 0.0))
            if self.thread.is_alive():
                self._aborted = True
                self._wake.set()
                self._connection.abort()
                self.thread.join(grace)
            if not self.thread.is_alive():
                self._count_unsent()
        with self._settled:
            return not (self._in_flight or self._ring.items or self._dropped.get("closed"))

    def forsake(self) -> None:
        """In a fork: let go of what belongs to the parent."""
        self._connection.forsake()

    # The thread

    def _run(self) -> None:
        pause = self._options.flush_seconds
        while not self._is_done():
            self._wake.wait(pause)
            self._wake.clear()
            try:
                pause = self._step()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happens in it
                pause = self._trouble("internal", f"internal error: {error!r}", _LONGEST_PAUSE)
        self._connection.close()

    def _is_done(self) -> bool:
        if self._aborted or not self.closing:
            return self._aborted
        told = self._failures > 0 or self._current_drops() == self._announced
        return told and not self._outbox and not self._ring.items

    def _step(self) -> float:
        """Send one batch, if it is time; seconds until the next step."""
        if self._aborted or self._not_before > time.monotonic():
            return max(self._not_before - time.monotonic(), 0.0)
        if not self._outbox:
            self._take()
        drops = self._current_drops()
        if self._outbox:
            if self._max_bytes < self._options.max_batch_bytes:
                self._divide(self._outbox[0])
            self._send(self._outbox[0], drops)
        elif drops != self._announced:
            self._send(_Batch(self._next_sequence, []), drops)
        hurry = self.closing or self._flushing or len(self._ring.items) >= self._options.max_batch_events
        idle = 0.0 if self._outbox or hurry else self._options.flush_seconds
        return max(self._not_before - time.monotonic(), idle)

    def _take(self) -> None:
        """Move events from the ring into batches; from here on they have numbers."""
        left = min(len(self._ring.items), self._options.max_batch_events)
        size = self._max_bytes
        while left and len(self._outbox) <= 1:
            count = min(_CHUNK, left)
            left -= count
            for event in self._take_packed(count):
                size += len(event)
                if size > self._max_bytes:
                    size = len(event)
                    self._outbox.append(_Batch(self._next_sequence, []))
                self._outbox[-1].events.append(event)
                self._next_sequence += 1
            time.sleep(0)  # lets a trading thread that waits for the interpreter go first

    def _take_packed(self, count: int) -> list[bytes]:
        ring = self._ring
        with self._settled:
            self._in_flight += count
            self._taken += count
            self._open_ring()
            items = [ring.items.popleft() for _ in range(count)]
        events, causes = self._packer.pack(items)
        for cause in causes:
            self._tell_cause("unserialisable", cause)
        self._settle(count - len(events), "unserialisable")
        return events

    def _send(self, batch: _Batch, drops: dict[str, int]) -> None:
        body = self._packer.batch(self._options.source, self._epoch, batch, drops)
        with self._settled:
            self._resends += batch.was_sent
        batch.was_sent = True
        place = self._connection.place
        began = time.monotonic()
        try:
            answer = self._connection.post(body)
        except _UnreachableError as error:
            self._connected = False
            self._trouble("unreachable", f"{place} cannot be reached: {error}")
        except _UnansweredError as error:
            self._connected = False
            batch.is_uncertain = True
            if error.was_too_slow:
                self._send_less(batch)
            if error.was_kept_alive and not self._failures:
                self._failures = 1  # servers close idle connections: try a new one at once
            else:
                self._trouble("unanswered", f"{place} did not answer: {error}")
        else:
            self._connected = True
            if answer.status == HTTPStatus.REQUEST_TIMEOUT:
                self._send_less(batch)
            elif time.monotonic() - began < self._options.timeout_seconds / 4:
                self._max_bytes = min(2 * self._max_bytes, self._most_bytes)
            self._handle(batch, answer, drops)

    def _send_less(self, batch: _Batch) -> None:
        """No answer in time: where the way is slow less at once gets through. Later it is more again."""
        self._max_bytes = max(_LEAST_BYTES, sum(map(len, batch.events)) // 4)

    def _divide(self, batch: _Batch) -> None:
        """Make several of a batch, the first of the outbox, that is larger than one may be by now."""
        pieces: list[_Batch] = []
        size = self._max_bytes
        for number, event in enumerate(batch.events, batch.first):
            size += len(event)
            if size > self._max_bytes:
                size = len(event)
                pieces.append(_Batch(number, [], batch.is_uncertain))
                pieces[-1].was_sent = batch.was_sent
            pieces[-1].events.append(event)
        if len(pieces) > 1:
            self._replace(batch, pieces)

    def _handle(self, batch: _Batch, answer: _Answer, drops: dict[str, int]) -> None:
        text = f"{self._connection.place} answers {answer.line}"
        if answer.status == HTTPStatus.OK:
            self._confirm(batch, answer, drops)
        elif answer.status in _TRY_AGAIN or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            batch.is_uncertain = True  # not durable in time may still become durable later
            self._trouble(str(answer.status), text, answer.retry_after)
        elif batch.events and answer.status in _BAD_CONTENT and answer.is_problem:
            self._refuse(batch, answer)
        elif batch.events and answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self._shrink(batch)
        else:
            self._trouble(str(answer.status), text, _SLOW_PAUSE)

    def _confirm(self, batch: _Batch, answer: _Answer, drops: dict[str, int]) -> None:
        durable = answer.content.get("durable_sequence")
        emitter = (answer.content.get("source"), answer.content.get("epoch"))
        if emitter != (self._options.source, self._epoch) or not isinstance(durable, int):
            text = f"{self._connection.place} answers {answer.line}, but not as Decahertz does"
            self._trouble("stranger", text, _SLOW_PAUSE)
            return
        done = max(min(durable - batch.first + 1, len(batch.events)), 0)
        if batch.events and not done:
            batch.is_uncertain = True
            self._trouble("nothing", f"{self._connection.place} made nothing of a batch durable")
            return
        self._announced = drops
        batch.first += done
        self._replace(batch, [_Batch(batch.first, batch.events[done:], True)])
        self._settle(done)
        self._recover()

    def _refuse(self, batch: _Batch, answer: _Answer) -> None:
        """Drop the events that the server names; where it names none, find them by halving."""
        named = answer.events_at_fault(len(batch.events))
        if not named and len(batch.events) > 1:
            self._halve(batch)
            return
        named = named or {0: answer.line}
        for cause in sorted(set(named.values())):
            self._tell_cause("rejected", cause)
        edges = [-1, *sorted(named), len(batch.events)]
        pieces = [
            _Batch(batch.first + low + 1, batch.events[low + 1 : high], batch.is_uncertain)
            for low, high in zip(edges, edges[1:])
        ]
        # Where the server may hold some of them already, events keep their numbers and leave holes.
        # Otherwise the rest closes up: an emitter that is always a little wrong leaves no holes at all.
        keep_numbers = any(other.is_uncertain for other in self._outbox)
        if not keep_numbers:
            pieces = [_Batch(batch.first, [event for piece in pieces for event in piece.events])]
        self._replace(batch, pieces)
        if not keep_numbers:
            self._renumber(batch.first)
        self._settle(len(named), "rejected")
        self._recover()

    def _shrink(self, batch: _Batch) -> None:
        """The body was too large for the server: send less at once from now on."""
        size = sum(map(len, batch.events))
        self._most_bytes = self._max_bytes = max(_LEAST_BYTES, min(self._max_bytes, size // 2))
        if len(batch.events) > 1:
            self._halve(batch)
            return
        self._replace(batch, [])
        self._tell_cause("too_large", f"an event of {size} bytes")
        self._settle(1, "too_large")

    def _halve(self, batch: _Batch) -> None:
        middle = len(batch.events) // 2
        parts = ((batch.first, batch.events[:middle]), (batch.first + middle, batch.events[middle:]))
        self._replace(batch, [_Batch(first, events, batch.is_uncertain) for first, events in parts])

    def _replace(self, batch: _Batch, pieces: list[_Batch]) -> None:
        """Put pieces in the place of the first batch of the outbox; empty ones are left out."""
        if self._outbox and self._outbox[0] is batch:
            self._outbox.popleft()
        self._outbox.extendleft(piece for piece in reversed(pieces) if piece.events)

    def _renumber(self, first: int) -> None:
        """Number all that is in the outbox anew; the server knows nothing from ``first`` on."""
        for batch in self._outbox:
            batch.first = first
            first += len(batch.events)
        self._next_sequence = first

    # The ledger

    def _settle(self, count: int, dropped: str = "") -> None:
        """``count`` events are no longer in flight: acknowledged, or dropped for a reason."""
        with self._settled:
            self._in_flight -= count
            if not dropped:
                self._acknowledged += count
            elif count:
                self._dropped[dropped] = self._dropped.get(dropped, 0) + count
            self._open_ring()
            self._settled.notify_all()

    def _open_ring(self) -> None:
        self._ring.room = 0 if self.closing else self._options.capacity - self._in_flight

    def _drops(self) -> dict[str, int]:
        """Under the lock: what was dropped so far, by reason, without zeros."""
        full = self._ring.full.read()
        return {**self._dropped, "ring_full": full} if full else dict(self._dropped)

    def _current_drops(self) -> dict[str, int]:
        with self._settled:
            drops = self._drops()
        if drops.get("ring_full") != self._announced.get("ring_full"):
            self._tell("ring_full", f"{self._options.capacity} events wait: newer ones are dropped")
        return drops

    def _count_unsent(self) -> None:
        """After the thread's end: what the server never saw is lost; of the rest nobody knows."""
        unsent = sum(len(batch.events) for batch in self._outbox if not batch.is_uncertain)
        self._outbox = deque(batch for batch in self._outbox if batch.is_uncertain)
        with self._settled:
            waiting = len(self._ring.items)
            self._ring.items.clear()
            self._taken += waiting
            self._in_flight -= unsent
            if unsent + waiting:
                self._dropped["closed"] = self._dropped.get("closed", 0) + unsent + waiting

    # Trouble

    def _trouble(self, cause: str, text: str, at_least: float = 0.0) -> float:
        """Note a failed attempt and when to make the next; logged once per cause until all is well."""
        self._failures += 1
        growing = min(_SHORTEST_PAUSE * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - keeps clients apart, guards nothing
        pause = at_least + growing * spread
        self._not_before = time.monotonic() + pause
        self._last_error = text
        self._tell(cause, text)
        return pause

    def _recover(self) -> None:
        self._failures = 0
        if self._told:
            self._told.clear()
            _log.info("%s takes events again", self._connection.place)

    def _tell(self, cause: str, text: str) -> None:
        if cause not in self._told:
            self._told.add(cause)
            _log.warning("%s", text)

    def _tell_cause(self, reason: str, cause: str) -> None:
        """Like trouble, but told once and for all: the emitting program has to be corrected."""
        self._last_error = f"{reason}: {cause}"
        if (reason, cause) not in self._causes and len(self._causes) < _CAUSES_TOLD:
            self._causes.add((reason, cause))
            _log.warning("events are dropped as %s: %s", reason, cause)


class _Packer:
    """Turns what waits in the ring into MessagePack."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(default=_plain)

    def pack(self, items: list[Item]) -> tuple[list[bytes], list[str]]:
        """The events, each for itself, and what was wrong with those that are missing."""
        events: list[bytes] = []
        causes: list[str] = []
        pack = self._packer.pack
        for item in items:
            named = item.items() if isinstance(item, dict) else zip(_FIELDS[item[0]], item)
            fields = {name: value for name, value in named if value is not None}
            try:
                events.append(pack(fields))
            except Exception:  # noqa: BLE001 - values have methods of their own, which raise what they like
                causes.append(self._culprit(fields))
        if _NOT_FINITE.search(b"".join(events)):
            unpacked = [(event, _not_finite(msgpack.unpackb(event))) for event in events]
            causes += [cause for _, cause in unpacked if cause]
            events = [event for event, cause in unpacked if not cause]
        return events, causes

    def batch(self, source: str, epoch: int, batch: _Batch, drops: dict[str, int]) -> bytes:
        """The body of a request: an EventBatch."""
        head = {"source": source, "epoch": epoch, "first_sequence": batch.first, "dropped": drops}
        pack = self._packer.pack
        parts = [self._packer.pack_map_header(len(head) + 1)]
        parts += [pack(part) for pair in head.items() for part in pair]
        parts += [pack("events"), self._packer.pack_array_header(len(batch.events)), *batch.events]
        return b"".join(parts)

    def _culprit(self, fields: dict[str, Any]) -> str:
        for name, value in fields.items():
            try:
                self._packer.pack(value)
            except Exception as error:  # noqa: BLE001, PERF203 - see pack
                kind = type(value).__name__
                return f"{fields.get('type')!s:.40}.{name:.40} is a {kind}: {str(error) or repr(error):.80}"
        return f"{fields.get('type')!s:.40}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever the trading process holds
    """What MessagePack can say, for enumerations, decimals and scalars of NumPy."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError("neither number, text nor a list of them")
    return item()


def _not_finite(event: dict[str, Any]) -> str:
    """Which field of an event is NaN or infinite; nothing if none is."""
    for name, value in event.items():
        for number in value if isinstance(value, list) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                return f"{event['type']}.{name} is {number}"
    return ""


class _UnreachableError(Exception):
    """No connection: nothing was sent."""


class _UnansweredError(Exception):
    """The connection broke or the answer did not come in time: what was sent may have arrived."""

    def __init__(self, text: str, *, was_kept_alive: bool, was_too_slow: bool) -> None:
        super().__init__(text)
        self.was_kept_alive = was_kept_alive
        self.was_too_slow = was_too_slow


class _Target(NamedTuple):
    is_secure: bool
    host: str
    port: int | None
    path: str


def _target(url: str) -> _Target:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url {url!r} must look like http://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("url must hold no user, query or fragment; a key goes into api_key")
    return _Target(parts.scheme == "https", parts.hostname, parts.port, parts.path.rstrip("/") + _PATH)


class _Answer(NamedTuple):
    status: int
    line: str
    """Status, reason and, of a problem document, title and detail: for a person."""
    retry_after: float
    """Seconds to wait before the next attempt, where the server says so; else 0."""
    content: dict[str, Any]

    @property
    def is_problem(self) -> bool:
        """Whether this is a problem document of RFC 9457, and not the page of some other server."""
        return self.content.get("status") == self.status

    def events_at_fault(self, count: int) -> dict[int, str]:
        """The events of a batch of ``count`` that a problem document names, and why."""
        errors = self.content.get("errors")
        return {
            error["index"]: f"{error.get('field')}: {error.get('reason')}"[:200]
            for error in (errors if isinstance(errors, list) else ())
            if isinstance(error, dict) and type(error.get("index")) is int and 0 <= error["index"] < count
        }


class _Connection:
    """One kept-alive HTTP connection, made again after it broke."""

    def __init__(self, target: _Target, timeout_seconds: float, api_key: str | None) -> None:
        kind = http.client.HTTPSConnection if target.is_secure else http.client.HTTPConnection
        self._http = kind(target.host, target.port, timeout=timeout_seconds)
        self._path = target.path
        self._headers = {
            "Accept": "application/json",
            "Content-Type": _MEDIA_TYPE,
            "User-Agent": f"decahertz-client/{__version__}",
        }
        if api_key is not None:
            self._headers["X-API-Key"] = api_key
        self.place = f"{target.host}:{self._http.port}"

    def post(self, body: bytes) -> _Answer:
        """Send one batch. Raises :class:`_UnreachableError` and :class:`_UnansweredError`."""
        was_kept_alive = self._http.sock is not None
        if not was_kept_alive:
            try:
                self._http.connect()
            except (OSError, ValueError) as error:
                self._http.close()
                raise _UnreachableError(str(error)) from error
        try:
            return self._exchange(body)
        except Exception as error:  # one cause or another, the connection is of no use any more
            self._http.close()
            text = str(error) or type(error).__name__
            was_too_slow = isinstance(error, (TimeoutError, socket.timeout))  # two until Python 3.10
            raise _UnansweredError(text, was_kept_alive=was_kept_alive, was_too_slow=was_too_slow) from error

    def _exchange(self, body: bytes) -> _Answer:
        try:
            self._http.request("POST", self._path, body, self._headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a body may answer and hang up before it has read all of it.
            answer = self._http.getresponse()
        else:
            answer = self._http.getresponse()
        data = answer.read(_LONGEST_ANSWER)
        if not answer.isclosed():  # more than anybody needs to say: the rest is not waited for
            self._http.close()
        return _read(answer, data)

    def close(self) -> None:
        self._http.close()

    def abort(self) -> None:
        """From another thread: end an exchange that is under way."""
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def forsake(self) -> None:
        """In a fork: close the copy of the socket without a word to the server or a lock of the parent."""
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                os.close(sock.detach())


def _read(answer: http.client.HTTPResponse, data: bytes) -> _Answer:
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = {}
    texts = (content.get("title"), content.get("detail"))
    said = ": ".join(text for text in texts if isinstance(text, str))
    line = f"{answer.status} {answer.reason}" + (f" ({said:.300})" if said else "")
    return _Answer(answer.status, line, _retry_after(answer.getheader("Retry-After", "")), content)


def _retry_after(header: str) -> float:
    """Seconds, of the two forms that RFC 9110 section 10.2.3 gives this header; 0 for anything else."""
    if header.isdecimal():
        return min(float(header), _LONGEST_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return 0.0
    seconds: float = moment.timestamp() - time.time()
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
