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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, SupportsFloat

from decahertz_client._correction import checked, named_fields
from decahertz_client._http import Connection, parse_endpoint
from decahertz_client._key import find_key
from decahertz_client._packer import Item, Packer
from decahertz_client._requests import OrderRequests, submit_order
from decahertz_client._rest import Session
from decahertz_client._sender import Options, Ring, Sender, Stats
from decahertz_client._trading import TradingPermission, TradingWatch

# The rule of decahertz.event.Name.
_NAME = re.compile(r"[^\s\x00-\x1f](?:[^\x00-\x1f]{0,126}[^\s\x00-\x1f])?")
_SUBMIT_SECONDS = 10.0
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
    a response (the server may take 10 s to make a batch durable). :meth:`can_trade` returns
    ``can_trade_default`` without a word of the recorder that is at most ``can_trade_max_age_seconds`` old.
    Raises ``ValueError`` for invalid arguments; no other method raises, unless the client is ``strict``: then
    a method that emits an event raises :class:`InvalidEventError` if the server would refuse it. That costs
    some microseconds per call.

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
        can_trade_default: bool = False,
        can_trade_max_age_seconds: float = 5.0,
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
        for argument, seconds in (
            ("flush_seconds", flush_seconds),
            ("timeout_seconds", timeout_seconds),
            ("can_trade_max_age_seconds", can_trade_max_age_seconds),
        ):
            if not 0 < seconds < threading.TIMEOUT_MAX:
                raise ValueError(f"{argument} is {seconds}, must be positive")
        self._connect = functools.partial(
            Connection, parse_endpoint(url, ca_file), timeout_seconds, find_key(key)
        )
        self._source = name
        self._session = functools.partial(Session, url, key, ca_file, retry_seconds=0.0)
        self._options = Options(
            name, capacity, flush_seconds, timeout_seconds, max_batch_events, max_batch_bytes
        )
        self._new_watch = functools.partial(
            TradingWatch,
            lambda seconds: self._session(timeout_seconds=seconds),
            default=can_trade_default,
            max_age_seconds=can_trade_max_age_seconds,
        )
        self._watch = self._new_watch()
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

    def gap(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        venue: str,
        instrument: str,
        numbering: str,
        missing: int,
        from_sequence: int | None = None,
        to_sequence: int | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        recovered: bool = False,
        announced: bool = False,
        time_ns: int | None = None,
    ) -> bool:
        """Emits messages of a venue that were missed; once they have arrived, again with ``recovered``.

        ``numbering`` is the kind of messages that the venue numbers: ``ticks`` or ``quotes``. ``announced``:
        a heartbeat of the venue revealed the gap.
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            (
                "gap",
                venue,
                instrument,
                numbering,
                missing,
                from_sequence,
                to_sequence,
                from_ns,
                to_ns,
                recovered,
                announced,
                now,
            ),
        )

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
        expiry_ns: int | None = None,
        calendar: str | None = None,
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
                expiry_ns,
                calendar,
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
        account: str | None = None,
        decided_ns: int | None = None,
        decision_price: SupportsFloat | None = None,
        queue_seconds: SupportsFloat | None = None,
        limiter_seconds: SupportsFloat | None = None,
        request_id: str | None = None,
        multiplier: SupportsFloat | None = None,
        inverse: bool | None = None,
        currency: str | None = None,
        rate: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits a state change of an order; each one repeats the fields that identify the order.

        ``state`` is ``submitted``, ``accepted``, ``partially_filled``, ``filled``, ``cancelled``,
        ``rejected``, ``expired`` or ``unresolved``; ``price`` is the limit, ``arrival_price`` the mid at
        submission. ``decided_ns`` and ``decision_price`` are for orders without a signal; ``queue_seconds``
        and ``limiter_seconds`` are waits in your process before the submission; ``request_id`` names the
        order request that it comes from. Where the recorder knows the instrument's definition, it fills in
        ``multiplier`` and the fields after it at the end.
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
                account,
                decided_ns,
                decision_price,
                queue_seconds,
                limiter_seconds,
                request_id,
                multiplier,
                inverse,
                currency,
                rate,
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
        fee_currency: str | None = None,
        liquidity: str | None = None,
        risk: SupportsFloat | None = None,
        kind: str | None = None,
        account: str | None = None,
        multiplier: SupportsFloat | None = None,
        inverse: bool | None = None,
        lot_size: SupportsFloat | None = None,
        base_currency: str | None = None,
        currency: str | None = None,
        rate: SupportsFloat | None = None,
        fee_rate: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits a fill; ``fee`` is what was paid (negative: a rebate), ``liquidity`` ``maker`` or ``taker``.

        ``risk`` is the initial risk, in money, of the round trip that this fill opens. ``kind`` is ``trade``,
        ``opening``, ``transfer``, ``settlement``, ``bust`` or ``correction``. Where the recorder knows the
        instrument's definition, it fills in ``multiplier`` and the fields after it.
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
                fee_currency,
                liquidity,
                risk,
                kind,
                account,
                multiplier,
                inverse,
                lot_size,
                base_currency,
                currency,
                rate,
                fee_rate,
                now,
            ),
        )

    def position(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        strategy: str,
        venue: str,
        instrument: str,
        quantity: SupportsFloat,
        average_price: SupportsFloat | None = None,
        mark_price: SupportsFloat | None = None,
        held_by: str | None = None,
        account: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits a position; negative is short. ``held_by`` is ``bot``, ``manual`` or ``autonomous``."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            (
                "position",
                strategy,
                venue,
                instrument,
                quantity,
                average_price,
                mark_price,
                held_by,
                account,
                now,
            ),
        )

    def cash(  # noqa: PLR0913 - the fields of the event
        self,
        *,
        strategy: str,
        cash_id: str,
        kind: str,
        amount: SupportsFloat,
        currency: str | None = None,
        account: str | None = None,
        venue: str | None = None,
        instrument: str | None = None,
        reason: str | None = None,
        rate: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits a cash flow that is not part of a fill; a negative ``amount`` was paid.

        ``kind`` is ``funding``, ``interest``, ``dividend``, ``adjustment`` or ``transfer`` (a deposit or
        withdrawal, which is not a result).
        """
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            (
                "cash",
                strategy,
                cash_id,
                kind,
                amount,
                currency,
                account,
                venue,
                instrument,
                reason,
                rate,
                now,
            ),
        )

    def equity(
        self,
        *,
        strategy: str,
        equity: SupportsFloat,
        cash: SupportsFloat | None = None,
        account: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits the equity of a strategy's account, marked to market, in money."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("equity", strategy, equity, cash, account, now))

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
        soft_limit: SupportsFloat | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits a risk measure and its limits."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(("risk", name, value, limit, strategy, breached, soft_limit, now))

    def news(
        self,
        *,
        headline: str,
        publisher: str | None = None,
        instruments: tuple[str, ...] = (),
        sentiment: SupportsFloat | None = None,
        news_id: str | None = None,
        url: str | None = None,
        scorer: str | None = None,
        time_ns: int | None = None,
    ) -> bool:
        """Emits a headline; ``sentiment`` ranges from -1 (bad) to 1 (good)."""
        now = time.time_ns() if time_ns is None else time_ns
        return self._put(
            ("news", headline, publisher, instruments, sentiment, news_id, url, scorer, now),
        )

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

    def submit_order(self, *, idempotency_key: str | None = None, **fields: object) -> dict[str, Any]:
        """Queues an order request; returns its ``request_id``, ``state``, ``created_ns`` and ``message``.

        ``fields`` are those of ``POST /api/v1/orders``, such as ``kind`` and ``strategy``. The call repeats
        itself after a lost connection, under one key: the request is queued once. Give a key of your own to
        repeat a call that has raised. The key of the API needs the scope ``trade``. Unlike the methods that
        emit, it blocks, and it raises :class:`~decahertz_client.ProblemError` for a refusal and
        :class:`~decahertz_client.NoAnswerError` without an answer.
        """
        session = self._session(timeout_seconds=_SUBMIT_SECONDS)
        try:
            return submit_order(session, fields, idempotency_key)
        finally:
            session.close()

    def requests(
        self,
        capacity: int = 1,
        *,
        holder: str | None = None,
        strategies: Sequence[str] | None = None,
        lease_seconds: float = 15.0,
    ) -> OrderRequests:
        """Takes order requests from the recorder's queue: an iterator, the most urgent first.

        ``capacity`` bounds the requests that this process holds at a time, until it acknowledges them or
        gives them back. ``holder`` names the process for people (default: its source), ``strategies``
        restricts what it takes. A background thread renews the leases; a process that ends loses them after
        ``lease_seconds``. The key needs the scope ``trade``. Use one iterator per process, and close it.
        """
        return OrderRequests(
            lambda seconds: self._session(timeout_seconds=seconds),
            holder=self._source if holder is None else holder,
            capacity=capacity,
            strategies=strategies,
            lease_seconds=lease_seconds,
        )

    def can_trade(self, strategy: str, venue: str | None = None, instrument: str | None = None) -> bool:
        """Returns whether nothing that the recorder knows speaks against an order of this strategy.

        Less than a microsecond: a background thread, which the first call starts, keeps the recorder's word,
        and a halt reaches it at once. While that word is missing or too old, it returns
        ``can_trade_default``. A halted instrument counts where it is named. It is not a permission: a limit
        of your own process may still speak against the order. The key needs the scope ``read``.
        """
        return self._watch.can_trade(strategy, venue, instrument)

    def trading_permission(
        self, strategy: str, venue: str | None = None, instrument: str | None = None
    ) -> TradingPermission:
        """Returns the same with the age of the recorder's word, and everything that speaks against it."""
        return self._watch.permission(strategy, venue, instrument)

    def wait_can_trade(self, timeout: float = 5.0) -> bool:
        """Waits for the recorder's first word about :meth:`can_trade`; ``False`` on timeout."""
        return self._watch.wait(timeout)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until every event emitted so far is acknowledged or dropped; ``False`` on timeout."""
        return self._sender.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Sends the remaining events for at most ``timeout`` seconds and stops; safe to call twice.

        Returns whether every event was acknowledged or dropped in time. Unsent events count as ``closed``.
        """
        atexit.unregister(self.close)
        self._watch.close()
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
        self._watch = self._new_watch()
        if was_closed:
            self._watch.close()
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
