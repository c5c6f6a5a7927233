"""The page in Chromium with 100 instruments at 10 Hz: processor time of its renderer, and growth of its heap.

The recorder is the demo. ``DECAHERTZ_BENCH_PAGE_SECONDS`` is the time for each view; the first seconds, in
which buffers fill, are not part of it. The growth is that of an hour at the slope of the readings.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.harness import Measure
from benchmarks.page_cost import Cost, page_cost
from grafana.preview.demo import recorder

INSTRUMENTS = 100
SECONDS = float(os.environ.get("DECAHERTZ_BENCH_PAGE_SECONDS", "20"))
READINGS = 6
WARM_UP_SECONDS = 30
VIEWS = {
    "market": "#/market",
    "instrument": "#/market/BTC-USD?venue=synthetic&span=10s",
    "overview": "#/overview",
    "execution": "#/execution",
}
FLAT = ("market", "instrument")
"""Views whose buffers are full after the first seconds; the lists of the others grow to 2,000 rows."""


def run() -> list[Measure]:
    """Measures the views in turn."""
    program = shutil.which("chromium")
    if program is None:
        return []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decahertz-")))
        addresses = stack.enter_context(recorder(folder, "--feeds-synthetic-instruments", str(INSTRUMENTS)))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program)
        rows = [
            row
            for name, view in VIEWS.items()
            for row in _rows(name, _cost(browser, addresses["Page"] + view))
        ]
        browser.close()
    return rows


def _cost(browser: Browser, url: str) -> Cost:
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.goto(url)
        page.wait_for_timeout(WARM_UP_SECONDS * 1000)
        return page_cost(browser, page, SECONDS, READINGS)


def _rows(name: str, cost: Cost) -> Iterator[Measure]:
    yield Measure(name=f"page-{name}", ours=cost.renderer, unit="of a core, renderer", goal="ours <= 0.25")
    if name in FLAT:
        growth = cost.bytes_per_hour / 2**20
        yield Measure(name=f"page-{name}-heap", ours=growth, unit="MiB more in an hour", goal="ours <= 5")
