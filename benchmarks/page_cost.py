"""The cost of a view of the page in Chromium: processor time of its processes, and the memory of the page."""

from __future__ import annotations

import statistics
import time

from msgspec import Struct
from playwright.sync_api import Browser, Page


class Reading(Struct, frozen=True):
    """The memory of a page after a garbage collection."""

    seconds: float
    """Since the first reading."""
    heap_bytes: int
    """Used bytes of the JavaScript heap."""
    nodes: int
    """Nodes of the documents."""
    listeners: int


class Cost(Struct, frozen=True):
    """The cost of a view for some time."""

    renderer: float
    """Processor seconds of the renderer process per second."""
    chromium: float
    """The same of all processes of the browser."""
    readings: tuple[Reading, ...]

    @property
    def bytes_per_hour(self) -> float:
        """Growth of the heap: the median slope between two readings (Theil and Sen)."""
        pairs = [(a, b) for index, a in enumerate(self.readings) for b in self.readings[index + 1 :]]
        slopes = ((b.heap_bytes - a.heap_bytes) / (b.seconds - a.seconds) for a, b in pairs)
        return 3600 * statistics.median(slopes)


def page_cost(browser: Browser, page: Page, seconds: float, readings: int) -> Cost:
    """Measures a page, the only one of its browser; its memory is read at regular intervals."""
    processes = browser.new_browser_cdp_session()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.enable")
    began = time.monotonic()

    def read() -> Reading:
        session.send("HeapProfiler.collectGarbage")
        found = {one["name"]: int(one["value"]) for one in session.send("Performance.getMetrics")["metrics"]}
        passed = time.monotonic() - began
        return Reading(passed, found["JSHeapUsedSize"], found["Nodes"], found["JSEventListeners"])

    def used() -> dict[str, float]:
        found: dict[str, float] = {}
        for process in processes.send("SystemInfo.getProcessInfo")["processInfo"]:
            found[process["type"]] = found.get(process["type"], 0.0) + process["cpuTime"]
        return found

    taken = [read()]
    spent: dict[str, float] = {}
    waited = 0.0
    for _ in range(readings - 1):
        before, start = used(), time.monotonic()
        page.wait_for_timeout(1000 * seconds / (readings - 1))
        for name, after in used().items():
            spent[name] = spent.get(name, 0.0) + after - before.get(name, 0.0)
        waited += time.monotonic() - start
        taken.append(read())  # outside the measured time: a page alone collects garbage far less often
    for one in (session, processes):
        one.detach()
    return Cost(spent["renderer"] / waited, sum(spent.values()) / waited, tuple(taken))
