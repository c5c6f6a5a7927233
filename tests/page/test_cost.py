"""The page at length: its memory does not grow. A few seconds here, an hour with scripts/soak."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.page_cost import page_cost
from tests.page.watched import watched
from tests.pipeline.running import environment, running

MINUTES = float(os.environ.get("DECAHERTZ_SOAK_MINUTES", "0.15"))
INSTRUMENTS = 100
READINGS = 10
GROWTH_BYTES = 512 * 1024
"""Growth allowed between the middle and the end; a cycle of 100 instruments brings 90 KB."""


@pytest.mark.timeout(MINUTES * 60 + 120)
def test_the_memory_of_the_page_does_not_grow(tmp_path: Path, browser: Browser) -> None:
    options = ("--demo", "--feeds-synthetic-instruments", str(INSTRUMENTS))
    with (
        running(*options, env=environment(tmp_path), log=tmp_path / "log") as decahertz,
        watched(browser, f"{decahertz.page}#/market") as page,
    ):
        expect(page.locator("#link")).to_contain_text("Hz")
        cost = page_cost(browser, page, MINUTES * 60, READINGS)
        expect(page.locator("#link")).to_contain_text("Hz")
    sys.stdout.write(f"{cost.renderer:.3f} of a core, {cost.bytes_per_hour:.0f} bytes an hour: {cost}\n")
    middle, end = cost.readings[READINGS // 2], cost.readings[-1]
    assert end.heap_bytes - middle.heap_bytes < GROWTH_BYTES, cost
    assert end.nodes <= middle.nodes, cost
    assert end.listeners <= middle.listeners, cost
