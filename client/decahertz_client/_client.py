"""The public client: checks its arguments, puts events into the ring and owns the background thread."""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import os
import re
import socket
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Callable, SupportsFloat

from decahertz_client._correction import checked, named_fields
from decahertz_client._http import Connection, parse_endpoint
from decahertz_client._key import find_key
from decahertz_client._packer import Item, Packer
from decahertz_client._sender import Options, Ring, Sender, Stats

# The rule of decahertz.event.Name.
_NAME = re.compile(r"[^\s\x00-\x1f](?:[^\x00-\x1f]{0,126}[^\s\x00-\x1f])?")
_EXIT_SECONDS = 2.0  # maximum delay of an interpreter that exits without close()


class Client:
    """Records events and sends them from a background thread.

    ``url`` is the address of the Decahertz API (a path before ``/api`` is kept). ``source`` names this
    process among all emitters: up to 128 characters without control characters; the
    default is program and host. ``capacity`` bounds the events kept in memory, waiting or unacknowledged;
    threads that emit at the same moment may exceed it by one event each. ``key`` is an API key with the
    scope ``ingest``, by default that of ``DECAHERTZ_KEY`` or of the file ``DECAHERTZ_KEY_FILE``. With
    ``https``, ``ca_file`` names certificates to trust instead of those of the system: of an authority, or the
    server's own; default: ``DECAHERTZ_CA_FILE``.
    ``flush_seconds`` is the pause between two batches, ``timeout_seconds`` the limit for connecting and for
    a response (the server may take 10 s to make a batch durable). Raises ``ValueError`` for invalid
    arguments; no other method raises, unless the client is ``strict``: then a method that emits an event
    raises :class:`InvalidEventError` if the server would refuse it. That costs some microseconds per call.

    Every emitting method returns whether the event was accepted into the ring; ``time_ns`` defaults to now.
    Values that are nearly right (``side="BUY"``, ``quantity="1"``, a time in milliseconds) are corrected by
    the background thread; events that the server refuses count as ``rejected`` in :meth:`stats`.
    Numbers may be ``int``, ``float``, ``Decimal`` or NumPy scalars; texts may be members of an ``Enum``.
    Lists must not be modified after they are emitted.
    """

    def __init__(  # noqa: PLR0913 - options
        self,
        url: str = "http://127.0.0.1:8000",
        source: str | None = None,
        *,
        capacity: int = 100_000,
        flush_seconds: float = 0.03,
        timeout_seconds: float = 15.0,
        max_batch_events: int = 2_000,
        max_batch_bytes: int = 1 << 20,
        key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        name = _default_source() if source is None else source
        if not _NAME.fullmatch(name):
            raise ValueError(f"source {name!r}: 1 to 128 characters, no control character")
        for argument, value in (
            ("capacity", capacity),
            ("max_batch_events", max_batch_events),
            ("max_batch_bytes", max_batch_bytes),
        ):
            if value < 1:
                raise ValueError(f"{argument} is {value}, must be at least 1")
        for argument, seconds in (("flush_seconds", flush_seconds), ("timeout_seconds", timeout_seconds)):
            if not 0 < seconds < threading.TIMEOUT_MAX:
                raise ValueError(f"{argument} is {seconds}, must be positive")
        self._connect = functools.partial(
            Connection, parse_endpoint(url, ca_file), timeout_seconds, find_key(key)
        )
        self._options = Options(
            name, capacity, flush_seconds, timeout_seconds, max_batch_events, max_batch_bytes
        )
        if strict:
            self._put = self._put_strictly  # type: ignore[method-assign] # costs other clients nothing
        self._starting = threading.Lock()
        self._new_sender()
        self._sender.start()
        atexit.register(self.close, _EXIT_SECONDS)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_after_fork, weakref.ref(self)))

    def emit(self, event_type: str, /, *, time_ns: int | None = None, **fields: object) -> bool:
        """Emits an event of any type with the given fields; ``None`` means that a field is absent."""
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
        """Emits the best bid and ask; ``None`` for an empty side.

        ``sequence`` is the venue's number of the message, ``missed`` the number of lost messages before it.
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
        """Emits a trade on the market; ``side`` is the aggressor's, ``buy`` or ``sell``."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("tick", venue, instrument, price, size, side, trade_id, sequence, missed, now))

    def instrument(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        venue: str,
        instrument: str,
        kind: str,
        base_currency: str | None = None,
        quote_currency: str | None = None,
        settlement_currency: str | None = None,
        multiplier: SupportsFloat = 1.0,
        inverse: bool = False,
        tick_size: SupportsFloat | None = None,
        lot_size: SupportsFloat | None = None,
        aliases: tuple[str, ...] = (),
        time_ns: int | None = None,
    ) -> bool:
        """Emits the definition of an instrument.

        ``kind`` is ``spot``, ``future``, ``perpetual``, ``option``, ``fx`` or ``index``; ``multiplier`` the
        units of the underlying per unit of quantity.
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            (
                "instrument",
                venue,
                instrument,
                kind,
                base_currency,
                quote_currency,
                settlement_currency,
                multiplier,
                inverse,
                tick_size,
                lot_size,
                aliases,
                now,
            ),
        )

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
        """Emits a strategy's decision, before any order; ``direction`` is ``buy``, ``sell`` or ``flat``.

        ``price`` is the market price at the decision, ``risk`` the money lost if the stop is hit.
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
        """Emits a state change of an order; each one repeats the fields that identify the order.

        ``state`` is ``submitted``, ``accepted``, ``partially_filled``, ``filled``, ``cancelled``,
        ``rejected`` or ``expired``; ``price`` is the limit, ``arrival_price`` the mid at submission.
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
        """Emits a fill; ``fee`` is money paid (negative: a rebate), ``liquidity`` is ``maker`` or ``taker``.

        ``risk`` is the initial risk, in money, of the round trip that this fill opens.
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
        """Emits a position; negative is short. ``held_by`` is ``bot``, ``manual`` or ``autonomous``."""
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
        """Emits the equity of a strategy's account, marked to market, in money."""
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
        """Emits the market regime that a strategy, or the desk, assumes; ``confidence`` is 0 to 1."""
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
        """Emits a risk measure and its limit."""
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
        """Emits a headline; ``sentiment`` ranges from -1 (bad) to 1 (good)."""
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
        """Emits a log line; ``level`` is ``debug``, ``info``, ``warning``, ``error`` or ``critical``."""
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
        """Emits a heartbeat of a component or, with a venue, of a feed; ``connection``: open or closed."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("heartbeat", component, connection, venue, instrument, now))

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until every event emitted so far is acknowledged or dropped; ``False`` on timeout."""
        return self._sender.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Sends the remaining events for at most ``timeout`` seconds and stops; safe to call twice.

        Returns whether every event was acknowledged or dropped in time. Unsent events count as ``closed``.
        """
        atexit.unregister(self.close)
        return self._sender.close(timeout)

    async def aclose(self, timeout: float = 5.0) -> bool:
        """Closes without blocking the event loop; otherwise like :meth:`close`."""
        return await asyncio.get_running_loop().run_in_executor(None, self.close, timeout)

    def stats(self) -> Stats:
        """Returns the account of the events so far."""
        return self._sender.stats()

    def __enter__(self) -> Client:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Client:  # noqa: PYI034 - see above
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _put(self, item: Item) -> bool:
        ring = self._ring
        if len(ring.items) >= ring.room:
            return self._put_slowly(item)
        ring.items.append(item)
        return True

    def _put_strictly(self, item: Item) -> bool:
        return Client._put(self, checked(named_fields(item, _FIELDS)))

    def _put_slowly(self, item: Item) -> bool:
        """Handles a ring without room: it is full or closed, or this forked child has no thread yet."""
        ring, sender = self._ring, self._sender
        if sender.thread is None and not sender.closing:
            try:
                with self._starting:
                    if sender.thread is None:
                        sender.start()
            except RuntimeError:  # the interpreter is exiting and starts no more threads
                ring.dropped_full.increment()
                return False
            if len(ring.items) < ring.room:
                ring.items.append(item)
                return True
        (ring.dropped_closed if sender.closing else ring.dropped_full).increment()
        return False

    def _new_sender(self) -> None:
        self._ring = Ring()
        self._sender = Sender(self._ring, self._options, self._connect(), Packer(_FIELDS))

    def _restart_after_fork(self) -> None:
        was_closed = self._sender.closing
        self._sender.detach()
        self._starting = threading.Lock()
        self._new_sender()
        self._sender.closing = was_closed


_SIGNATURES = {
    name: [*inspect.signature(method).parameters]
    for name, method in vars(Client).items()
    if inspect.isfunction(method) and name != "emit"
}
# A method that takes ``time_ns`` emits the event of its name, and its parameters are the fields.
_FIELDS = {name: ("type", *fields[1:]) for name, fields in _SIGNATURES.items() if "time_ns" in fields}


def _after_fork(reference: Callable[[], Client | None]) -> None:
    client = reference()
    if client is not None:
        client._restart_after_fork()  # noqa: SLF001 - part of the class


def _default_source() -> str:
    program = Path(sys.argv[0] if sys.argv else "")
    stem = program.parent.name if program.stem == "__main__" else program.stem
    name = f"{stem if stem not in ('', '-c') else 'python'}@{socket.gethostname() or 'localhost'}"
    return re.sub(r"[\s\x00-\x1f]", "_", name)[:128]
