"""Names of instruments and strategies of which anything is stored.

The statement skips from key to key in the indexes (a loose index scan), so its cost follows the number of
keys, not that of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class KnownNames:
    """All names."""

    instruments: frozenset[str]
    strategies: frozenset[str]


def _skipping(table: str, columns: tuple[str, ...]) -> str:
    """A recursive query of the distinct values of the leading columns of an index."""
    keys = ", ".join(columns)
    after = ", ".join(f"known.{name}" for name in columns)
    return f"""{table}_keys AS (
    (SELECT {keys} FROM {table} ORDER BY {keys} LIMIT 1)
    UNION ALL
    SELECT following.* FROM {table}_keys AS known, LATERAL (
        SELECT {keys} FROM {table} WHERE ({keys}) > ({after}) ORDER BY {keys} LIMIT 1
    ) AS following
)"""  # noqa: S608 - names of this module


_KEY: Final = ("strategy", "venue", "instrument")
_STATEMENT: Final = f"""WITH RECURSIVE
{_skipping("signals", _KEY)},
{_skipping("positions", _KEY)},
{_skipping("orders", ("recorder", *_KEY))},
{_skipping("equity", ("strategy",))},
{_skipping("regimes", ("strategy",))},
{_skipping("risks", ("strategy",))}
SELECT NULL AS strategy, instrument FROM instruments
UNION SELECT strategy, instrument FROM open_round_trips
UNION SELECT strategy, instrument FROM signals_keys
UNION SELECT strategy, instrument FROM positions_keys
UNION SELECT strategy, instrument FROM orders_keys
UNION SELECT strategy, NULL FROM equity_keys
UNION SELECT strategy, NULL FROM regimes_keys
UNION SELECT strategy, NULL FROM risks_keys
"""  # noqa: S608 - names of this module


async def known_names(database: Database) -> KnownNames:
    """All names. Raises the errors of the database."""
    rows = await database.fetch(_STATEMENT)
    return KnownNames(
        instruments=frozenset(row["instrument"] for row in rows) - {None},
        strategies=frozenset(row["strategy"] for row in rows) - {None},
    )
