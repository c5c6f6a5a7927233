"""Stores what the calls of providers cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from decahertz.clock import to_datetime

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from storage.database import Database

_ALL: Final = ""
"""Key name of the row that has the costs of all keys together."""
_CHARGE: Final = """
INSERT INTO provider_costs AS known (time, provider, key_name, cost, calls)
SELECT $2::timestamptz, $1, $3, $4::float8, 1 WHERE $5::float8 = 0 OR $4 <= $5
ON CONFLICT (provider, time, key_name) DO UPDATE SET cost = known.cost + $4, calls = known.calls + 1
WHERE $5 = 0 OR known.cost + $4 <= $5
RETURNING cost
"""
_SPENT: Final = """
SELECT key_name, cost, calls FROM provider_costs WHERE provider = $1 AND time = $2
ORDER BY cost DESC, key_name LIMIT 101
"""


def _start_of(day_ns: int) -> datetime:
    return to_datetime(day_ns).replace(hour=0, minute=0, second=0, microsecond=0)


class KeyCosts(Struct, frozen=True):
    """Costs of one key on one day."""

    key: str
    """Name of the API key, `local` without one, `recorder` for warming on a schedule."""
    cost: float
    calls: int


class Costs(Struct, frozen=True, kw_only=True):
    """Costs of one provider on one day."""

    cost: float = 0.0
    calls: int = 0
    keys: list[KeyCosts] = []
    """The hundred keys with the highest costs."""


class OverBudgetError(Exception):
    """Raised for a charge that the budget does not permit; it was not made."""

    def __init__(self, key: str | None) -> None:
        """``key``: whose budget, ``None``: that of all together."""
        super().__init__(key)
        self.key = key


class ProviderCostStore:
    """The table ``provider_costs``. Methods can raise :class:`~storage.database.DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(
        self, provider: str, day_ns: int, key: str, cost: float, *, limit: float, key_limit: float
    ) -> float:
        """Adds the cost of one call; returns the costs of the day, of all keys together.

        A limit of 0 is none. Raises :class:`OverBudgetError`. Processes that charge at the same time wait for
        each other, so that they never exceed a limit together.
        """
        day = _start_of(day_ns)
        async with self._database.query() as connection, connection.transaction():
            row = await connection.fetchrow(_CHARGE, provider, day, _ALL, cost, limit)
            if row is None:
                raise OverBudgetError(None)
            if await connection.fetchrow(_CHARGE, provider, day, key, cost, key_limit) is None:
                raise OverBudgetError(key)
        return float(row["cost"])

    async def spent(self, provider: str, day_ns: int) -> Costs:
        """The costs of a day."""
        rows: list[asyncpg.Record] = await self._database.fetch(_SPENT, [provider, _start_of(day_ns)])
        total = next((row for row in rows if row["key_name"] == _ALL), None)
        keys = [KeyCosts(row["key_name"], row["cost"], row["calls"]) for row in rows if row is not total]
        if total is None:
            return Costs()
        return Costs(cost=total["cost"], calls=total["calls"], keys=keys[:100])
