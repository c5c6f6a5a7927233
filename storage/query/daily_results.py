"""Daily changes of strategies from the database: of the reported equity, or else of P&L.

The statements skip from day to day in an index: their cost follows the number of days, not that of reports.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from decahertz.statistics.daily import DailyChange
from decahertz.statistics.equity_days import DAYS_KEPT, Transfers, changes_of_equity, merged
from decahertz.statistics.statistic import SampleBasis
from storage.query.round_trip_totals import LARGEST, RoundTripSelection, condition_of

if TYPE_CHECKING:
    from decahertz.trading_days import TradingDays
    from storage.database import Reads

_ACCOUNTS: Final = """
WITH RECURSIVE keys AS (
    (SELECT strategy, account FROM equity WHERE $1::text IS NULL OR strategy = $1
        ORDER BY strategy, account LIMIT 1)
    UNION ALL
    SELECT following.* FROM keys AS known, LATERAL (
        SELECT strategy, account FROM equity
        WHERE (strategy, account) > (known.strategy, known.account) AND ($1::text IS NULL OR strategy = $1)
        ORDER BY strategy, account LIMIT 1
    ) AS following
)
SELECT strategy, account, (
    SELECT min(time_ns) FROM equity WHERE strategy = keys.strategy AND account = keys.account
) AS first_ns FROM keys
"""
_CLOSES: Final = f"""
SELECT account.strategy, account.account, day.day, close.time_ns, close.equity
FROM unnest($1::text[], $2::text[]) AS account (strategy, account),
    unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS day (day, start_ns, end_ns),
    LATERAL (
        SELECT time_ns, equity FROM equity
        WHERE strategy = account.strategy AND account = account.account
            AND time_ns >= day.start_ns AND time_ns < day.end_ns
            AND abs(equity) <= {LARGEST:g} AND ($6::text IS NULL OR recorder = $6)
        ORDER BY time_ns DESC, source DESC, epoch DESC, sequence DESC LIMIT 1
    ) AS close
"""  # noqa: S608 - a number of ours
# A flow that is reported again counts once; its amount is null where its currency has no rate.
_CASH: Final = """
SELECT DISTINCT ON (strategy, account, cash_id) strategy, account, time_ns, kind,
    amount * CASE WHEN currency IS NULL OR currency = $1 THEN 1 ELSE rate END AS amount
FROM cash
WHERE time_ns < $2 AND ($3::text IS NULL OR strategy = $3) AND ($4::text IS NULL OR recorder = $4)
ORDER BY strategy, account, cash_id, time_ns, source, epoch, sequence
"""
_FIRST_CLOSED: Final = "SELECT min(closed_ns) FROM trades{condition}"
_PNL: Final = """
SELECT strategy, width_bucket(closed_ns, ${starts}::bigint[]) AS number, sum(pnl) AS pnl
FROM trades{condition} GROUP BY 1, 2
"""


class StrategyDays(Struct, frozen=True, kw_only=True):
    """The daily changes of a strategy."""

    strategy: str
    basis: SampleBasis
    changes: list[DailyChange]


class DayScope(Struct, frozen=True, kw_only=True):
    """How days and amounts are understood."""

    days: TradingDays
    now_ns: int
    currency: str
    """The account currency."""


async def daily_results(
    database: Reads, which: RoundTripSelection, scope: DayScope
) -> dict[str, StrategyDays]:
    """Returns the changes of the complete days of each strategy, at most 1,000.

    They are those of the equity that a strategy reports, without transfers. For a strategy that reports none,
    and for a selection of its round trips by anything but time, they are the P&L of the round trips by the
    day of closing; of a whole strategy with its other cash flows.
    """
    calendar = scope.days
    end_ns = scope.now_ns if which.end_ns is None else min(which.end_ns, scope.now_ns)
    today = calendar.day_of(end_ns)
    is_whole = which.account is None and not any((which.venue, which.instrument, which.side, which.regime))
    found: dict[str, StrategyDays] = {}
    pnl: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    if is_whole:
        transfers, flows = await _cash(database, which, scope, end_ns)
        found = await _equity(database, which, calendar, today, transfers)
        for strategy, of_days in flows.items():
            if strategy not in found:
                for day, amount in of_days.items():
                    pnl[strategy][day] += amount
    for strategy, of_days in (await _pnl(database, which, calendar, today)).items():
        if strategy not in found:
            for day, amount in of_days.items():
                pnl[strategy][day] += amount
    for strategy, of_days in pnl.items():
        first = max(min(of_days), today - DAYS_KEPT)
        changes = [DailyChange(day, of_days.get(day, 0.0)) for day in range(first, today)]
        found[strategy] = StrategyDays(strategy=strategy, basis=SampleBasis.PNL_DAYS, changes=changes)
    return found


def together(strategies: dict[str, StrategyDays]) -> tuple[list[DailyChange], SampleBasis]:
    """Returns the changes of several strategies together, and what they are."""
    bases = {one.basis for one in strategies.values()}
    basis = bases.pop() if len(bases) == 1 else SampleBasis.MIXED_DAYS if bases else SampleBasis.PNL_DAYS
    return merged(one.changes for one in strategies.values()), basis


async def _equity(
    database: Reads,
    which: RoundTripSelection,
    calendar: TradingDays,
    today: int,
    transfers: dict[tuple[str, str], Transfers],
) -> dict[str, StrategyDays]:
    accounts = await database.fetch(_ACCOUNTS, (which.strategy,))
    if not accounts:
        return {}
    first = max(min(calendar.day_of(row["first_ns"]) for row in accounts), today - DAYS_KEPT - 1)
    if which.start_ns is not None:
        first = max(first, calendar.day_of(which.start_ns) - 1)  # its close is where the first change starts
    days = range(first, max(today, first))
    starts = [0, *(calendar.start_ns(day) for day in days[1:])]
    ends = [calendar.start_ns(day + 1) for day in days]
    names = [row["strategy"] for row in accounts], [row["account"] for row in accounts]
    closes: dict[tuple[str, str], dict[int, tuple[int, float]]] = defaultdict(dict)
    rows = await database.fetch(_CLOSES, (*names, list(days), starts[: len(days)], ends, which.recorder))
    for row in rows:
        closes[row["strategy"], row["account"]][row["day"]] = (row["time_ns"], row["equity"])
    parts: dict[str, list[list[DailyChange]]] = defaultdict(list)
    for key, of_days in closes.items():
        parts[key[0]].append(changes_of_equity(of_days, transfers.get(key, Transfers()), today))
    return {
        strategy: StrategyDays(strategy=strategy, basis=SampleBasis.EQUITY_DAYS, changes=merged(changes))
        for strategy, changes in parts.items()
    }


async def _cash(
    database: Reads, which: RoundTripSelection, scope: DayScope, end_ns: int
) -> tuple[dict[tuple[str, str], Transfers], dict[str, dict[int, float]]]:
    """Transfers by strategy and account, and other cash flows by strategy and day."""
    transfers: dict[tuple[str, str], Transfers] = defaultdict(Transfers)
    flows: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    calendar, today = scope.days, scope.days.day_of(end_ns)
    first = 0 if which.start_ns is None else which.start_ns
    for row in await database.fetch(_CASH, (scope.currency, end_ns, which.strategy, which.recorder)):
        amount, time_ns = row["amount"], row["time_ns"]
        if amount is None or abs(amount) > LARGEST:
            continue
        if row["kind"] == "transfer":
            transfers[row["strategy"], row["account"]].add(time_ns, amount)
        elif first <= time_ns and (day := calendar.day_of(time_ns)) < today:
            flows[row["strategy"]][day] += amount
    return transfers, flows


async def _pnl(
    database: Reads, which: RoundTripSelection, calendar: TradingDays, today: int
) -> dict[str, dict[int, float]]:
    """P&L of the round trips by strategy and day of closing."""
    condition, values = condition_of(which)
    (first,) = await database.fetch(_FIRST_CLOSED.format(condition=condition), values)
    if first[0] is None:
        return {}
    days = range(max(calendar.day_of(first[0]), today - DAYS_KEPT), today)
    starts = [calendar.start_ns(day) for day in range(days.start, max(days.stop, days.start) + 1)]
    statement = _PNL.format(condition=condition, starts=len(values) + 1)
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in await database.fetch(statement, (*values, starts)):
        number = row["number"] - 1
        if 0 <= number < len(days) and row["pnl"] is not None:
            found[row["strategy"]][days[number]] = row["pnl"]
    return found
