"""Keeps the current state of each order: the table ``orders``.

The state follows from all reports and fills of an order, in whatever order they arrive
(:mod:`decahertz.order_states`). A field that describes the order itself (arrival price, type, signal) keeps
its value when a later report does not repeat it. The place of an order in lists, ``created_…``, is that of
its first report that was stored, and never changes: a cursor would miss an order that moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from decahertz.clock import to_datetime
from decahertz.event import FINAL_ORDER_STATES, Fill, Order, OrderState, Side
from decahertz.order_states import Rank, contradictions, rank, state_of, states_in, with_report
from storage.schema.executions import ORDER_KEY, executions
from storage.schema.order_quality import NEVER_NS

if TYPE_CHECKING:
    from storage.database import AnyConnection

PlacedOrder: TypeAlias = tuple[Order, str, int, int, int]
"""(report, source, epoch, sequence, received_ns)."""
OrderKey: TypeAlias = tuple[str, ...]
"""(strategy, venue, instrument, account, order_id)."""
_Row: TypeAlias = dict[str, Any]
"""Values of a row of ``orders``, by column."""

_KEY = ORDER_KEY[1:]
_KEPT = (
    *("arrival_price", "order_type", "signal_id"),
    *("decided_ns", "decision_price", "queue_seconds", "limiter_seconds", "request_id"),
    *("multiplier", "inverse", "currency", "rate"),
)
_NEWEST = ("side", "quantity", "filled_quantity", "price", "reason", "time_ns")
_IDENTITY = ("source", "epoch", "sequence", "received_ns")
_CREATED = ("created_ns", "created_source", "created_epoch", "created_sequence")
_EXECUTED = (
    *("fills", "executed_quantity", "average_price"),
    *("first_fill_ns", "last_fill_ns", "first_fill_price", "last_fill_price"),
)
_MERGED = (
    *("state", "is_final", "time", "reported_state", "reported_states", "contradictions"),
    *("submitted_ns", "accepted_ns", "quality_due_ns"),
)
_COLUMNS = (*ORDER_KEY, *_KEPT, *_NEWEST, *_IDENTITY, *_CREATED, *_EXECUTED, *_MERGED)

_NOT_EXECUTED: Mapping[str, Any] = dict.fromkeys(_EXECUTED) | {"fills": 0, "executed_quantity": 0.0}
# Filters by order id only, to match the index orders_id: on a table without statistics the planner may choose
# to read all orders of the recorder.
_FIND = (
    f"SELECT {', '.join(_COLUMNS)} FROM orders"  # noqa: S608 - names of this module
    " WHERE recorder = $1 AND order_id = ANY($2::text[]) ORDER BY " + ", ".join(ORDER_KEY) + " FOR UPDATE"
)
_SUM = f"""
SELECT {", ".join(_KEY)}, count(*)::integer AS fills,
    sum(quantity ORDER BY time_ns, fill_id) AS executed_quantity,
    sum(quantity * price ORDER BY time_ns, fill_id) / sum(quantity ORDER BY time_ns, fill_id)
        AS average_price,
    min(time_ns) AS first_fill_ns, max(time_ns) AS last_fill_ns,
    (array_agg(price ORDER BY time_ns, fill_id))[1] AS first_fill_price,
    (array_agg(price ORDER BY time_ns DESC, fill_id DESC))[1] AS last_fill_price
FROM ({executions("", "fills", "recorder = $1 AND order_id = ANY($2::text[])")}) AS executions
GROUP BY {", ".join(_KEY)}
"""  # noqa: S608 - names of this module
_SAVE = (
    f"INSERT INTO orders ({', '.join(_COLUMNS)})"  # noqa: S608 - names of this module
    f" VALUES ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 1))})"
    f" ON CONFLICT ({', '.join(ORDER_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in (*ORDER_KEY, *_CREATED))
)


_REFER = (
    "UPDATE orders SET quality_due_ns = 0 WHERE recorder = $1 AND signal_id = ANY($2::text[]) AND is_final"
)


async def refer_to_signals(connection: AnyConnection, recorder: str, signal_ids: Iterable[str]) -> None:
    """Have the quality of orders that ended before their signal was stored computed again."""
    if ids := sorted(set(signal_ids)):
        await connection.execute(_REFER, recorder, ids)


async def update_orders(
    connection: AnyConnection, recorder: str, reports: Iterable[PlacedOrder], fills: Iterable[Fill]
) -> None:
    """Updates the current state of orders, in the transaction that has stored these reports and fills.

    The quality of those that have ended is due (:mod:`storage.schema.order_quality`).
    """
    reported: dict[OrderKey, list[PlacedOrder]] = {}
    for placed in reports:
        reported.setdefault(_key(placed[0]), []).append(placed)
    filled = {_key(fill) for fill in fills}
    if not reported and not filled:
        return
    ids = sorted({key[-1] for key in (*reported, *filled)})
    found = {_key_of(row): dict(row) for row in await connection.fetch(_FIND, recorder, ids)}
    changed = reported.keys() | (filled & found.keys())  # fills of an order without a report wait for it
    executed: dict[OrderKey, Any] = {}
    if to_sum := sorted({key[-1] for key in changed if key in filled or key not in found}):
        executed = {_key_of(row): row for row in await connection.fetch(_SUM, recorder, to_sum)}
    rows = []
    for key in sorted(changed):  # sorted, so that two writers lock the rows in the same order
        row = _merged(found.get(key), reported.get(key, []))
        if key in filled or key not in found:
            row |= {name: executed.get(key, _NOT_EXECUTED)[name] for name in _EXECUTED}
        row |= dict(zip(ORDER_KEY, (recorder, *key), strict=True))
        rows.append(_finished(row))
    await connection.executemany(_SAVE, [[row[name] for name in _COLUMNS] for row in rows])


def _key(event: Order | Fill) -> OrderKey:
    return event.strategy, event.venue, event.instrument, event.account, event.order_id


def _key_of(row: Any) -> OrderKey:  # noqa: ANN401 - a record, by column name
    return tuple(row[name] for name in _KEY)


def _merged(before: _Row | None, reports: list[PlacedOrder]) -> _Row:
    """The row with these reports."""
    rows = [_row_of(*placed) for placed in reports]
    if before is None:
        created = min(rows, key=lambda row: tuple(row[name] for name in ("time_ns", *_IDENTITY[:3])))
        first = dict(zip(_CREATED, (created[name] for name in ("time_ns", *_IDENTITY[:3])), strict=True))
    else:
        rows.append(before)
        first = {name: before[name] for name in _CREATED}
    rows.sort(key=_rank, reverse=True)
    merged = {**(before or {}), **rows[0], **first}
    for name in _KEPT:
        merged[name] = next((value for row in rows if (value := row[name]) is not None), None)
    for name in ("submitted_ns", "accepted_ns"):
        merged[name] = min((value for row in rows if (value := row[name]) is not None), default=None)
    states = 0
    for row in rows:
        for state in row["reported_states"]:
            states = with_report(states, OrderState(state))
    merged["reported_states"] = states
    return merged


def _row_of(order: Order, source: str, epoch: int, sequence: int, received_ns: int) -> _Row:
    """The values of one report."""
    values = {name: getattr(order, name) for name in (*_KEPT, *_NEWEST)}
    values |= {"source": source, "epoch": epoch, "sequence": sequence, "received_ns": received_ns}
    return values | {
        "reported_state": order.state,
        "reported_states": [order.state],
        "submitted_ns": order.time_ns if order.state is OrderState.SUBMITTED else None,
        "accepted_ns": order.time_ns if order.state is OrderState.ACCEPTED else None,
    }


def _rank(row: _Row) -> tuple[Rank, int, int, str]:
    place = rank(OrderState(row["reported_state"]), row["time_ns"], row["quantity"])
    return place, row["epoch"], row["sequence"], row["source"]


def _finished(row: _Row) -> _Row:
    """The row with what follows from its reports and its fills."""
    quantity, executed = row["quantity"], row["executed_quantity"]
    states = row["reported_states"]
    state = state_of(OrderState(row["reported_state"]), quantity, executed)
    return row | {
        "state": state,
        "is_final": state in FINAL_ORDER_STATES,
        "time": to_datetime(row["time_ns"]),
        "side": Side(row["side"]),
        "reported_state": OrderState(row["reported_state"]),
        "reported_states": states_in(states),
        "contradictions": contradictions(states, quantity, executed),
        "quality_due_ns": 0 if state in FINAL_ORDER_STATES else NEVER_NS,
    }
