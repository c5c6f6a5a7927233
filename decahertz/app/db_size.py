"""``decahertz db size``: rows, bytes and costs of a database, predicted before there is one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from decahertz.app.db_status import aligned, size_text
from storage.maintenance.sizing import Load, Prediction, TableSize, predict, row_costs

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

_FULL_CORE = 0.7
"""Part of a core from which on one writer has no reserve for a backlog."""


def run_size(settings: Settings, load: Load, days: float, *, as_json: bool) -> int:
    """Prints the prediction for the retention of the settings."""
    found = predict(
        load, settings.retention, days, pack_after_hours=settings.tiers.pack_after_hours, costs=row_costs()
    )
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return 0
    columns = ("table", "rows a day", "bytes a day", "days kept", "rows", "bytes", "partitions")
    rows = [columns, *map(_row, found.tables), _total(found)]
    sys.stdout.write(aligned(rows, range(1, 7)) + "\n\n" + aligned(list(_facts(found)), ()) + "\n")
    return 0


def _row(table: TableSize) -> tuple[str, ...]:
    return (
        table.name,
        _count(table.rows_per_day) if table.rows_per_day else "-",
        size_text(table.bytes_per_day) if table.bytes_per_day else "-",
        f"{table.kept_days:.4g}" if table.kept_days >= 1 else f"{24 * table.kept_days:.3g} h",
        _count(table.rows),
        size_text(table.bytes),
        str(table.partitions) if table.partitions else "-",
    )


def _total(found: Prediction) -> tuple[str, ...]:
    rows = sum(table.rows for table in found.tables)
    totals = (found.rows_per_day, found.bytes_per_day, rows, found.bytes)
    day, day_bytes, kept, kept_bytes = totals
    return (
        "all",
        _count(day),
        size_text(day_bytes),
        f"{found.days:.4g}",
        _count(kept),
        size_text(kept_bytes),
        str(found.partitions),
    )


def _facts(found: Prediction) -> Iterator[tuple[str, str]]:
    share = 100 * found.core_ratio
    full = ": too much for one PostgreSQL, see docs/storage.md" if found.core_ratio > _FULL_CORE else ""
    yield (
        "writes",
        f"{_count(found.rows_per_second)} rows a second, {share:.0f} % of a core of PostgreSQL{full}",
    )
    chart = f"a chart of one instrument over {found.days:.4g} days reads {_count(found.read_rows)} hours"
    yield "reads", f"{chart}: {1000 * found.read_seconds:,.0f} ms"
    yield "measured", found.measured


def _count(number: float) -> str:
    return f"{number:,.0f}"
