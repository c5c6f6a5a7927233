"""Order requests: takes them from the recorder's queue, keeps their leases, and says what became of them."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Callable

from decahertz_client._backoff import delay_seconds
from decahertz_client._errors import NoAnswerError, ProblemError, ReaderError
from decahertz_client._rest import Session, quoted

_PATH = "/api/v1/orders"
_FIRST_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 2.0
_FINAL_STATUSES = (400, 401, 403, 404, 422, 501)
"""Answers to a take that another attempt does not change."""
_CONFLICT = 409
_WAIT_SECONDS = 5.0
_CLOSE_SECONDS = 5.0
_LOG = logging.getLogger("decahertz_client")


_SUBMITS = 3
"""Attempts to submit an order under one idempotency key."""


def submit_order(session: Session, fields: dict[str, object], key: str | None) -> dict[str, Any]:
    """Queues an order request. Raises :class:`~decahertz_client.ReaderError`."""
    headers = {"Idempotency-Key": uuid.uuid4().hex if key is None else key}
    for attempt in range(1, _SUBMITS + 1):
        try:
            receipt: dict[str, Any] = session.post(_PATH, fields, headers)
        except NoAnswerError:  # noqa: PERF203 - a request takes longer
            if attempt == _SUBMITS:
                raise
        else:
            return receipt
    raise AssertionError  # the last attempt returns or raises


class RequestRefusedError(Exception):
    """Raised by :meth:`OrderRequest.begin` for a request that must not be sent; the text says why."""


class OrderRequest:
    """A request that this process holds.

    Its fields are in :attr:`body`, by the names of ``POST /api/v1/orders``. Call :meth:`begin` before the
    order leaves the process, and then :meth:`ack`, :meth:`reject` or :meth:`cancelled`; :meth:`nack` gives
    back what was not sent. Methods may be called from any thread.
    """

    def __init__(self, owner: OrderRequests, data: dict[str, Any]) -> None:
        self._owner = owner
        self._asked = threading.Event()
        self.token: int = data["token"]
        """Fencing token of the lease."""
        self.request_id: str = data["request_id"]
        """Identifies the request: give it to the venue as the client order id, and to ``order`` events."""
        self.body: dict[str, Any] = data["body"]
        """The request as it was submitted."""
        self.kind: str = self.body["kind"]
        """``equity``, ``option_strategy`` or ``manual_legs``."""
        self.attempts: int = data["attempts"]
        """Times that a process took it."""
        self.created_ns: int = data["created_ns"]
        """When it was submitted."""
        self.is_begun = data["state"] == "working"
        """Whether it was begun: the order may be in the market."""
        self.is_lost = False
        """Whether this process holds it no longer: its lease ended, it was cancelled, or it is over."""
        self.cancel_reason: str | None = None
        """Why the order shall be cancelled, once that is asked for."""
        self._note_cancel(data.get("cancel_requested_ns"), data.get("reason"))

    def __repr__(self) -> str:
        return f"<OrderRequest {self.request_id} {self.kind} {self.body.get('instrument')}>"

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asks to cancel the order."""
        return self._asked.is_set()

    def wait_cancel(self, seconds: float | None = None) -> bool:
        """Waits until somebody asks to cancel the order; returns whether somebody has."""
        return self._asked.wait(seconds)

    def begin(self) -> None:
        """Says, durably, that the order is sent now. From here on nobody else gets the request.

        Raises :class:`RequestRefusedError` if the order must not be sent: the lease has ended, the request
        was cancelled or has expired, trading is halted, or the recorder does not answer.
        """
        self._owner.begin(self)
        self.is_begun = True

    def ack(self, order_id: str | None = None) -> bool:
        """Says that the request is dealt with; ``order_id`` as in ``order`` events.

        Returns whether the recorder has noted it; otherwise it is told again in the background, unless it
        refuses: then the log says why.
        """
        return self._owner.report(self, "ack", {"order_id": order_id})

    def nack(self, reason: str) -> bool:
        """Gives the request back, because nothing was sent: it may be handed out again. Returns as above."""
        return self._owner.report(self, "nack", {"outcome": "retry", "reason": reason})

    def reject(self, reason: str) -> bool:
        """Says that this process or the broker refuses the request. Returns as above."""
        return self._owner.report(self, "nack", {"outcome": "rejected", "reason": reason})

    def cancelled(self, reason: str) -> bool:
        """Says that the order was cancelled, or never sent. Returns as above."""
        return self._owner.report(self, "nack", {"outcome": "cancelled", "reason": reason})

    def _note_cancel(self, requested_ns: int | None, reason: str | None) -> None:
        if requested_ns is not None and not self._asked.is_set():
            self.cancel_reason = reason
            self._asked.set()

    def _note_loss(self) -> None:
        self.is_lost = True


class OrderRequests:
    """Iterates over the requests that this process gets; a background thread keeps the leases.

    The iteration ends with :meth:`close`. It goes on while the recorder does not answer, and raises
    :class:`~decahertz_client.ProblemError` if it refuses to hand out requests, for lack of a key for
    instance.
    """

    def __init__(
        self,
        session: Callable[[float], Session],
        *,
        holder: str,
        capacity: int,
        strategies: Sequence[str] | None,
        lease_seconds: float,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, must be at least 1")
        if not 1 <= lease_seconds <= 3600:  # noqa: PLR2004 - the limits of the server
            raise ValueError(f"lease_seconds is {lease_seconds}, must be between 1 and 3600")
        self._poll: dict[str, Any] = {
            "holder": holder,
            "session": uuid.uuid4().hex,
            "capacity": capacity,
            "lease_seconds": lease_seconds,
            "wait_seconds": min(lease_seconds / 3, _WAIT_SECONDS),
            "strategies": None if strategies is None else list(strategies),
        }
        self._polling = session(lease_seconds)
        self._telling = session(lease_seconds / 3)
        self._held: dict[str, OrderRequest] = {}
        self._untold: dict[str, tuple[OrderRequest, str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[OrderRequest | None] = queue.SimpleQueue()
        self._error: ReaderError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decahertz-requests", daemon=True)
        self._thread.start()

    def __enter__(self) -> OrderRequests:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[OrderRequest]:
        return self

    def __next__(self) -> OrderRequest:
        while True:
            request = self._ready.get()
            if request is None:
                self._ready.put(None)  # for other threads that iterate
                if self._error is not None:
                    raise self._error
                raise StopIteration
            if not request.is_lost:
                return request

    @property
    def held(self) -> list[OrderRequest]:
        """The requests that this process holds."""
        with self._lock:
            return list(self._held.values())

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Ends the iteration and gives back what was not begun; safe from any thread, and twice.

        Requests that were begun and not acknowledged are unresolved when their leases end.
        """
        self._closing.set()
        self._ready.put(None)
        self._polling.abort()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        if any(not request.is_begun for request in self.held):
            self._end_poll()
        for request in self.held:
            if not request.is_begun:
                request.nack("its process has ended")
        self._telling.close()

    def begin(self, request: OrderRequest) -> None:
        """See :meth:`OrderRequest.begin`."""
        try:
            self._tell(request, "begin", {})
        except ProblemError as problem:
            if problem.status == _CONFLICT:
                self._forget(request)
            else:
                self._tell_later(request, "nack", _unanswered(problem))
            raise RequestRefusedError(problem.detail or str(problem)) from problem
        except ReaderError as error:
            # It may have been noted, and nothing is sent: as soon as the recorder answers, it is told so.
            self._tell_later(request, "nack", _unanswered(error))
            raise RequestRefusedError(f"the recorder does not answer: {error}") from error

    def report(self, request: OrderRequest, call: str, body: dict[str, Any]) -> bool:
        """Tells the recorder what became of a request; see :meth:`OrderRequest.ack`."""
        try:
            self._tell(request, call, body)
        except ReaderError as error:
            if _is_final(error):
                self._refused(request, call, error)
            else:
                self._tell_later(request, call, body)
            return False
        self._forget(request)
        return True

    def _tell(self, request: OrderRequest, call: str, body: dict[str, Any]) -> None:
        path = f"{_PATH}/{quoted(request.request_id)}/{call}"
        self._telling.post(path, {"token": request.token, **body})

    def _tell_later(self, request: OrderRequest, call: str, body: dict[str, Any]) -> None:
        with self._lock:
            self._untold[request.request_id] = (request, call, body)

    def _forget(self, request: OrderRequest) -> None:
        """Notes that nothing is left to tell about a request."""
        self._drop(request)
        with self._lock:
            if self._untold.get(request.request_id, (None,))[0] is request:
                del self._untold[request.request_id]

    def _drop(self, request: OrderRequest) -> None:
        """Notes that this process holds a request no longer; it may still have to tell what became of it."""
        request._note_loss()  # noqa: SLF001 - part of the same module
        with self._lock:
            if self._held.get(request.request_id) is request:
                del self._held[request.request_id]

    def _refused(self, request: OrderRequest, call: str, error: ReaderError) -> None:
        _LOG.error("decahertz refuses the %s of request %s: %s", call, request.request_id, error)
        self._forget(request)

    def _run(self) -> None:
        try:
            self._poll_on()
        finally:
            self._polling.close()

    def _poll_on(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._tell_rest()
                self._take(self._ask(self._polling))
            except ReaderError as error:  # noqa: PERF203 - a request takes longer
                if self._closing.is_set():
                    return
                if isinstance(error, ProblemError) and error.status in _FINAL_STATUSES:
                    self._error = error
                    self._ready.put(None)
                    return
                if failures == 0:
                    _LOG.warning("no order requests from decahertz: %s", error)
                self._closing.wait(delay_seconds(failures, _FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS))
                failures += 1
            else:
                if failures:
                    _LOG.warning("order requests from decahertz again, after %d failures", failures)
                failures = 0

    def _end_poll(self) -> None:
        """Ends a poll that may still wait at the recorder: it would take again what is given back."""
        with suppress(ReaderError):
            self._take(self._ask(self._telling, capacity=len(self.held), wait_seconds=0))

    def _ask(self, session: Session, **other: float) -> tuple[dict[str, OrderRequest], dict[str, Any]]:
        with self._lock:
            held = dict(self._held)
        known = [
            {
                "request_id": request.request_id,
                "token": request.token,
                "cancel_requested": request.cancel_requested,
            }
            for request in held.values()
        ]
        return held, session.post(f"{_PATH}/take", {**self._poll, **other, "held": known})

    def _take(self, asked: tuple[dict[str, OrderRequest], dict[str, Any]]) -> None:
        held, answer = asked
        for request_id in answer["lost"]:
            self._drop(held[request_id])
        for data in answer["taken"]:
            with self._lock:
                known = self._held.get(data["request_id"])
                if known is not None and known.token == data["token"]:
                    continue
                request = OrderRequest(self, data)
                self._held[request.request_id] = request
            self._ready.put(request)
        with self._lock:
            for data in answer["held"]:
                known = self._held.get(data["request_id"])
                if known is not None and known.token == data["token"]:
                    known._note_cancel(data["cancel_requested_ns"], data["cancel_reason"])  # noqa: SLF001

    def _tell_rest(self) -> None:
        """Tells what the recorder was not there for. Raises :class:`ReaderError` while it is not."""
        with self._lock:
            untold = list(self._untold.values())
        for request, call, body in untold:
            try:
                self._tell(request, call, body)
            except ReaderError as error:  # noqa: PERF203 - a request takes longer
                if not _is_final(error):
                    raise
                self._refused(request, call, error)
            else:
                self._forget(request)


def _is_final(error: ReaderError) -> bool:
    return isinstance(error, ProblemError) and error.status in (_CONFLICT, *_FINAL_STATUSES)


def _unanswered(error: ReaderError) -> dict[str, Any]:
    return {"outcome": "retry", "reason": f"nothing was sent: {error}"[:1024].replace("\0", "")}
