"""Does in the background what the writer has left to do for round trips.

Fills that are due are folded again first, see :mod:`storage.write.round_trips`. Then the worst and best P&L
of finished round trips are computed and stored with them: a round trip is due once the samples of its last
cycle are stored, and one that is derived again is due again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from decahertz.accounting import CostMethod
from decahertz.clock import Clock
from storage.database import Database, Snapshot
from storage.schema.excursions import EXCURSION_KEY, excursion_of
from storage.write.due import DueWorker
from storage.write.round_trips import fold_due

if TYPE_CHECKING:
    from storage.database import AnyConnection

_AT_ONCE: Final = 20
"""Round trips of one transaction: the writer waits for it when it has to derive one of them again."""
# Locked before they are computed: none that changes meanwhile is stored.
_DUE: Final = f"""
SELECT ctid, {", ".join(EXCURSION_KEY)} FROM trades WHERE recorder = $1 AND excursion_due_ns <= $2
ORDER BY excursion_due_ns LIMIT {_AT_ONCE} FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - names of our own
_STORE: Final = """
UPDATE trades SET mae = $2, mfe = $3, mids = $4, excursion_reason = $5, excursion_due_ns = NULL
WHERE ctid = $1
"""


class RoundTripWorker(DueWorker):
    """Derives round trips that are due, and stores the worst and best P&L of those of one recorder."""

    name: ClassVar[str] = "round trips"
    table: ClassVar[str] = "trades"

    def __init__(
        self,
        database: Database,
        recorder: str,
        clock: Clock,
        oldest_seconds: Callable[[], float],
        cost: CostMethod = CostMethod.AVERAGE,
    ) -> None:
        """``cost`` is how round trips are computed; the rest as in :class:`DueWorker`."""
        super().__init__(database, recorder, clock, oldest_seconds)
        self._cost = cost

    async def compute(self, connection: AnyConnection, recorded_ns: int) -> int:
        """Folds some fills again, or else compute some excursions; returns the number of either."""
        folded = await fold_due(connection, self._recorder, self._cost)
        if folded:
            return folded
        reads = Snapshot(connection)
        found = []
        for row in await connection.fetch(_DUE, self._recorder, recorded_ns):
            excursion = await excursion_of(reads, dict(row))
            found.append((row["ctid"], excursion.mae, excursion.mfe, excursion.mids, excursion.reason))
        await connection.executemany(_STORE, found)
        return len(found)
