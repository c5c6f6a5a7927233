"""The prediction of ``decahertz db size`` next to the growth of the demo: bytes that a day adds.

The demo is recorded with default settings, but packed after six minutes instead of an hour. It runs for 75
minutes (``SIZE_WARM_MINUTES``) until recent rows come and go at the same pace, as quotes and ticks are packed
by the hour; the growth of the database in the time after that (``SIZE_MINUTES``, 60: whole hours) is ours,
the prediction for its instruments, strategies and fills the reference.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.demo_recording import demo, state
from benchmarks.harness import Measure
from storage.maintenance.sizing import DAY_SECONDS, Load, predict, row_costs
from storage.settings import RetentionSettings

_PACK_HOURS = 0.1
_WARM_SECONDS = 60 * float(os.environ.get("SIZE_WARM_MINUTES", "75"))
_MINUTES = float(os.environ.get("SIZE_MINUTES", "60"))


def run() -> list[Measure]:
    with tempfile.TemporaryDirectory(prefix="decahertz-bench-") as name:
        folder = Path(name)
        with demo(folder, DECAHERTZ_TIERS_PACK_AFTER_HOURS=str(_PACK_HOURS)) as url:
            time.sleep(_WARM_SECONDS)
            before = state(folder, url)
            time.sleep(60 * _MINUTES)
            after = state(folder, url)
    seconds = after.at - before.at
    costs = row_costs()
    grown = {name: table.since(before.tables.get(name)) for name, table in after.tables.items()}
    instruments = after.tables["instruments"].rows
    strategies = round(grown["strategy_samples_1s_rolled"].rows / seconds / costs.samples["strategy"].keys)
    fills = grown["fills"].rows / seconds * DAY_SECONDS / max(1, strategies)
    load = Load(
        instruments=instruments,
        strategies=strategies,
        quotes_per_second=4.0,
        ticks_per_second=1.0,
        fills_per_day=fills,
    )
    predicted = predict(load, RetentionSettings(), 1.0, pack_after_hours=_PACK_HOURS, costs=costs)
    measured = (after.bytes - before.bytes) / seconds * DAY_SECONDS
    raw = sum(t.rows for n, t in grown.items() if n.endswith("_1s_rolled")) / seconds * DAY_SECONDS
    foretold = sum(t.rows_per_day for t in predicted.tables if t.name.endswith("_1s"))
    core = (after.server_seconds - before.server_seconds) / seconds
    return [
        _row("db-size", measured / 1e9, predicted.bytes_per_day / 1e9, "GB/day", "0.85 <= ratio <= 1.15"),
        _row("db-size rows of 1s tiers", raw / 1e6, foretold / 1e6, "million/day", "-"),
        _row("db-size core", 100 * core, 100 * predicted.core_ratio, "% of a core", "-"),
    ]


def _row(name: str, ours: float, reference: float, unit: str, goal: str) -> Measure:
    return Measure(name=name, ours=ours, reference=reference, unit=unit, ratio=ours / reference, goal=goal)
