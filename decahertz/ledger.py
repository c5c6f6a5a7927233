"""The loss ledger: where everything that was emitted is now.

For each stream, ``events:{source}`` and ``samples:{collector}``, and at every moment,

    emitted = stored + spooled + dropped

where *emitted* counts each event and sample once, *stored* is what the database has committed, *spooled*
what waits for it, and *dropped* what was given up, by reason. The book is changed in balanced steps and read
whole, so that a reading never shows a step half done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

CLIENT_PREFIX = "client_"
"""What an emitter says it lost is counted under its own reason behind this."""


class StreamLedger(Struct, frozen=True, kw_only=True):
    """One stream. Counted since the spool was made, in rows: one event or one sample each."""

    stream: str
    emitted: int
    stored: int
    spooled: int
    """Waiting for the database, on disk or in memory."""
    dropped: dict[str, int]
    """By reason; see ``docs/storage.md``."""
    imbalance: int
    """``emitted - stored - spooled - dropped``: 0, or the program has an error."""


@dataclass(slots=True)
class Account:
    """Counts of one stream, or a change of them."""

    emitted: int = 0
    stored: int = 0
    spooled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def add(self, other: Account) -> None:
        """Take the other in."""
        self.emitted += other.emitted
        self.stored += other.stored
        self.spooled += other.spooled
        for reason, rows in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + rows

    def subtract(self, other: Account) -> None:
        """Undo :meth:`add`."""
        self.add(
            Account(
                -other.emitted,
                -other.stored,
                -other.spooled,
                {reason: -rows for reason, rows in other.dropped.items()},
            )
        )

    @property
    def imbalance(self) -> int:
        """What is unaccounted for."""
        return self.emitted - self.stored - self.spooled - sum(self.dropped.values())


class Changes:
    """Changes to a book. Each of the methods keeps the balance."""

    def __init__(self) -> None:
        """Nothing has changed yet."""
        self.accounts: dict[str, Account] = {}

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.accounts)

    def __iter__(self) -> Iterator[tuple[str, Account]]:
        """Each stream and its change."""
        return iter(self.accounts.items())

    def emit(self, stream: str, rows: int) -> None:
        """Rows came in and wait."""
        account = self._account(stream)
        account.emitted += rows
        account.spooled += rows

    def store(self, stream: str, rows: int) -> None:
        """Rows that waited are in the database."""
        account = self._account(stream)
        account.spooled -= rows
        account.stored += rows

    def drop(self, stream: str, reason: str, rows: int) -> None:
        """Rows that waited are given up."""
        if rows:
            account = self._account(stream)
            account.spooled -= rows
            account.dropped[reason] = account.dropped.get(reason, 0) + rows

    def lose(self, stream: str, reason: str, rows: int) -> None:
        """Rows were lost before they could wait: emitted, and dropped at once."""
        self.emit(stream, rows)
        self.drop(stream, reason, rows)

    def reasons(self, stream: str) -> set[str]:
        """For what reasons rows of a stream are dropped here."""
        return set(self.accounts.get(stream, Account()).dropped)

    def merge(self, other: Changes) -> None:
        """Take the other's changes in."""
        for stream, account in other:
            self._account(stream).add(account)

    def _account(self, stream: str) -> Account:
        account = self.accounts.get(stream)
        if account is None:
            account = self.accounts[stream] = Account()
        return account


class Ledger:
    """All streams. May be used from several threads."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}

    def apply(self, changes: Changes) -> None:
        """Make the changes, all at once."""
        with self._lock:
            for stream, change in changes:
                self._accounts.setdefault(stream, Account()).add(change)

    def announce(self, stream: str) -> None:
        """Let a stream exist, at nought."""
        with self._lock:
            self._accounts.setdefault(stream, Account())

    def load(self, accounts: Mapping[str, Account]) -> None:
        """Take over what was written down; streams that were announced stay, at nought."""
        with self._lock:
            self._accounts = {stream: Account() for stream in self._accounts} | dict(accounts)

    def accounts(self) -> dict[str, Account]:
        """A copy of all accounts."""
        with self._lock:
            return {
                s: Account(a.emitted, a.stored, a.spooled, dict(a.dropped)) for s, a in self._accounts.items()
            }

    def reasons(self, stream: str) -> set[str]:
        """For what reasons rows of a stream were dropped so far."""
        with self._lock:
            return set(self._accounts.get(stream, Account()).dropped)

    def __contains__(self, stream: object) -> bool:
        """Whether the stream is known."""
        return stream in self._accounts

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self._accounts)

    def read(self) -> list[StreamLedger]:
        """All streams at one moment, by name."""
        with self._lock:
            return [
                StreamLedger(
                    stream=stream,
                    emitted=account.emitted,
                    stored=account.stored,
                    spooled=account.spooled,
                    dropped=dict(sorted(account.dropped.items())),
                    imbalance=account.imbalance,
                )
                for stream, account in sorted(self._accounts.items())
            ]
