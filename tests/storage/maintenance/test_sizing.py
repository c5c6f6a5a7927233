"""Rows and bytes predicted from instruments and strategies."""

from __future__ import annotations

import pytest

from collectors.host.settings import CollectorsSettings
from storage.maintenance.sizing import (
    EventCost,
    Load,
    Prediction,
    RowCost,
    RowCosts,
    SampleCost,
    predict,
    row_costs,
)
from storage.settings import RetentionSettings
from storage.tiers.names import Tier

COSTS = RowCosts(
    measured="by hand",
    samples={
        "market": SampleCost(
            per="instrument",
            keys=1,
            recent_bytes=400,
            packed_bytes=40,
            tier_bytes={Tier.S1: 500, Tier.M1: 800},
            packed_second_bytes=60,
        ),
        "strategy": SampleCost(
            per="strategy",
            keys=2,
            every=10,
            recent_bytes=100,
            packed_bytes=10,
            tier_bytes={Tier.S1: 200, Tier.M1: 250},
            packed_second_bytes=30,
        ),
    },
    events={
        "quotes": EventCost(recent_bytes=250, packed_bytes=40),
        "ticks": EventCost(recent_bytes=200, packed_bytes=50),
    },
    fill=RowCost(rows=6, bytes=500),
    second=RowCost(rows=5, bytes=100),
    cycle_bytes=80,
    core_seconds=50,
)
LOAD = Load(instruments=10, strategies=3, quotes_per_second=4, ticks_per_second=1, fills_per_day=1000)


def predicted(days: float, pack_after_hours: float = 1.0) -> Prediction:
    return predict(LOAD, RetentionSettings(), days, pack_after_hours=pack_after_hours, costs=COSTS)


@pytest.mark.parametrize(
    ("name", "rows_per_day", "kept_days", "bytes_", "partitions"),
    [
        ("market_samples", 10 * 864_000, 7, 7 * 10 * 864_000 * 40, 7),
        ("market_samples_recent", 0, 1 / 24, 10 * 36_000 * 400, 1),
        ("strategy_samples", 6 * 86_400, 7, 7 * 6 * 86_400 * 10, 7),
        ("strategy_samples_1s", 6 * 86_400, 30, 30 * 6 * 86_400 * 30, 30),
        ("market_samples_1s", 864_000, 30, 30 * 864_000 * 60, 30),
        ("market_samples_1s_rolled", 0, 13 / 12 / 24, 10 * 3_900 * 500, 1),
        ("market_samples_1m", 10 * 1440, 730, 730 * 10 * 1440 * 800, 25),
        ("market_samples_1h", 240, 3650, 3650 * 240 * 800, 11),
        ("quotes", 10 * 4 * 86_400, 30, 30 * 10 * 4 * 86_400 * 40, 30),
        ("quotes_recent", 0, 1.5 / 24, 10 * 4 * 5400 * 250, 1),
        ("packed_cycles", 864_000, 7, 7 * 864_000 * 80, 7),
        ("packed_seconds", 86_400, 30, 30 * 86_400 * 80, 30),
    ],
)
def test_a_table_has_the_rows_of_its_retention(
    name: str, rows_per_day: float, kept_days: float, bytes_: float, partitions: int
) -> None:
    (table,) = (one for one in predicted(3650).tables if one.name == name)
    assert table.rows_per_day == rows_per_day
    assert table.kept_days == kept_days
    assert table.bytes == pytest.approx(bytes_)
    assert table.partitions == partitions


@pytest.mark.parametrize(
    ("kept", "days", "partitions"),
    [(90, 3650, 90), (91, 3650, 4), (1080, 3650, 36), (1081, 3650, 13), (0, 720, 8), (0, 30, 1)],
)
def test_partitions_are_as_wide_as_the_retention_asks_for(kept: int, days: float, partitions: int) -> None:
    """ADR 0012: a day, a month from 91 days on, a quarter from three years on or for ever."""
    retention = RetentionSettings(raw_days=kept, one_second_days=0, one_minute_days=0)
    found = predict(LOAD, retention, days, pack_after_hours=1.0, costs=COSTS)
    for table in found.tables:
        if table.name in {"market_samples", "packed_cycles"}:
            assert table.partitions == partitions


def test_what_is_written_counts_each_row_once_and_costs_its_share_of_a_core() -> None:
    found = predicted(1)
    assert found.rows_per_second == pytest.approx(10 * 10 + 6 + 10 * 5 + 3 * 1000 * 6 / 86_400 + 5)
    assert found.core_ratio == pytest.approx(found.rows_per_second * 50 / 1e6)
    assert found.bytes_per_day == pytest.approx(sum(table.bytes_per_day for table in found.tables))


def test_rows_that_are_not_packed_take_what_they_take_when_they_come() -> None:
    tables = {one.name: one for one in predicted(3, pack_after_hours=0).tables}
    assert tables["market_samples"].bytes_per_day == 10 * 864_000 * 400
    assert tables["ticks"].bytes_per_day == 10 * 86_400 * 200
    assert tables["market_samples_1s"].bytes_per_day == 864_000 * 500
    assert not any(word in name for name in tables for word in ("recent", "rolled", "packed"))


def test_the_measured_table_has_the_built_in_collectors() -> None:
    costs = row_costs()
    assert set(costs.samples) == set(CollectorsSettings().enabled)
    assert set(costs.events) == {"quotes", "ticks"}
    assert all(one.packed_bytes < one.recent_bytes / 3 for one in costs.events.values())
    for cost in costs.samples.values():
        assert cost.packed_bytes > 0
        # A packed minute has 600 places: samples that come once a second use a tenth of them.
        assert cost.packed_bytes < cost.recent_bytes or cost.every > 1
