"""Names of instruments and strategies of which anything is stored.

The statement of all names skips from key to key in the indexes (a loose index scan), so its cost follows the
number of keys, not that of rows. Tables without such an index are asked for a single name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import Reads


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


async def known_names(database: Reads) -> KnownNames:
    """All names. Raises the errors of the database."""
    rows = await database.fetch(_STATEMENT)
    return KnownNames(
        instruments=frozenset(row["instrument"] for row in rows) - {None},
        strategies=frozenset(row["strategy"] for row in rows) - {None},
    )


_NAMED: Final[Mapping[str, str]] = {
    "instrument": "SELECT EXISTS (SELECT FROM news WHERE instruments && $1::text[])"
    " OR EXISTS (SELECT FROM gaps WHERE instrument = ANY($1::text[]))"
    " OR EXISTS (SELECT FROM cash WHERE instrument = ANY($1::text[]))"
    " OR EXISTS (SELECT FROM order_requests WHERE instrument = ANY($1::text[]))",
    "strategy": "SELECT EXISTS (SELECT FROM cash WHERE strategy = ANY($1::text[]))"
    " OR EXISTS (SELECT FROM order_requests WHERE strategy = ANY($1::text[]))",
}


async def is_named(database: Reads, name: str, values: Sequence[str]) -> bool:
    """Whether a table that :func:`known_names` leaves out has a row of one of these names.

    ``name`` is ``instrument`` or ``strategy``. Raises the errors of the database.
    """
    rows = await database.fetch(_NAMED[name], [[value for value in values if storable(value)]])
    return bool(rows[0][0])
