"""Debian's Chromium, and the demo whose page it shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.page.watched import LIMIT_MS
from tests.pipeline.running import RunningDecahertz, environment, running
from tests.servers import require


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """The demo, on ports of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with running("--demo", env=environment(folder), log=folder / "log") as decahertz:
        yield decahertz


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    program = require("chromium", "chromium-browser", "google-chrome")
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()
