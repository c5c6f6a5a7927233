"""Measures what a row of each table takes, and writes ``storage/maintenance/row_costs.json``.

``python -m benchmarks.row_costs [MINUTES]``: records the demo for so many minutes (10) without packing it,
then packs everything. A packed row of the ``1s`` tier has ten minutes: of a shorter recording it takes more.
Rows and bytes are those between the first minute and the end. :mod:`storage.maintenance.sizing` says what the
figures mean.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import psutil
from prometheus_client import CollectorRegistry

import storage.maintenance.sizing
from benchmarks.demo_recording import State, Table, demo, state
from collectors.host.plugins import load_collectors
from collectors.host.settings import CollectorsSettings
from decahertz.clock import SystemClock
from decahertz.fakes import ManualClock
from decahertz.sample import SampleSchema
from decahertz.settings import Sources
from storage.database import Database
from storage.maintenance.sizing import EventCost, RowCost, RowCosts, SampleCost
from storage.postgres.embedded import EmbeddedPostgres
from storage.schema.events import PACKED_EVENTS
from storage.schema.samples import packed_of, recent_of, table_of
from storage.settings import RetentionSettings, StorageSettings, TiersSettings
from storage.tiers.names import Tier
from storage.tiers.worker import RollUpWorker

if TYPE_CHECKING:
    from storage.database import Connection

_WARM_SECONDS = 60.0
_PER = {"market": "instrument", "strategy": "strategy", "execution": "strategy"}
"""Thing that a key of a collector stands for; of others it is the recorder."""
_BY_TIME = ("stored_batches", "heartbeats", "logs", "gaps", "api_keys", "database_sizes")


class _Collector(NamedTuple):
    keys: int
    every: int
    tier_rows: dict[Tier, float]
    """Bytes of a row of a tier."""
    seconds: int
    """Packed rows of the tier."""


def main() -> None:
    """Measures, and writes the file."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory(prefix="decahertz-bench-") as name:
        folder = Path(name)
        with demo(folder, DECAHERTZ_TIERS_PACK_AFTER_HOURS="0") as url:
            time.sleep(_WARM_SECONDS)
            before = state(folder, url)
            time.sleep(60 * minutes)
            after = state(folder, url)
        costs = asyncio.run(_packed(folder, before, after))
    file = Path(storage.maintenance.sizing.__file__).with_name("row_costs.json")
    file.write_bytes(msgspec.json.format(msgspec.json.encode(costs)) + b"\n")
    sys.stdout.write(file.read_text())


async def _packed(folder: Path, before: State, after: State) -> RowCosts:
    """Packs everything, and puts the figures together."""
    grown = {name: table.since(before.tables.get(name)) for name, table in after.tables.items()}
    clock = SystemClock()
    loaded = load_collectors(CollectorsSettings().enabled, Sources(), clock).plugins
    schemas = [one.schema for one in loaded]
    async with EmbeddedPostgres(folder / "postgres") as server:
        database = Database(server.url, StorageSettings(statement_timeout_seconds=600.0))
        await database.open()
        connection = await database.connect("benchmark", unlimited=True)
        pid = server.pid
        assert pid is not None  # noqa: S101 - it runs
        later = ManualClock(clock.time_ns() + 2 * 3600 * 10**9)
        worker = RollUpWorker(
            database, later, CollectorRegistry(), TiersSettings(), RetentionSettings(), schemas
        )
        await worker.prepare()
        tier_rows = {schema.collector: await _tier_rows(connection, schema) for schema in schemas}
        began = _processor_seconds(pid)
        await worker.run_once()
        packing = _processor_seconds(pid) - began
        await worker.stop()
        collectors = {
            one.schema.collector: _Collector(
                await _keys(connection, one.schema),
                one.collector.every,
                tier_rows[one.schema.collector],
                await connection.fetchval(f"SELECT count(*) FROM {table_of(one.schema)}_1s"),  # noqa: S608 - ours
            )
            for one in loaded
        }
        packed = {}
        packed_tables = [f"{table_of(schema)}{tier}_packed" for schema in schemas for tier in ("", "_1s")]
        packed_tables += [packed_of(event.table) for event in PACKED_EVENTS]
        for name in ("packed_cycles", *packed_tables):
            size = await connection.fetchval(
                "SELECT sum(pg_total_relation_size(relid))"
                " FROM pg_partition_tree($1::text::regclass) WHERE isleaf",
                name,
            )
            rows = await connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608 - ours
            packed[name] = Table(rows, int(size))
        version = await connection.fetchval("SHOW server_version")
        await database.disconnect(connection)
        await database.close()
    return _costs(grown, packed, collectors, before, after, packing, version)


async def _keys(connection: Connection, schema: SampleSchema) -> int:
    keys = f"SELECT DISTINCT {', '.join(schema.key)} FROM {table_of(schema)}_1s"  # noqa: S608 - ours
    found: int = await connection.fetchval(f"SELECT count(*) FROM ({keys}) AS found")  # noqa: S608 - ours
    return found


async def _tier_rows(connection: Connection, schema: SampleSchema) -> dict[Tier, float]:
    """Bytes of a row of each tier, without its indexes and the rest of its page."""
    question = "SELECT coalesce(avg(pg_column_size(stored.*)), 0)::float8 FROM {}_{}_rolled AS stored"
    return {
        tier: await connection.fetchval(question.format(table_of(schema), tier))
        for tier in (Tier.S1, Tier.M1)
    }


def _processor_seconds(pid: int) -> float:
    server = psutil.Process(pid)
    times = [server.cpu_times(), *(child.cpu_times() for child in server.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return ended + sum(one.user + one.system for one in times)


def _costs(
    grown: dict[str, Table],
    packed: dict[str, Table],
    collectors: dict[str, _Collector],
    before: State,
    after: State,
    packing: float,
    version: str,
) -> RowCosts:
    counts = {"instrument": collectors["market"].keys, "strategy": collectors["strategy"].keys, "recorder": 1}
    seconds = after.at - before.at
    samples = {}
    for collector, found in collectors.items():
        table = f"{collector}_samples"
        recent, tier = grown[recent_of(table)], grown[f"{table}_1s_rolled"]
        if recent.rows <= 0:
            continue
        all_rows = after.tables[recent_of(table)].rows
        per = _PER.get(collector, "recorder")
        samples[collector] = SampleCost(
            per=per,
            keys=found.keys / counts[per],
            every=found.every,
            recent_bytes=round(recent.bytes / recent.rows, 1),
            packed_bytes=round(packed[packed_of(table)].bytes / all_rows, 1),
            tier_bytes=_tier_bytes(tier.bytes / tier.rows, found.tier_rows),
            packed_second_bytes=round(packed[f"{table}_1s_packed"].bytes / found.seconds, 1),
        )
    events = {
        event.table: EventCost(
            recent_bytes=round(recent.bytes / recent.rows, 1),
            packed_bytes=round(packed[packed_of(event.table)].bytes / after.tables[name].rows, 1),
        )
        for event in PACKED_EVENTS
        for name in (recent_of(event.table),)
        for recent in (grown[name],)
    }
    internal = ("_recent", "_rolled", "_packed", "_dirty_buckets")
    slots = ("packed_cycles", "packed_seconds")
    others = {n: t for n, t in grown.items() if not n.endswith(internal) and n not in slots}
    by_time = {name: table for name, table in others.items() if name in _BY_TIME}
    by_fill = {name: table for name, table in others.items() if name not in _BY_TIME}
    fills = grown["fills"].rows
    stored = sum(t.rows for n, t in grown.items() if n.endswith("_recent"))
    stored += sum(table.rows for table in by_fill.values())
    cpu = after.server_seconds - before.server_seconds
    all_stored = sum(t.rows for n, t in after.tables.items() if n.endswith("_recent"))
    return RowCosts(
        measured=f"{datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} min of the demo ({counts['instrument']}"
        f" instruments, {counts['strategy']} strategies), PostgreSQL {version.split(maxsplit=1)[0]},"
        f" {psutil.cpu_count()} cores ({platform.machine()}), load average {os.getloadavg()[1]:.1f}",
        samples=samples,
        events=events,
        fill=_others(by_fill, fills),
        second=_others(by_time, seconds),
        cycle_bytes=round(packed["packed_cycles"].bytes / packed["packed_cycles"].rows, 1),
        core_seconds=round(cpu / stored * 1e6 + packing / all_stored * 1e6, 1),
    )


def _tier_bytes(of_second: float, rows: dict[Tier, float]) -> dict[Tier, float]:
    """Of minutes there are too few for the sizes of files to tell: their rows differ, indexes do not."""
    of_minute = of_second + rows[Tier.M1] - rows[Tier.S1]
    return {Tier.S1: round(of_second, 1), Tier.M1: round(of_minute, 1)}


def _others(tables: dict[str, Table], by: float) -> RowCost:
    rows, size = sum(t.rows for t in tables.values()), sum(t.bytes for t in tables.values())
    return RowCost(rows=round(rows / by, 2), bytes=round(size / max(1, rows), 1))


if __name__ == "__main__":
    main()
