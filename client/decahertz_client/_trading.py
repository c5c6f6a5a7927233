"""Whether trading may go on: a thread keeps the recorder's answer, so that asking costs no I/O."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Callable, NamedTuple

from decahertz_client._backoff import delay_seconds
from decahertz_client._errors import ReaderError
from decahertz_client._rest import Session

_PATH = "/api/v1/risk/can-trade"
_WAIT_SECONDS = 1.0
"""How long the recorder holds an answer back while nothing changes."""
_TIMEOUT_SECONDS = 4.0
_FIRST_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_LOG = logging.getLogger("decahertz_client")


class TradingPermission(NamedTuple):
    """Whether a strategy may trade, as far as the recorder knows."""

    can_trade: bool
    """The answer of :meth:`~decahertz_client.Client.can_trade`."""
    age_seconds: float | None
    """Age of the recorder's word at most; ``None``: it has not answered yet."""
    is_default: bool
    """Whether ``can_trade`` is the fail-safe default, because the recorder's word is missing or too old."""
    reasons: tuple[str, ...]
    """Everything that speaks against it; of the default, why it counts."""


class _Word(NamedTuple):
    """The recorder's word in a form that is quick to look up."""

    asked: float
    """When it was asked for, by the monotonic clock: it is no older."""
    against_all: bool
    strategies: frozenset[str]
    instruments: frozenset[tuple[str | None, str]]
    """Venue and instrument; without a venue: at every venue."""
    time_ns: int
    objections: list[dict[str, Any]]


class TradingWatch:
    """Keeps the newest state of trading. The thread starts with the first call."""

    def __init__(self, session: Callable[[float], Session], *, default: bool, max_age_seconds: float) -> None:
        self._make_session = session
        self._default = default
        self._max_age = max_age_seconds
        self._word: _Word | None = None
        self._problem = "the recorder has not answered yet"
        self._has_word = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._thread: threading.Thread | None = None

    def can_trade(self, strategy: str, venue: str | None, instrument: str | None) -> bool:
        """See :meth:`~decahertz_client.Client.can_trade`."""
        word = self._word
        if word is None or monotonic() - word.asked > self._max_age:
            if self._thread is None:
                self.start()
            return self._default
        if word.against_all or strategy in word.strategies:
            return False
        if instrument is None or not word.instruments:
            return True
        return (None, instrument) not in word.instruments and (venue, instrument) not in word.instruments

    def permission(self, strategy: str, venue: str | None, instrument: str | None) -> TradingPermission:
        """See :meth:`~decahertz_client.Client.trading_permission`."""
        self.start()
        word = self._word
        age = None if word is None else monotonic() - word.asked
        if word is None or age is None or age > self._max_age:
            said = "" if age is None else f"the recorder's word is {age:.1f} s old: "
            return TradingPermission(self._default, age, True, (said + self._problem,))
        reasons = tuple(one["reason"] for one in word.objections if _covers(one, strategy, venue, instrument))
        return TradingPermission(not reasons, age, False, reasons)

    def wait(self, timeout: float) -> bool:
        """Waits for the recorder's first word; returns whether it is there."""
        self.start()
        return self._has_word.wait(timeout)

    def start(self) -> None:
        """Starts the thread unless it runs, or the client is closed."""
        with self._lock:
            if self._thread is not None or self._closing.is_set():
                return
            self._thread = threading.Thread(target=self._run, name="decahertz-can-trade", daemon=True)
            # It cannot start while the interpreter exits; the default counts then.
            with suppress(RuntimeError):
                self._thread.start()

    def close(self) -> None:
        """Ends the thread; from now on the default counts. Safe twice, and without :meth:`start`."""
        with self._lock:
            self._closing.set()
            thread, session = self._thread, self._session
        if session is not None:
            session.abort()
        if thread is not None and thread.ident is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)
        self._word, self._problem = None, "the client is closed"

    def _run(self) -> None:
        session = self._session = self._make_session(_TIMEOUT_SECONDS)
        failures = 0
        while not self._closing.is_set():
            asked = monotonic()
            known = self._word
            query = {} if known is None else {"known_ns": known.time_ns, "wait_seconds": _WAIT_SECONDS}
            try:
                word = _word_of(asked, session.get(_PATH, query))
            except (ReaderError, KeyError, TypeError) as error:
                if self._closing.is_set():
                    break
                self._problem = str(error)
                if failures == 0:
                    _LOG.warning("decahertz does not say whether trading may go on: %s", error)
                self._closing.wait(delay_seconds(failures, _FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS))
                failures += 1
                continue
            if failures:
                _LOG.warning("decahertz says again whether trading may go on, after %d failures", failures)
                failures = 0
            self._word, self._problem = word, "it does not answer in time"
            self._has_word.set()
        session.close()


def _word_of(asked: float, answer: dict[str, Any]) -> _Word:
    objections: list[dict[str, Any]] = answer["objections"]
    about_all = [one for one in objections if one["strategy"] is None and one["instrument"] is None]
    return _Word(
        asked,
        bool(about_all),
        frozenset(one["strategy"] for one in objections if one["strategy"] is not None),
        frozenset((one["venue"], one["instrument"]) for one in objections if one["instrument"] is not None),
        answer["time_ns"],
        objections,
    )


def _covers(objection: dict[str, Any], strategy: str, venue: str | None, instrument: str | None) -> bool:
    if objection["instrument"] is not None:
        return objection["instrument"] == instrument and objection["venue"] in (None, venue)
    return objection["strategy"] in (None, strategy)
