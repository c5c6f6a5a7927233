"""A day of a desk in the database: 100 instruments and 10 strategies at 10 Hz, with their events and tiers.

Samples are made by PostgreSQL itself, from a formula: nothing has to be sent. The newest ``raw_hours`` have
their raw rows, and the product's roll-up makes the tiers; the time before has rows of the 1 s tier, from
which the roll-up makes the coarser ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from benchmarks.day_events import INSTRUMENTS, RECORDER, STRATEGIES, event_statements
from collectors.host.plugins import builtin_classes
from decahertz.app.settings import Settings
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.fakes import ManualClock
from decahertz.metric import Kind, Unit
from decahertz.sample import MetricField, SampleSchema, schema_of
from storage.database import Database
from storage.schema.samples import literal, quoted, recent_of, table_of
from storage.tiers.names import Suffix, Tier
from storage.tiers.plain.table import PlainTable
from storage.tiers.schema import tier_schema_of
from storage.tiers.worker import RollUpWorker

if TYPE_CHECKING:
    from storage.database import Connection

HOURS = 24
RISKS = 3
REGIMES = 4
_CHUNK = timedelta(minutes=5)
_WRITERS = 2
_CYCLES_A_SECOND = 10
# Keys of each collector, as SQL of the number i of the series.
_SERIES = {
    "market": (INSTRUMENTS, {"venue": "'sim'", "instrument": "'I' || lpad(i::text, 2, '0')"}),
    "strategy": (STRATEGIES, {"strategy": "'s' || i"}),
    "execution": (STRATEGIES, {"strategy": "'s' || i", "venue": "'sim'"}),
    "risk": (STRATEGIES * RISKS, {"strategy": f"'s' || i / {RISKS}", "risk": f"'limit' || i % {RISKS}"}),
    "system": (1, {"host": "'host'"}),
    "portfolio": (REGIMES, {"regime": "'r' || i"}),
}
_CYCLES_A_SAMPLE = {"portfolio": 10}
_VALUES = {
    Unit.PRICE: "100 + i + sin((n + 997 * i) / 5e3) + (n * 7919 % 101) / 1e4",
    Unit.RATIO: "0.5 + sin((n + 997 * i) / 7e3) / 2.5",
    Unit.SECONDS: "0.05 + (n * 7919 % 997) / 1e5",
    Unit.MONEY: "1e4 * (1 + i) + 500 * sin((n + 997 * i) / 3e4)",
}
_VALUE = "10 + i % 7 + (n * 7919 % 997) / 100.0"
_RARE, _RARE_CYCLES = frozenset({"gaps", "late", "position_breaks", "breached"}), 36_000
"""Metrics of faults: they change once an hour."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Day:
    """When the day begins, when raw rows begin, and when it ends."""

    start: datetime
    raw_start: datetime
    end: datetime

    @staticmethod
    def ending_now(raw_hours: float) -> Day:
        """The 24 hours before now; full minutes."""
        now = datetime.fromtimestamp(SystemClock().time_ns() // (60 * NS_PER_SECOND) * 60, UTC)
        start = now - timedelta(hours=HOURS)
        return Day(start, max(start, now - timedelta(hours=raw_hours)), now)


async def write_day(database: Database, settings: Settings, day: Day, progress: Progress) -> None:
    """Creates the tables and tiers and fills them; takes minutes."""
    schemas = [schema_of(one.sample_type) for one in builtin_classes("collectors").values()]
    clock = ManualClock(int(day.start.timestamp()) * NS_PER_SECOND)
    worker = RollUpWorker(database, clock, CollectorRegistry(), settings.tiers, settings.retention, schemas)
    await worker.prepare()
    try:
        for schema in schemas:
            progress(f"samples of {schema.collector}")
            await _write_samples(database, schema, day)
        progress("events")
        await _run(database, list(event_statements(day.start, day.end)))
        progress("roll-up")
        clock.step((HOURS * 3600 + 60) * NS_PER_SECOND)
        await worker.run_once()
        progress("vacuum and analyze")
        await _run(database, ["VACUUM ANALYZE"])
    finally:
        await worker.stop()


async def _write_samples(database: Database, schema: SampleSchema, day: Day) -> None:
    statements = [
        _raw_statement(schema, start, min(start + _CHUNK, day.end))
        for start in _steps(day.raw_start, day.end)
    ]
    statements += [
        _rolled_statement(schema, start, min(start + _CHUNK, day.raw_start))
        for start in _steps(day.start, day.raw_start)
    ]
    halves = [statements[number::_WRITERS] for number in range(_WRITERS)]
    await asyncio.gather(*(_run(database, half) for half in halves))
    await _run(database, [_dirty_statement(schema, width, day) for width in (60, 3600)])


def _steps(start: datetime, end: datetime) -> Sequence[datetime]:
    count = -(-(end - start) // _CHUNK)
    return [start + number * _CHUNK for number in range(count)]


async def _run(database: Database, statements: Sequence[str]) -> None:
    connection: Connection = await database.connect("benchmark", unlimited=True)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await database.disconnect(connection)


def _value(field: MetricField) -> str:
    """SQL of a metric's value at cycle n of series i."""
    if field.states:
        return literal(field.states[0])
    if field.type is bool:
        return "false"
    if field.name in _RARE:
        return f"(n + 997 * i) / {_RARE_CYCLES}"
    if field.metric.kind is Kind.COUNTER:
        return "n" if field.type is int else "n::float8"
    value = _VALUES.get(field.metric.unit, _VALUE)
    return f"({value})::bigint" if field.type is int else value


def _raw_statement(schema: SampleSchema, start: datetime, end: datetime) -> str:
    columns = {field.name: quoted(field.name) for field in schema.metrics}
    return _insert(
        schema,
        recent_of(table_of(schema)),
        columns,
        start,
        end,
        step=_CYCLES_A_SAMPLE.get(schema.collector, 1),
    )


def _rolled_statement(schema: SampleSchema, start: datetime, end: datetime) -> str:
    columns = {"samples": str(_CYCLES_A_SECOND // _CYCLES_A_SAMPLE.get(schema.collector, 1))}
    for field in schema.metrics:
        columns[f"{field.name}_{Suffix.LAST}"] = quoted(field.name)  # constant: the others follow from it
    table = PlainTable(tier_schema_of(schema)).rolled(Tier.S1).name
    return _insert(schema, table, columns, start, end, step=_CYCLES_A_SECOND)


def _insert(
    schema: SampleSchema, table: str, columns: dict[str, str], start: datetime, end: datetime, *, step: int
) -> str:
    """Rows of all series for every ``step``-th cycle; n is the number of the cycle in the UTC day."""
    series, keys = _SERIES[schema.collector]
    first = int(start.timestamp()) % 86_400 * _CYCLES_A_SECOND
    last = first + (end - start) // timedelta(milliseconds=100) - 1
    time = f"'{start.isoformat()}'::timestamptz + (n - {first}) * interval '100 ms'"
    values = ", ".join(f"{_value(field)} AS {quoted(field.name)}" for field in schema.metrics)
    columns = {"time": time, "recorder": literal(RECORDER), **keys, **columns}
    # OFFSET 0: each value is computed once, however many columns have it.
    return (
        f"INSERT INTO {quoted(table)} ({', '.join(map(quoted, columns))})"  # noqa: S608 - constants
        f" SELECT {', '.join(columns.values())} FROM ("
        f"SELECT n, i, {values} FROM generate_series({first}::bigint, {last}, {step}) AS n,"
        f" generate_series(0, {series} - 1) AS i OFFSET 0) AS made"
    )


def _dirty_statement(schema: SampleSchema, width_seconds: int, day: Day) -> str:
    """Tells the roll-up of the buckets above the rows that were written into the 1 s tier itself."""
    table = PlainTable(tier_schema_of(schema)).dirty_buckets
    first = f"date_bin('{width_seconds} seconds', '{day.start.isoformat()}'::timestamptz, 'epoch')"
    return (
        f"INSERT INTO {quoted(table)} (width_seconds, time) SELECT {width_seconds}, bucket"  # noqa: S608 - as above
        f" FROM generate_series({first}, '{day.raw_start.isoformat()}'::timestamptz,"
        f" interval '{width_seconds} seconds') AS bucket"
    )
