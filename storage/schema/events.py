"""Event tables, derived from the event classes: columns, statements, and rows read back as events.

Every event table begins with ``time`` and ``recorder``, continues with the fields of its event, and ends
with the exact time, the time of receipt and the identity ``(source, epoch, sequence)``. An event is stored
once because its identity is recorded in ``emitters`` in the same transaction
(:mod:`storage.write.emitters`), so the tables need no unique index.

Bulk events get their tables from :func:`event_table_statements` at the first start, because the engine of
the tiers decides whether they are partitioned; the migrations create the other tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.inspect import (
    BoolType,
    EnumType,
    FloatType,
    IntType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
)

from decahertz.event import EVENT_TYPES, Event, Fill, FillKind, Heartbeat, Liquidity, Log, Quote, Side, Tick
from storage.schema.samples import (
    RECORDER_COLUMN,
    TIME,
    Column,
    comment_statement,
    comment_statements,
    literal,
    quoted,
    recent_of,
)

if TYPE_CHECKING:
    import asyncpg

BULK_EVENTS = tuple(event_type for event_type in EVENT_TYPES if event_type.bulk)
PACKED_EVENTS = tuple(event_type for event_type in BULK_EVENTS if event_type.follows_raw)
"""Quotes and ticks: on plain PostgreSQL they are packed (:mod:`storage.tiers.plain.packed_events`)."""
IDENTITY = ("source", "epoch", "sequence")
"""Identifies an event among the events of all recorders."""

EVENT_NUMBER = "event_number"

_EventT = TypeVar("_EventT", bound=Event)

_SQL_TYPES: dict[type[Type], str] = {
    IntType: "bigint",
    FloatType: "double precision",
    BoolType: "boolean",
    StrType: "text",
    EnumType: "text",
    VarTupleType: "text[]",
}
_TABLE_COMMENTS: dict[type[Event], str] = {
    Quote: "Best bid and ask as the venue published them; an empty side is null.",
    Tick: "Trade prints on the market, of all participants.",
    Log: "Log lines of the trading system's components.",
    Heartbeat: "Heartbeats of feeds and components.",
}
_FIELD_COMMENTS = {
    "venue": "The venue.",
    "instrument": "The instrument, by the venue's symbol.",
    "venue_sequence": "The venue's own sequence number of the message.",
    "missed": "Numbered messages lost just before this one.",
    "bid": "Best bid price; null when the side is empty.",
    "ask": "Best ask price; null when the side is empty.",
    "bid_size": "Quantity at the best bid.",
    "ask_size": "Quantity at the best ask.",
    "price": "Price of the trade.",
    "size": "Quantity of the trade.",
    "side": "Side of the aggressor: buy or sell.",
    "trade_id": "The venue's own id of the trade.",
    "component": "The feed or component.",
    "level": "debug, info, warning, error or critical.",
    "message": "The message.",
    "connection": "State of its connection: open or closed.",
}
_FUNCTIONS = {
    "between": (
        (
            "low timestamptz, high timestamptz, planned_low timestamptz DEFAULT '-infinity',"
            " planned_high timestamptz DEFAULT 'infinity'"
        ),
        "Rows of {} from one time to another, both included: reads only what the range needs.",
    ),
    "received": ("since_ns bigint", "Rows of {} that reached the recorder at a time or after it."),
    "numbered": (
        "after_number bigint, last_number bigint, low timestamptz",
        "Rows of {} by event number, none older than a time.",
    ),
}
"""Parameters and comments of the functions that read a range of packed events."""
_FIRST = (
    Column(
        TIME, "timestamp with time zone", required=True, comment="time_ns, rounded down to the microsecond."
    ),
    RECORDER_COLUMN,
)
_LAST = (
    Column("time_ns", "bigint", required=True, comment="When it happened, by the clock of its origin."),
    Column("received_ns", "bigint", required=True, comment="When it reached the recorder, by its clock."),
    Column("source", "text", required=True, comment="The process that emitted the event."),
    Column("epoch", "bigint", required=True, comment="When that process started, in nanoseconds."),
    Column("sequence", "bigint", required=True, comment="The number of the event since that start."),
    Column(
        EVENT_NUMBER,
        "bigint",
        required=True,
        comment="Its place among the events of the recorder, in the order in which they became durable;"
        " 0: imported.",
        default=0,
    ),
)


@dataclass(frozen=True, slots=True)
class EventColumn:
    """The column that stores a field of an event."""

    field: str
    name: str
    sql_type: str
    """``bigint``, ``double precision``, ``boolean``, ``text`` or ``text[]``."""
    required: bool


@cache
def event_columns(event_type: type[Event]) -> tuple[EventColumn, ...]:
    """The columns of an event's own fields, without its time, in order of declaration."""
    info = msgspec.inspect.type_info(event_type)
    assert isinstance(info, StructType)  # noqa: S101 - an event is a struct
    return tuple(_event_column(field.name, field.type) for field in info.fields if field.name != "time_ns")


def _event_column(name: str, type_: Type) -> EventColumn:
    options = type_.types if isinstance(type_, UnionType) else (type_,)
    (value_type,) = (option for option in options if not isinstance(option, NoneType))
    column = name
    if isinstance(value_type, Metadata):
        column = (value_type.extra or {}).get("column", name)
        value_type = value_type.type
    return EventColumn(name, column, _SQL_TYPES[type(value_type)], required=len(options) == 1)


def event_table_columns(event_type: type[Event]) -> tuple[Column, ...]:
    """All columns of the table, in order."""
    own = (
        Column(one.name, one.sql_type, one.required, _FIELD_COMMENTS.get(one.name, ""))
        for one in event_columns(event_type)
    )
    return (*_FIRST, *own, *_LAST)


def event_table_statements(event_type: type[Event], *, partitioned: bool) -> list[str]:
    """The statements that create the table of a bulk event with its indexes and comments.

    ``partitioned`` tables are partitioned by ``time``; their partitions are up to the caller, and so are the
    views over those that are packed.
    """
    table = event_type.table
    stored = recent_of(table) if partitioned and event_type in PACKED_EVENTS else table
    columns = event_table_columns(event_type)
    # A table that rows leave uses its pages again, and the ranges of numbers in these get wide.
    by_number = "brin" if stored == table else "btree"
    by_time = f" PARTITION BY RANGE ({TIME})" if partitioned else ""
    statements = [
        f"CREATE TABLE {quoted(stored)} ({', '.join(column.definition for column in columns)}){by_time}",
        f"CREATE INDEX {quoted(f'{table}_time')} ON {quoted(stored)} USING brin ({TIME})",
        f"CREATE INDEX {quoted(f'{table}_received')} ON {quoted(stored)} USING brin (received_ns)",
        f"CREATE INDEX {quoted(f'{table}_number')} ON {quoted(stored)} USING {by_number} ({EVENT_NUMBER})",
    ]
    if event_type.key:
        # Without the recorder: a series is mostly read over all recorders, and few databases have many.
        key = ", ".join(map(quoted, event_type.key))
        index = quoted("_".join((table, event_type.key[-1])))
        statements.append(f"CREATE INDEX {index} ON {quoted(stored)} ({key}, time_ns)")
    return statements + comment_statements(stored, _TABLE_COMMENTS[event_type], columns)


def event_view_comments(event_type: type[Event]) -> list[str]:
    """The statements that comment the view over recent and packed events."""
    view = event_type.table
    text = _TABLE_COMMENTS[event_type]
    return [
        f"COMMENT ON VIEW {quoted(view)} IS {literal(text)}",
        *(comment_statement(view, column) for column in event_table_columns(event_type)),
    ]


def event_functions(event_type: type[Event], schema: str, bodies: Mapping[str, str]) -> list[str]:
    """The statements that create the functions that read a range of packed events, by their bodies.

    A body is one ``SELECT`` of the table's rows, which PostgreSQL puts in the place of the call. ``between``
    has the parameters ``$1`` and ``$2``, the range of ``time``, and ``$3`` and ``$4``, a range around it that
    is known when a statement is planned; ``received`` has ``$1``, the time of receipt of the first event, and
    ``numbered`` ``$1`` to ``$3``: the event number before the first, that of the last, and the earliest time.
    """
    statements = []
    for name, body in bodies.items():
        parameters, text = _FUNCTIONS[name]
        function = f"{schema}.{quoted(f'{event_type.table}_{name}')}"
        statements.append(
            f"CREATE OR REPLACE FUNCTION {function}({parameters}) RETURNS SETOF"
            f" {schema}.{quoted(event_type.table)} STABLE PARALLEL SAFE LANGUAGE sql"
            f" AS $function$ {body} $function$"
        )
        statements.append(f"COMMENT ON FUNCTION {function} IS {literal(text.format(event_type.table))}")
    return statements


def unpacked_event_functions(schema: str) -> list[str]:
    """The statements of :func:`event_functions` for tables that are not packed; ``schema`` is quoted."""
    conditions = {
        "between": f"{TIME} >= $1 AND {TIME} <= $2 AND {TIME} >= $3 AND {TIME} <= $4",
        "received": "received_ns >= $1",
        "numbered": f"{EVENT_NUMBER} > $1 AND {EVENT_NUMBER} <= $2 AND {TIME} >= $3",
    }
    statements = []
    for event_type in PACKED_EVENTS:
        rows = f"SELECT * FROM {schema}.{quoted(event_type.table)} WHERE"  # noqa: S608 - quoted
        bodies = {name: f"{rows} {condition}" for name, condition in conditions.items()}
        statements += event_functions(event_type, schema, bodies)
    return statements


def rows_between(event_type: type[Event], *bounds: str) -> str:
    """The relation to select the events of a range of time from; the caller repeats the condition.

    ``bounds`` are SQL expressions: two, or four as for ``{table}_between``.
    """
    if event_type not in PACKED_EVENTS:
        return quoted(event_type.table)
    return f"{quoted(f'{event_type.table}_between')}({', '.join(bounds)}) AS {quoted(event_type.table)}"


def read_event(row: asyncpg.Record, event_type: type[_EventT]) -> _EventT:
    """The event in a row of its table.

    Raises ``msgspec.ValidationError`` when the row holds values that the event type does not allow.
    """
    values = {one.field: row[one.name] for one in event_columns(event_type)}
    return msgspec.convert(values | {"time_ns": row["time_ns"]}, event_type)


def fill_values(row: asyncpg.Record) -> dict[str, Any]:
    """The values of the fill in a row of ``fills``, without validation."""
    values = {name: row[name] for name in Fill.__struct_fields__}
    values["side"] = Side(values["side"])
    values["kind"] = FillKind(values["kind"])
    if values["liquidity"] is not None:
        values["liquidity"] = Liquidity(values["liquidity"])
    return values
