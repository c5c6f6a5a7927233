"""The loss ledger's counts on their way into the spool file."""

from __future__ import annotations

from collections.abc import Iterable

from decahertz.ledger import Account, Changes, Ledger
from storage.entry import Ack, Entry

DAMAGED = "damaged"
"""Drop reason of rows that cannot be read back."""


class SpoolAccounts:
    """Keeps the ledger of the process and the ledger in the spool file in step.

    Every change counts in the process at once, and in the file with its next transaction. Entries that exist
    in memory only are the exception: the file counts them as emitted when they are acked, so that after a
    crash no row is missing from it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.unsaved = Changes()
        """Changes that the next transaction saves."""
        self._memory_only = Changes()

    def load(self, accounts: dict[str, Account]) -> dict[str, int]:
        """Sets the ledger to the counts of a file; returns the lost rows by stream.

        Rows are lost if the file counts them and has no entry for them. They count as dropped, so that each
        account balances.
        """
        lost = self._balance(accounts)
        self.ledger.load(accounts)
        return lost

    def take_over(self, before: SpoolAccounts) -> None:
        """Adds the unsaved changes of the file that this one replaces."""
        self.apply(before.unsaved)
        self._memory_only = before._memory_only
        self.ledger.apply(self._memory_only)

    def committed(self) -> dict[str, Account]:
        """The counts as saved in the file."""
        accounts = self.ledger.accounts()
        for changes in (self.unsaved, self._memory_only):
            for stream, change in changes:
                accounts[stream].subtract(change)
        return accounts

    def apply(self, changes: Changes) -> None:
        """Counts changes that belong to no entry of the file."""
        self.ledger.apply(changes)
        self.unsaved.merge(changes)

    def ack(self, ack: Ack) -> None:
        """Counts an entry as stored or dropped."""
        entry = ack.entry
        changes = Changes()
        changes.store(entry.stream, ack.stored)
        for reason, rows in ack.dropped.items():
            changes.drop(entry.stream, reason, rows)
        self.ledger.apply(changes)
        if not entry.id:
            changes.emit(entry.stream, entry.rows)
            self._memory_only.emit(entry.stream, -entry.rows)
        self.unsaved.merge(changes)

    def add_memory_only(self, entries: Iterable[Entry]) -> None:
        """Counts entries that could not be written as emitted."""
        changes = Changes()
        for entry in entries:
            changes.emit(entry.stream, entry.rows)
        self.ledger.apply(changes)
        self._memory_only.merge(changes)

    def note_rescued(self, changes: Changes) -> None:
        """Notes that the file counts these rows as emitted now, which were in memory only before."""
        for stream, account in changes:
            self._memory_only.emit(stream, -account.emitted)

    def saved(self) -> None:
        """Notes that the unsaved changes were committed."""
        self.unsaved = Changes()

    def _balance(self, accounts: dict[str, Account]) -> dict[str, int]:
        lost: dict[str, int] = {}
        for stream, account in accounts.items():
            missing = account.imbalance
            if not missing:
                continue
            correction = Account()
            if missing > 0:
                correction.dropped[DAMAGED] = lost[stream] = missing
            else:  # entries that the file never counted
                correction.emitted = -missing
            account.add(correction)
            self.unsaved.accounts[stream] = correction
        return lost
