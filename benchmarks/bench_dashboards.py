"""Every query of every dashboard over a day of 100 instruments and 10 strategies at 10 Hz.

Each query runs as Grafana runs it, with all values of every variable, for the last 15 minutes, 6 hours and 24
hours; the table shows the median time until the last byte of the answer. Where a dashboard has a row for each
chosen instrument, one is chosen, as when it opens. ``DECAHERTZ_BENCH_RAW_HOURS`` (default 1) says how many
hours have raw rows: with 24 the whole day, which takes an hour or two and 40 GB of disk. The tiers hold the
whole day in any case, and the panels read no raw rows beyond ten minutes. Queries of Prometheus are left out
unless ``prometheus`` and ``promtool`` are on PATH.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.day import Day, write_day
from benchmarks.day_metrics import prometheus_with_a_day
from benchmarks.engines import Engine, engines
from benchmarks.harness import Measure
from grafana.preview.stack import ROLE, ROOT, environment
from grafana.reader.dashboard import Annotation, Dashboard, PrometheusTarget, SqlTarget
from grafana.reader.intervals import TimeRange
from grafana.reader.layout import Placed, placed
from grafana.reader.postgres import PostgresSource
from grafana.reader.prometheus import PrometheusSource
from grafana.reader.provisioning import DataSource, Provisioning, read_dashboards
from grafana.reader.view import ALL, Sources, View
from storage.database import Database
from storage.maintenance.grants import grant_read

PASSWORD = "secret"  # noqa: S105 - of a database that ends with the benchmark
RAW_HOURS = "DECAHERTZ_BENCH_RAW_HOURS"
GOAL_MS = 200.0
ROUNDS = 3
RANGES = {"15 min": 0.25, "6 h": 6.0, "24 h": 24.0}


class Timed:
    """The times of one query, in milliseconds by range."""

    def __init__(self, dashboard: str, name: str) -> None:
        self.dashboard = dashboard
        self.name = name
        self.ms: dict[str, float] = {}
        self.rows: dict[str, int] = {}

    @property
    def slowest(self) -> float:
        """The time of the slowest range."""
        return max(self.ms.values())


async def measure(engine: Engine, day: Day) -> list[Timed]:
    settings = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB"}
    fast = Engine(engine.name, engine.installation, {**engine.settings, **settings})
    async with fast.database(statement_timeout_seconds=7200.0) as (database, program):
        began = time.perf_counter()

        def progress(text: str) -> None:
            sys.stderr.write(f"{time.perf_counter() - began:6.0f} s  {text}\n")

        await write_day(database, program, day, progress)
        size = await _size(database)
        progress(f"the database has {size / 1e9:.1f} GB")
        await asyncio.to_thread(grant_read, database, ROLE, PASSWORD)
        return await asyncio.to_thread(_ask_both, database.url, day, progress)


async def _size(database: Database) -> int:
    async with database.query() as connection:
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))


def _ask_both(database_url: str, day: Day, progress: Callable[[str], None]) -> list[Timed]:
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        return _ask_everything("http://127.0.0.1:9", database_url, day, has_prometheus=False)
    with tempfile.TemporaryDirectory(prefix="decahertz-") as folder:
        end = int(day.end.timestamp())
        with prometheus_with_a_day(Path(folder), end, progress) as url:
            progress("queries")
            return _ask_everything(url, database_url, day, has_prometheus=True)


def _ask_everything(url: str, database_url: str, day: Day, *, has_prometheus: bool) -> list[Timed]:
    settings = {"DECAHERTZ_GRAFANA_DASHBOARDS": "", **environment(url, database_url, PASSWORD)}
    sources = Sources(Provisioning(ROOT / "grafana" / "provisioning", settings).data_sources())
    end_ms = int(day.end.timestamp() * 1000)
    found: dict[tuple[str, str], Timed] = {}
    try:
        for file, dashboard in read_dashboards(ROOT / "grafana" / "dashboards").items():
            repeated = {panel.repeat for panel in dashboard.panels}
            everything = {
                one.name: ALL
                for one in dashboard.templating.items
                if one.include_all and one.name not in repeated
            }
            for name, hours in RANGES.items():
                time_range = TimeRange(end_ms - int(hours * 3_600_000), end_ms)
                view = View(dashboard, sources, time_range, everything)
                for query, ask, source in _queries(dashboard, view, sources):
                    if source is sources.prometheus(_of(sources, "prometheus")) and not has_prometheus:
                        continue
                    one = found.setdefault((file, query), Timed(file.removesuffix(".json"), query))
                    one.rows[name], one.ms[name] = _timed(ask, source)
    finally:
        sources.close()
    return list(found.values())


def _of(sources: Sources, kind: str) -> DataSource:
    return sources.provisioned[f"decahertz-{kind}"]


_Source = PostgresSource | PrometheusSource


def _queries(
    dashboard: Dashboard, view: View, sources: Sources
) -> Iterator[tuple[str, Callable[[], int], _Source]]:
    """The queries of panels and annotations with their sources; what is repeated, once."""
    postgres = sources.postgres(_of(sources, "postgres"))
    prometheus = sources.prometheus(_of(sources, "prometheus"))
    for one in placed(view, most=1):
        if one.panel.type in ("row", "text"):
            continue
        for target in one.view.targets(one.panel):
            source: _Source = postgres if isinstance(target, SqlTarget) else prometheus
            kind = "SQL" if source is postgres else "PromQL"
            yield f"{one.panel.title} {target.ref_id} ({kind})", partial(_rows, one, target), source
    for annotation in dashboard.annotations.items:
        if not annotation.built_in:
            yield f"{annotation.name} (annotation)", partial(_marks, view, annotation), postgres


def _rows(one: Placed, target: SqlTarget | PrometheusTarget) -> int:
    return sum(frame.rows for frame in one.view.run(one.panel, target))


def _marks(view: View, annotation: Annotation) -> int:
    return len(view.marks(annotation))


def _timed(ask: Callable[[], int], source: _Source) -> tuple[int, float]:
    """The number of rows, and the median time after a first call that warms the caches."""
    rows, times = ask(), []
    for _ in range(ROUNDS):
        ask()
        times.append(source.elapsed_seconds * 1000)
    return rows, median(times)


def _print(name: str, found: Sequence[Timed]) -> None:
    table = Table(title=f"Queries of the dashboards on {name}: ms (rows)")
    for column in ("dashboard", "query", *RANGES):
        table.add_column(column, justify="right" if column in RANGES else "left")
    for one in found:
        cells = [f"{one.ms[name]:,.0f} ({one.rows[name]:,})" for name in RANGES]
        style = "red" if one.slowest > GOAL_MS else None
        table.add_row(one.dashboard, one.name, *cells, style=style)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


async def measures() -> list[Measure]:
    day = Day.ending_now(float(os.environ.get(RAW_HOURS, "1")))
    rows = []
    for engine in engines():
        found = await measure(engine, day)
        _print(engine.name, found)
        for one in found:
            name = f"dashboards-{one.dashboard}-{one.name.lower().replace(' ', '-')}-{engine.name}"
            rows.append(
                Measure(
                    name=name, ours=one.slowest, reference=None, unit="ms", ratio=None, goal="ours <= 200"
                )
            )
    return rows


def run() -> list[Measure]:
    return asyncio.run(measures())
