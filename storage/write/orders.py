"""Keeps the current state of each order: the table ``orders``.

The newest change of an order counts, in whatever order the changes arrive; a final state stays final even
where the emitter's clock stepped back. A field that describes the order itself (arrival price,
type, signal) keeps its value when a later change does not repeat it. The place of an order in lists,
``created_…``, is that of its first change that was stored, and never changes: a cursor would miss an order
that moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from decahertz.clock import to_datetime
from decahertz.event import FINAL_ORDER_STATES, Order

if TYPE_CHECKING:
    from storage.database import AnyConnection

PlacedOrder: TypeAlias = tuple[Order, str, int, int, int]
"""(change, source, epoch, sequence, received_ns)."""

_KEY = ("strategy", "venue", "instrument", "order_id")
_PRIMARY_KEY = ("recorder", *_KEY)
_KEPT = ("arrival_price", "order_type", "signal_id")
_NEWEST = ("state", "side", "quantity", "filled_quantity", "price", "reason", "time_ns")
_IDENTITY = ("source", "epoch", "sequence", "received_ns")
_CREATED = ("created_ns", "created_source", "created_epoch", "created_sequence")
_COLUMNS = (*_PRIMARY_KEY, *_KEPT, *_NEWEST, *_IDENTITY, "time", "is_final", *_CREATED)
_RANK = ("is_final", "time_ns", "epoch", "sequence", "source")


def _upsert() -> str:
    newer = "({}) > ({})".format(
        ", ".join(f"excluded.{name}" for name in _RANK), ", ".join(f"orders.{name}" for name in _RANK)
    )
    changes = [
        f"{name} = CASE WHEN {newer} THEN excluded.{name} ELSE orders.{name} END"
        for name in _COLUMNS
        if name not in (*_PRIMARY_KEY, *_KEPT, *_CREATED)
    ] + [
        f"{name} = CASE WHEN {newer} THEN coalesce(excluded.{name}, orders.{name})"
        f" ELSE coalesce(orders.{name}, excluded.{name}) END"
        for name in _KEPT
    ]
    values = ", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))
    return (
        f"INSERT INTO orders ({', '.join(_COLUMNS)}) VALUES ({values})"  # noqa: S608 - names of this module
        f" ON CONFLICT ({', '.join(_PRIMARY_KEY)}) DO UPDATE SET {', '.join(changes)}"
    )


_UPSERT = _upsert()


async def update_orders(connection: AnyConnection, recorder: str, changes: Iterable[PlacedOrder]) -> None:
    """Update the current state of orders, in the transaction that stores the changes."""
    by_key: dict[tuple[str, ...], list[PlacedOrder]] = {}
    for placed in changes:
        by_key.setdefault(tuple(getattr(placed[0], name) for name in _KEY), []).append(placed)
    # Sorted, so that two writers lock the rows in the same order.
    rows = [(recorder, *key, *_newest(by_key[key])) for key in sorted(by_key)]
    if rows:
        await connection.executemany(_UPSERT, rows)


def _newest(changes: list[PlacedOrder]) -> Iterable[Any]:
    """The values after the key, of all changes of one order together."""
    changes.sort(key=_rank, reverse=True)
    for name in _KEPT:
        yield next((value for c in changes if (value := getattr(c[0], name)) is not None), None)
    order, *identity = changes[0]
    yield from (getattr(order, name) for name in _NEWEST)
    yield from identity
    yield to_datetime(order.time_ns)
    yield order.state in FINAL_ORDER_STATES
    yield from min((change.time_ns, *identity[:3]) for change, *identity in changes)


def _rank(placed: PlacedOrder) -> tuple[Any, ...]:
    order, source, epoch, sequence, _ = placed
    return (order.state in FINAL_ORDER_STATES, order.time_ns, epoch, sequence, source)
