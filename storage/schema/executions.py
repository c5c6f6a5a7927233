"""Fills as executions: each counts once, however often it was reported, and a bust or correction counts.

The one definition in SQL of which rows of ``fills`` are executions.
"""

from __future__ import annotations

from typing import Final

ORDER_KEY: Final = ("recorder", "strategy", "venue", "instrument", "account", "order_id")
"""Columns that identify an order, in the tables ``orders``, ``order_events`` and ``fills``."""

_KEY: Final = ", ".join(ORDER_KEY)
_LARGEST: Final = "1e100"


def executions(columns: str, source: str, where: str) -> str:
    """Returns the query of the executions among the rows of ``source`` (``fills``, or a join with it).

    Of the reports of one execution (same order and fill id) the earliest counts, by the clock of its origin;
    the newest correction replaces it, and a bust annuls it. Settlements, transfers and opening positions are
    no executions. Numbers above 1e100, of which sums would overflow, are left out, as the collectors do.
    ``columns`` are wanted besides the key, ``fill_id``, ``kind``, ``price``, ``quantity`` and ``time_ns``;
    ``where`` restricts whole orders.
    """
    return (  # names of this program
        f"SELECT * FROM (SELECT DISTINCT ON ({_KEY}, fill_id)"  # noqa: S608
        f" {_KEY}, fill_id, kind, price, quantity, time_ns{columns and ', ' + columns}"
        f" FROM {source} WHERE kind IN ('trade', 'correction', 'bust') AND {where}"
        f" AND quantity <= {_LARGEST} AND abs(price) <= {_LARGEST} AND abs(fee) <= {_LARGEST}"
        f" ORDER BY {_KEY}, fill_id, kind = 'bust' DESC, kind = 'correction' DESC,"
        " CASE kind WHEN 'correction' THEN -time_ns ELSE time_ns END, source, epoch, sequence"
        ") AS reports WHERE kind <> 'bust'"
    )
