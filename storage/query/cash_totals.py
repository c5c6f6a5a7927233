"""Fees and cash flows added up by currency: each execution and each flow counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from storage.schema.executions import executions
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import Reads

_LARGEST_NS: Final = 2**63 - 1
_LARGEST: Final = "1e100"
_CHOSEN: Final = (
    "time_ns >= $1 AND time_ns < $2 AND ($3::text IS NULL OR recorder = $3)"
    " AND ($4::text IS NULL OR strategy = $4)"
)
_FEES: Final = executions("fee, currency, fee_currency, fee_rate", "fills", _CHOSEN)
# Settlements are not executions; their fees are paid all the same.
_STATEMENT: Final = f"""
WITH paid AS (
    SELECT strategy, account, fee, currency, fee_currency, fee_rate FROM ({_FEES}) AS executed
    UNION ALL
    SELECT strategy, account, fee, currency, fee_currency, fee_rate FROM (
        SELECT DISTINCT ON (recorder, strategy, account, venue, instrument, order_id, fill_id) * FROM fills
        WHERE kind = 'settlement' AND {_CHOSEN} AND abs(fee) <= {_LARGEST}
        ORDER BY recorder, strategy, account, venue, instrument, order_id, fill_id,
            time_ns, source, epoch, sequence
    ) AS settled
),
flows AS (
    SELECT strategy, account, 'fee' AS kind, coalesce(fee_currency, currency) AS currency, -fee AS amount,
        CASE WHEN coalesce(fee_currency, currency) IS NULL THEN 1 ELSE fee_rate END AS rate
    FROM paid WHERE fee <> 0
    UNION ALL
    SELECT strategy, account, kind, currency, amount, CASE WHEN currency IS NULL THEN 1 ELSE rate END
    FROM (
        SELECT DISTINCT ON (recorder, strategy, account, cash_id) * FROM cash
        WHERE {_CHOSEN} AND abs(amount) <= {_LARGEST}
        ORDER BY recorder, strategy, account, cash_id, time_ns, source, epoch, sequence
    ) AS once
)
SELECT strategy, account, kind, currency, count(*) AS n, sum(amount) AS amount,
    sum(amount * rate) AS converted, count(*) FILTER (WHERE rate IS NULL) AS without_rate
FROM flows GROUP BY strategy, account, kind, currency ORDER BY strategy, account, kind, currency
"""  # noqa: S608 - names of our own


class CashSelection(Struct, frozen=True, kw_only=True):
    """Selects fills and cash flows by their time, ``[start_ns, end_ns)``; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


class CashTotal(Struct, frozen=True, kw_only=True):
    """Sum of one kind of payment in one currency. A negative amount was paid."""

    strategy: str
    account: str
    kind: str
    currency: str | None
    """``None``: none is stated, so that it counts in the account currency."""
    n: int
    amount: float
    converted: float | None
    """In the account currency, at the rates of their times, without those that have no rate."""
    without_rate: int


async def cash_totals(database: Reads, which: CashSelection) -> list[CashTotal]:
    """Returns the sums by strategy, account, kind and currency."""
    texts = (which.recorder, which.strategy)
    if any(text is not None and not storable(text) for text in texts):
        return []
    end_ns = _LARGEST_NS if which.end_ns is None else which.end_ns
    rows = await database.fetch(_STATEMENT, (which.start_ns or 0, end_ns, *texts))
    return [CashTotal(**dict(row)) for row in rows]
