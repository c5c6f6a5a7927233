"""Background thread: takes events from the ring, sends them in batches and accounts for every one."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from decahertz_client._backoff import delay_seconds
from decahertz_client._http import Connection, NoResponseError, Response, UnreachableError
from decahertz_client._packer import Batch, Item, Outbox, Packer

_log = logging.getLogger("decahertz_client")

_CHUNK = 64  # events encoded between two offers of the interpreter lock to the trading thread
_FIRST_BACKOFF, _MAX_BACKOFF = 0.05, 2.0  # seconds between attempts while the server is unavailable
_OPERATOR_BACKOFF = 5.0  # seconds between attempts that fail until an operator steps in
_MIN_BATCH_BYTES = 1024  # no server is so strict, and no network so slow, that less would help
_MAX_LOGGED_CAUSES = 100  # causes of rejection; further ones are only counted
_RETRYABLE = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_INVALID = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True)
class Stats:
    """Account of the events of one epoch: ``emitted == acknowledged + pending + sum(dropped.values())``."""

    source: str
    epoch: int
    """Start of the epoch, nanoseconds UTC; the last six digits are random."""
    emitted: int
    """Calls of ``emit`` and of its typed forms."""
    acknowledged: int
    """Durable on the server."""
    pending: int
    """In the ring, or sent and not yet acknowledged. After :meth:`Client.close`: sent without a response, so
    the server may have stored them."""
    dropped: dict[str, int]
    """Lost, by reason: ``ring_full``, ``unserialisable`` (a value that is not finite, or not a number, a text
    or a list of these), ``rejected`` (by the server), ``too_large`` (for the server), ``closed`` (emitted
    after :meth:`Client.close`, or not sent before its timeout)."""
    corrected: int
    """Events with a value that was nearly right and was corrected, such as ``side="BUY"``."""
    resends: int
    """Batches sent again."""
    connected: bool
    """Whether the last attempt reached the server."""
    last_error: str | None
    """Most recent error, human-readable."""


class Options(NamedTuple):
    """Arguments of the client that the sender needs."""

    source: str
    capacity: int
    flush_seconds: float
    timeout_seconds: float
    max_batch_events: int
    max_batch_bytes: int


class AtomicCounter:
    """Counts from any thread without a lock: the interpreter advances an iterator atomically."""

    def __init__(self) -> None:
        self._steps = itertools.count()
        self._reads = 0

    def increment(self) -> None:
        next(self._steps)

    def read(self) -> int:
        """Current count; one reader at a time. Reading advances the iterator too, hence the second count."""
        self._reads += 1
        return next(self._steps) - self._reads + 1


class Ring:
    """Bounded queue between emitting threads, which append, and the sender, which takes from the left."""

    __slots__ = ("dropped_closed", "dropped_full", "items", "room")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.room = 0
        """Maximum length of ``items``; 0 before the start and after the end."""
        self.dropped_full = AtomicCounter()
        self.dropped_closed = AtomicCounter()


class Sender:
    """The background thread of one epoch, and the account of its events.

    ::

        ring ──► in flight (outbox) ──► acknowledged
          │               └───────────► dropped: unserialisable, rejected, too_large, closed
          └───────────────────────────► dropped: ring_full, closed
    """

    def __init__(self, ring: Ring, options: Options, connection: Connection, packer: Packer) -> None:
        self.thread: threading.Thread | None = None
        self.closing = False
        self._ring = ring
        self._options = options
        self._connection = connection
        self._packer = packer
        self._epoch = _new_epoch()
        self._wake = threading.Event()
        self._aborted = False
        self._flushing = 0
        # The account: written by the thread, read by stats() and flush(), all under this lock.
        self._changed = threading.Condition(threading.Lock())
        self._taken = 0
        self._in_flight = 0
        self._acknowledged = 0
        self._dropped: Counter[str] = Counter()
        self._resends = 0
        self._connected = False
        self._last_error: str | None = None
        # The rest belongs to the thread alone.
        self._outbox = Outbox()
        self._max_bytes = options.max_batch_bytes  # of the next batch: adapts to the speed of the network
        self._server_max_bytes = options.max_batch_bytes  # learned from responses 413
        self._next_attempt = 0.0
        self._failures = 0
        self._reported_drops: dict[str, int] = {}
        self._warned: set[str] = set()
        self._logged_causes: set[tuple[str, str]] = set()

    def start(self) -> None:
        """Starts the thread and opens the ring."""
        self.thread = threading.Thread(target=self._run, name="decahertz-client", daemon=True)
        self.thread.start()
        self._ring.room = self._options.capacity

    def stats(self) -> Stats:
        with self._changed:
            waiting = len(self._ring.items)
            dropped = self._drops()
            late = self._ring.dropped_closed.read()
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
                corrected=self._packer.corrections.count,
                resends=self._resends,
                connected=self._connected,
                last_error=self._last_error,
            )

    def flush(self, timeout: float) -> bool:
        with self._changed:
            goal = self._taken + len(self._ring.items)
            self._flushing += 1
            self._wake.set()
            try:
                return self._changed.wait_for(lambda: self._taken - self._in_flight >= goal, timeout)
            finally:
                self._flushing -= 1

    def close(self, timeout: float) -> bool:
        with self._changed:
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
                self._drop_unsent()
        with self._changed:
            return not (self._in_flight or self._ring.items or self._dropped.get("closed"))

    def detach(self) -> None:
        """In a forked child: releases what belongs to the parent."""
        self._connection.detach()

    # The thread

    def _run(self) -> None:
        pause = self._options.flush_seconds
        while not self._is_done():
            self._wake.wait(pause)
            self._wake.clear()
            try:
                pause = self._step()
            except Exception as error:  # noqa: BLE001 - the thread survives any error of its own
                pause = self._back_off("internal", f"internal error: {error!r}", _MAX_BACKOFF)
        self._connection.close()

    def _is_done(self) -> bool:
        if self._aborted or not self.closing:
            return self._aborted
        reported = self._failures > 0 or self._current_drops() == self._reported_drops
        return reported and not self._outbox and not self._ring.items

    def _step(self) -> float:
        """Sends one batch if one is due; returns the seconds until the next step."""
        if self._aborted or self._next_attempt > time.monotonic():
            return max(self._next_attempt - time.monotonic(), 0.0)
        if not self._outbox:
            self._take()
        drops = self._current_drops()
        if self._outbox:
            if self._max_bytes < self._options.max_batch_bytes:
                self._outbox.divide_first(self._max_bytes)
            self._send(self._outbox.first, drops)
        elif drops != self._reported_drops:
            self._send(Batch(self._outbox.next_sequence, []), drops)
        hurry = self.closing or self._flushing or len(self._ring.items) >= self._options.max_batch_events
        idle = 0.0 if self._outbox or hurry else self._options.flush_seconds
        return max(self._next_attempt - time.monotonic(), idle)

    def _take(self) -> None:
        """Moves events from the ring to the outbox, which numbers them."""
        left = min(len(self._ring.items), self._options.max_batch_events)
        while left and len(self._outbox) <= 1:
            count = min(_CHUNK, left)
            left -= count
            self._outbox.append(self._take_packed(count), self._max_bytes)
            time.sleep(0)  # lets a trading thread that waits for the interpreter go first

    def _take_packed(self, count: int) -> list[bytes]:
        ring = self._ring
        with self._changed:
            self._in_flight += count
            self._taken += count
            self._update_room()
            items = [ring.items.popleft() for _ in range(count)]
        events, errors = self._packer.pack(items)
        for error in errors:
            self._log_cause("unserialisable", error)
        self._log_corrections()
        self._account(count - len(events), "unserialisable")
        return events

    def _send(self, batch: Batch, drops: dict[str, int]) -> None:
        body = self._packer.pack_batch(self._options.source, self._epoch, batch, drops)
        with self._changed:
            self._resends += batch.was_sent
        batch.was_sent = True
        address = self._connection.address
        started = time.monotonic()
        try:
            response = self._connection.post(body)
        except UnreachableError as error:
            self._connected = False
            self._back_off("unreachable", f"cannot connect to {address}: {error}")
        except NoResponseError as error:
            self._connected = False
            batch.is_uncertain = True
            if error.timed_out:
                self._reduce_size(batch)
            if error.was_reused and not self._failures:
                self._failures = 1  # servers close idle connections: reconnect at once
            else:
                self._back_off("no_response", f"no response from {address}: {error}")
        else:
            self._connected = True
            if response.status == HTTPStatus.REQUEST_TIMEOUT:
                self._reduce_size(batch)
            elif time.monotonic() - started < self._options.timeout_seconds / 4:
                self._max_bytes = min(2 * self._max_bytes, self._server_max_bytes)
            self._handle(batch, response, drops)

    def _reduce_size(self, batch: Batch) -> None:
        """Sends smaller batches after a timeout: over a slow network less at once gets through."""
        self._max_bytes = max(_MIN_BATCH_BYTES, batch.size // 4)

    # Responses

    def _handle(self, batch: Batch, response: Response, drops: dict[str, int]) -> None:
        text = f"{self._connection.address} responded {response.summary}"
        if response.status == HTTPStatus.OK:
            self._acknowledge(batch, response, drops)
        elif response.status in _RETRYABLE or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            batch.is_uncertain = True  # a batch that was not durable in time may still become durable
            self._back_off(str(response.status), text, response.retry_after)
        elif batch.events and response.status in _INVALID and response.is_problem:
            self._reject(batch, response)
        elif batch.events and response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self._shrink(batch)
        else:
            self._back_off(str(response.status), text, _OPERATOR_BACKOFF)

    def _acknowledge(self, batch: Batch, response: Response, drops: dict[str, int]) -> None:
        durable = response.content.get("durable_sequence")
        emitter = (response.content.get("source"), response.content.get("epoch"))
        if emitter != (self._options.source, self._epoch) or not isinstance(durable, int):
            text = f"{self._connection.address} responded {response.summary}, but is not Decahertz"
            self._back_off("foreign_server", text, _OPERATOR_BACKOFF)
            return
        count = max(min(durable - batch.first + 1, len(batch.events)), 0)
        if batch.events and not count:
            batch.is_uncertain = True
            self._back_off("not_durable", f"{self._connection.address} stored nothing of a batch")
            return
        self._reported_drops = drops
        if batch.events:
            self._outbox.replace_first([Batch(batch.first + count, batch.events[count:], is_uncertain=True)])
        self._account(count)
        self._recover()

    def _reject(self, batch: Batch, response: Response) -> None:
        """Corrects all events the first time; later drops those that the server names, or looks for them."""
        if self._packer.correct_all(self._outbox):
            self._log_corrections()
            return
        rejected = response.rejected_events(len(batch.events))
        if not rejected and len(batch.events) > 1:
            self._outbox.halve_first()
            return
        rejected = rejected or {0: response.summary}
        for cause in sorted(set(rejected.values())):
            self._log_cause("rejected", cause)
        self._outbox.reject(rejected)
        self._account(len(rejected), "rejected")
        self._recover()

    def _shrink(self, batch: Batch) -> None:
        """Sends smaller batches from now on: the body exceeded the limit of the server."""
        size = batch.size
        self._server_max_bytes = self._max_bytes = max(_MIN_BATCH_BYTES, min(self._max_bytes, size // 2))
        if len(batch.events) > 1:
            self._outbox.halve_first()
            return
        self._outbox.replace_first([])
        self._log_cause("too_large", f"an event of {size} bytes")
        self._account(1, "too_large")

    # The account

    def _account(self, count: int, reason: str = "") -> None:
        """Accounts for ``count`` events in flight: acknowledged, or dropped for a reason."""
        with self._changed:
            self._in_flight -= count
            if not reason:
                self._acknowledged += count
            elif count:
                self._dropped[reason] += count
            self._update_room()
            self._changed.notify_all()

    def _update_room(self) -> None:
        self._ring.room = 0 if self.closing else self._options.capacity - self._in_flight

    def _drops(self) -> dict[str, int]:
        """Drops so far, by reason, without zeros; called under the lock."""
        full = self._ring.dropped_full.read()
        return {**self._dropped, "ring_full": full} if full else dict(self._dropped)

    def _current_drops(self) -> dict[str, int]:
        with self._changed:
            drops = self._drops()
        if drops.get("ring_full") != self._reported_drops.get("ring_full"):
            text = f"the ring is full ({self._options.capacity} events): new events are dropped"
            self._warn_once("ring_full", text)
        return drops

    def _drop_unsent(self) -> None:
        """After the end of the thread: counts as ``closed`` the events that the server cannot hold."""
        unsent = self._outbox.remove_unsent()
        with self._changed:
            waiting = len(self._ring.items)
            self._ring.items.clear()
            self._taken += waiting
            self._in_flight -= unsent
            if unsent + waiting:
                self._dropped["closed"] += unsent + waiting

    # Failures

    def _back_off(self, cause: str, text: str, min_seconds: float = 0.0) -> float:
        """Schedules the next attempt after a failure; logs each cause once until the server recovers."""
        self._failures += 1
        pause = min_seconds + delay_seconds(self._failures - 1, _FIRST_BACKOFF, _MAX_BACKOFF)
        self._next_attempt = time.monotonic() + pause
        self._last_error = text
        self._warn_once(cause, text)
        return pause

    def _recover(self) -> None:
        self._failures = 0
        if self._warned:
            self._warned.clear()
            _log.info("%s accepts events again", self._connection.address)

    def _warn_once(self, cause: str, text: str) -> None:
        if cause not in self._warned:
            self._warned.add(cause)
            _log.warning("%s", text)

    def _log_cause(self, reason: str, cause: str) -> None:
        """Logs why events are dropped, once per cause: the emitting program needs a fix."""
        self._last_error = f"{reason}: {cause}"
        if (reason, cause) not in self._logged_causes and len(self._logged_causes) < _MAX_LOGGED_CAUSES:
            self._logged_causes.add((reason, cause))
            _log.warning("events dropped as %s: %s", reason, cause)

    def _log_corrections(self) -> None:
        """Logs what was corrected, once per field of an event type."""
        news = self._packer.corrections.news
        for text in news:
            _log.warning("event corrected: %s", text)
        news.clear()


def _new_epoch() -> int:
    """Now, with six random digits: processes forked at the same moment differ."""
    return time.time_ns() // 1_000_000 * 1_000_000 + int.from_bytes(os.urandom(4), "big") % 1_000_000
