"""Predicts rows and bytes of a database from the number of instruments and strategies.

Bytes and costs of a row are measured: ``row_costs.json``, which ``python -m benchmarks.row_costs`` writes,
says where and when. Plain PostgreSQL only: what TimescaleDB's columnstore saves depends on the data too much.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from storage.tiers.names import ROLLED, Tier, event_days, retention_days, width_ns
from storage.tiers.plain.packed import SECOND_GRID
from storage.tiers.plain.packed_events import SPAN_NS
from storage.tiers.plain.partitions import DAY, new_width
from storage.tiers.plain.table import PARTITION_DAYS

if TYPE_CHECKING:
    from storage.settings import RetentionSettings

DAY_SECONDS = 86_400
YEAR_DAYS = 365
_SPAN_HOURS = SPAN_NS / (3600 * NS_PER_SECOND)
_TIER_SPAN_HOURS = SECOND_GRID.span_ns / (3600 * NS_PER_SECOND)
_COSTS = Path(__file__).with_name("row_costs.json")
_READ_SECONDS = 2.8e-6
"""Of a row of a tier: 24 h of one instrument, 1,440 rows of ``1m``, take 4 ms (``scripts/bench tiers``)."""


class SampleCost(Struct, frozen=True, kw_only=True):
    """A table of samples, with its indexes."""

    per: str
    """Thing that a key stands for: ``instrument``, ``strategy`` or ``recorder``."""
    keys: float
    """Keys for each of these."""
    every: int = 1
    """Cycles from one sample to the next."""
    recent_bytes: float
    """Of a raw row before it is packed."""
    packed_bytes: float
    tier_bytes: dict[Tier, float]
    """Of a row of the tiers ``1s`` and ``1m``; one of ``1h`` counts as one of ``1m``."""
    packed_second_bytes: float
    """Of a row of ``1s`` once it is packed."""


class EventCost(Struct, frozen=True, kw_only=True):
    """A table of quotes or ticks, with its indexes."""

    recent_bytes: float
    """Of a row before it is packed."""
    packed_bytes: float


class RowCost(Struct, frozen=True, kw_only=True):
    """Rows of other tables."""

    rows: float = 1.0
    """For each thing that they are counted by."""
    bytes: float
    """Of a row, with indexes."""


class RowCosts(Struct, frozen=True, kw_only=True):
    """The measured table."""

    measured: str
    """Where, when and how."""
    samples: dict[str, SampleCost]
    """By collector."""
    events: dict[str, EventCost]
    """Quotes and ticks."""
    fill: RowCost
    """All tables that grow with the fills: orders, their events, signals, positions, round trips."""
    second: RowCost
    """All tables that grow with time: heartbeats, batches."""
    cycle_bytes: float
    """Of a row of ``packed_cycles`` or ``packed_seconds``."""
    core_seconds: float
    """Processor time of PostgreSQL for a million stored rows: storing, rolling up and packing them."""


class Load(Struct, frozen=True, kw_only=True):
    """Amount of what is recorded."""

    instruments: int
    strategies: int
    quotes_per_second: float
    """Of each instrument, day and night."""
    ticks_per_second: float
    fills_per_day: float
    """Of each strategy."""


class TableSize(Struct, frozen=True, kw_only=True):
    """One table."""

    name: str
    rows_per_day: float
    bytes_per_day: float
    """Once packed."""
    kept_days: float
    """Days of rows at the end of the time that is looked at."""
    rows: float
    """Of these days."""
    bytes: float
    """Of these days."""
    partitions: int


class Prediction(Struct, frozen=True, kw_only=True):
    """Result of :func:`predict`."""

    days: float
    tables: list[TableSize]
    rows_per_day: float
    bytes_per_day: float
    """Growth of a day while nothing is dropped yet."""
    bytes: float
    """After these days, with what is not packed yet."""
    partitions: int
    rows_per_second: float
    """Stored by the writer, without tiers."""
    core_ratio: float
    """Part of a processor core that PostgreSQL needs to store, roll up and pack that."""
    read_rows: float
    """Hours of all the days, for a chart of one instrument."""
    read_seconds: float
    """Time to read these."""
    measured: str
    """See :attr:`RowCosts.measured`."""


@cache
def row_costs() -> RowCosts:
    """The committed table."""
    return msgspec.json.decode(_COSTS.read_bytes(), type=RowCosts)


def predict(
    load: Load, retention: RetentionSettings, days: float, *, pack_after_hours: float, costs: RowCosts
) -> Prediction:
    """Predict the database after a number of days."""
    counts = {"instrument": load.instruments, "strategy": load.strategies, "recorder": 1}
    limits = retention_days(retention)
    kept = {tier: _kept(days, limit) for tier, limit in limits.items()}
    raw_width = new_width(DAY, limits[Tier.RAW])
    cycles = DAY_SECONDS * NS_PER_SECOND / CYCLE_NS
    packs = pack_after_hours > 0
    tables: list[TableSize] = []
    for collector, cost in costs.samples.items():
        keys, name = cost.keys * counts[cost.per], f"{collector}_samples"
        samples = keys * cycles / cost.every
        per_row = cost.packed_bytes if packs else cost.recent_bytes
        tables.append(_table(name, samples, per_row, kept[Tier.RAW], raw_width))
        if packs:
            waiting = min(pack_after_hours / 24, kept[Tier.RAW])
            tables.append(_waiting(f"{name}_recent", samples, cost.recent_bytes, waiting))
        for tier in ROLLED:
            rows = keys * DAY_SECONDS * NS_PER_SECOND / width_ns(tier)
            size = cost.tier_bytes.get(tier, cost.tier_bytes[Tier.M1])
            width = new_width(PARTITION_DAYS[tier], limits[tier])
            if packs and tier is Tier.S1:
                waiting = min((pack_after_hours + _TIER_SPAN_HOURS / 2) / 24, kept[tier])
                tables.append(_table(f"{name}_{tier}", rows, cost.packed_second_bytes, kept[tier], width))
                tables.append(_waiting(f"{name}_{tier}_rolled", rows, size, waiting))
            else:
                tables.append(_table(f"{name}_{tier}", rows, size, kept[tier], width))
    if packs:
        tables.append(_table("packed_cycles", cycles, costs.cycle_bytes, kept[Tier.RAW], raw_width))
        width = new_width(DAY, limits[Tier.S1])
        tables.append(_table("packed_seconds", DAY_SECONDS, costs.cycle_bytes, kept[Tier.S1], width))
    rates = {"quotes": load.quotes_per_second, "ticks": load.ticks_per_second}
    for name, rate in rates.items():
        rows, limit = rate * DAY_SECONDS * load.instruments, event_days(retention)[name]
        event, stay = costs.events[name], _kept(days, limit)
        size = event.packed_bytes if packs else event.recent_bytes
        tables.append(_table(name, rows, size, stay, new_width(DAY, limit)))
        if packs:  # whole hours
            waiting = min((pack_after_hours + _SPAN_HOURS / 2) / 24, stay)
            tables.append(_waiting(f"{name}_recent", rows, event.recent_bytes, waiting))
    fills = load.fills_per_day * load.strategies
    tables += [
        _table("orders, fills, …", fills * costs.fill.rows, costs.fill.bytes, days, 0),
        _table("batches, …", DAY_SECONDS * costs.second.rows, costs.second.bytes, min(days, 30), 0),
    ]
    made = ("_1s", "_1m", "_1h", "packed_cycles", "packed_seconds")
    raw = [table for table in tables if not table.name.endswith(made)]
    per_second = sum(table.rows_per_day for table in raw) / DAY_SECONDS
    return Prediction(
        days=days,
        tables=tables,
        rows_per_day=sum(table.rows_per_day for table in tables),
        bytes_per_day=sum(table.bytes_per_day for table in tables),
        bytes=sum(table.bytes for table in tables),
        partitions=sum(table.partitions for table in tables),
        rows_per_second=per_second,
        core_ratio=per_second * costs.core_seconds / 1e6,
        read_rows=24 * kept[Tier.H1],
        read_seconds=24 * kept[Tier.H1] * _READ_SECONDS,
        measured=costs.measured,
    )


def _waiting(name: str, rows: float, row_bytes: float, waiting_days: float) -> TableSize:
    """Rows that wait to be packed; they are counted as packed ones, too."""
    recent = _table(name, rows, row_bytes, waiting_days, 1)
    return msgspec.structs.replace(recent, rows_per_day=0.0, bytes_per_day=0.0)


def _kept(days: float, limit: int) -> float:
    return min(days, limit) if limit else days


def _table(name: str, rows: float, row_bytes: float, kept_days: float, width: int) -> TableSize:
    """``width``: days of a partition; 0: the table has none."""
    return TableSize(
        name=name,
        rows_per_day=rows,
        bytes_per_day=rows * row_bytes,
        kept_days=kept_days,
        rows=rows * kept_days,
        bytes=rows * row_bytes * kept_days,
        partitions=math.ceil(kept_days / width) if width else 0,
    )
