"""The loss ledger: accounts for every emitted event and sample.

For each stream, ``events:{source}`` and ``samples:{collector}``, at any time

    emitted = stored + spooled + dropped

*emitted* counts each event and sample once, *stored* those that the database has committed, *spooled* those
that wait for it, and *dropped* those given up, by reason. Changes are balanced and applied atomically, so a
reader never sees half of one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

CLIENT_PREFIX = "client_"
"""Prefix of the reasons for drops that emitters report."""


class StreamLedger(Struct, frozen=True, kw_only=True):
    """Counts of one stream since the spool was created, in rows: one event or one sample each."""

    stream: str
    emitted: int
    stored: int
    spooled: int
    """Rows that wait for the database, on disk or in memory."""
    dropped: dict[str, int]
    """By reason; see ``docs/storage.md``."""
    imbalance: int
    """``emitted - stored - spooled - dropped``; other than 0 it shows a bug."""
    expired: int = 0
    """Stored rows that ``storage.max_bytes`` has dropped since, from the first day of the database on."""


@dataclass(slots=True)
class Account:
    """Counts of one stream, or a change to them."""

    emitted: int = 0
    stored: int = 0
    spooled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def add(self, other: Account) -> None:
        """Adds another account."""
        self.emitted += other.emitted
        self.stored += other.stored
        self.spooled += other.spooled
        for reason, rows in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + rows

    def subtract(self, other: Account) -> None:
        """Undoes :meth:`add`."""
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
        """Rows that are unaccounted for."""
        return self.emitted - self.stored - self.spooled - sum(self.dropped.values())


class Changes:
    """Changes to a ledger. Each method keeps it balanced."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def __bool__(self) -> bool:
        return bool(self.accounts)

    def __iter__(self) -> Iterator[tuple[str, Account]]:
        return iter(self.accounts.items())

    def emit(self, stream: str, rows: int) -> None:
        """Rows arrived and wait for the database."""
        account = self._account(stream)
        account.emitted += rows
        account.spooled += rows

    def store(self, stream: str, rows: int) -> None:
        """Waiting rows were stored."""
        account = self._account(stream)
        account.spooled -= rows
        account.stored += rows

    def drop(self, stream: str, reason: str, rows: int) -> None:
        """Waiting rows were given up."""
        if rows:
            account = self._account(stream)
            account.spooled -= rows
            account.dropped[reason] = account.dropped.get(reason, 0) + rows

    def lose(self, stream: str, reason: str, rows: int) -> None:
        """Rows were lost before they reached the spool: emitted and dropped at once."""
        self.emit(stream, rows)
        self.drop(stream, reason, rows)

    def reasons(self, stream: str) -> set[str]:
        """Reasons for which these changes drop rows of a stream."""
        return set(self.accounts.get(stream, Account()).dropped)

    def merge(self, other: Changes) -> None:
        """Adds other changes."""
        for stream, account in other:
            self._account(stream).add(account)

    def _account(self, stream: str) -> Account:
        account = self.accounts.get(stream)
        if account is None:
            account = self.accounts[stream] = Account()
        return account


class Ledger:
    """Accounts of all streams. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._expired: dict[str, int] = {}

    def apply(self, changes: Changes) -> None:
        """Applies the changes atomically."""
        with self._lock:
            for stream, change in changes:
                self._accounts.setdefault(stream, Account()).add(change)

    def announce(self, stream: str) -> None:
        """Opens the account of a stream, with zero counts."""
        with self._lock:
            self._accounts.setdefault(stream, Account())

    def load(self, accounts: Mapping[str, Account]) -> None:
        """Replaces the accounts with saved ones; announced streams without one restart at zero."""
        with self._lock:
            self._accounts = {stream: Account() for stream in self._accounts} | dict(accounts)

    def set_expired(self, rows: Mapping[str, int]) -> None:
        """Replaces the counts of stored rows that were dropped from the database, by stream."""
        with self._lock:
            self._expired = dict(rows)

    def accounts(self) -> dict[str, Account]:
        """A copy of all accounts."""
        with self._lock:
            return {
                s: Account(a.emitted, a.stored, a.spooled, dict(a.dropped)) for s, a in self._accounts.items()
            }

    def reasons(self, stream: str) -> set[str]:
        """Reasons for which rows of a stream were dropped."""
        with self._lock:
            return set(self._accounts.get(stream, Account()).dropped)

    def unbalanced(self) -> dict[str, int]:
        """Imbalance of each stream that has one."""
        with self._lock:
            return {stream: a.imbalance for stream, a in self._accounts.items() if a.imbalance}

    def __contains__(self, stream: object) -> bool:
        return stream in self._accounts

    def __len__(self) -> int:
        return len(self._accounts)

    def read(self) -> list[StreamLedger]:
        """A consistent snapshot of all streams, by name."""
        with self._lock:
            accounts = {stream: Account() for stream in self._expired} | self._accounts
            return [
                StreamLedger(
                    stream=stream,
                    emitted=account.emitted,
                    stored=account.stored,
                    spooled=account.spooled,
                    dropped=dict(sorted(account.dropped.items())),
                    imbalance=account.imbalance,
                    expired=self._expired.get(stream, 0),
                )
                for stream, account in sorted(accounts.items())
            ]
