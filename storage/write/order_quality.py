"""Computes the quality of orders that have ended, and stores it with them.

The worker computes it soon after the end of an order, and again when its markouts are complete. A query
computes what is still due itself: answers never depend on the worker, only their speed does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from storage.schema.executions import ORDER_KEY
from storage.schema.order_quality import HAS_MARKET, QUALITY_COLUMNS, measured
from storage.write.due import DueWorker

if TYPE_CHECKING:
    from storage.database import AnyConnection

_AT_ONCE: Final = 200
"""Orders of one transaction: the writer waits for it when it has to change one of them."""
_KEY: Final = ", ".join(ORDER_KEY)
# Locked before the figures are computed, so that they are those of the newest reports and fills. The worker
# waits for no row: it is never in the way of the writer's locks.
_DUE: Final = f"""
SELECT {_KEY} FROM orders WHERE recorder = $1 AND quality_due_ns <= $2
ORDER BY quality_due_ns LIMIT {_AT_ONCE} FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - names of our own
_KEYS: Final = ", ".join(f"${number}::text[]" for number in range(1, len(ORDER_KEY) + 1))
_CHOSEN: Final = f"WHERE ({_KEY}) IN (SELECT * FROM unnest({_KEYS}))"  # noqa: S608 - names of our own


def _compute(*, has_market: bool) -> str:
    figures = ", ".join(f"{name} = m.{name}" for name in QUALITY_COLUMNS)
    same = " AND ".join(f"o.{name} = m.{name}" for name in ORDER_KEY)
    return (
        f"WITH {measured(_CHOSEN, has_market=has_market)}"  # noqa: S608 - names of our own
        f" UPDATE orders AS o SET {figures},"
        " quality_due_ns = CASE WHEN m.settled_ns > $7 THEN m.settled_ns END"
        f" FROM measured AS m WHERE {same}"
    )


class OrderQualityWorker(DueWorker):
    """Keeps the quality of the orders of one recorder up to date."""

    name: ClassVar[str] = "order quality"
    table: ClassVar[str] = "orders"
    _statement = ""

    async def prepare(self, connection: AnyConnection) -> None:
        """Looks whether mids are stored."""
        self._statement = _compute(has_market=bool(await connection.fetchval(HAS_MARKET)))

    async def compute(self, connection: AnyConnection, recorded_ns: int) -> int:
        """Computes the quality of some orders; returns their number."""
        due = await connection.fetch(_DUE, self._recorder, recorded_ns)
        if due:
            keys = [[row[name] for row in due] for name in ORDER_KEY]
            await connection.execute(self._statement, *keys, recorded_ns)
        return len(due)
