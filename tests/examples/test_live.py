"""The examples of live data next to a real Decahertz: a Python program, and a page in Chromium."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.page.watched import watched
from tests.pipeline.running import ROOT, RunningDecahertz, environment, running
from tests.servers import require

pytestmark = pytest.mark.timeout(120)
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def decahertz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """A synthetic market of three instruments."""
    folder = tmp_path_factory.mktemp("live")
    env = environment(folder, DECAHERTZ_FEEDS_ENABLED="synthetic", DECAHERTZ_FEEDS_SYNTHETIC_INSTRUMENTS="3")
    with running(env=env, log=folder / "log") as started:
        yield started


def test_the_python_program_prints_states_and_events_in_the_order_in_which_they_come(
    decahertz: RunningDecahertz,
) -> None:
    program = [
        sys.executable,
        str(EXAMPLES / "live_feed.py"),
        decahertz.websocket,
        "metrics:market:**",
        "quotes:*",
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kinds: list[str] = []
        while not {"update", "event"} <= set(kinds):
            kinds.append(process.stdout.readline().partition(" ")[0])
            assert kinds[-1] in ("snapshot", "update", "event"), process.communicate(timeout=10)
        process.terminate()
        process.communicate(timeout=10)


def test_the_python_program_ends_with_the_reason_when_a_topic_is_refused(decahertz: RunningDecahertz) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "live_feed.py"), decahertz.websocket, "quo*"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("bad_topic: 'quo*'")


def test_the_page_shows_every_instrument_and_its_figures_move(decahertz: RunningDecahertz) -> None:
    program = require("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        # At the recorder's own origin, as behind a proxy that serves both.
        favicon = "Failed to load resource"  # which Chromium asks for by itself
        with watched(browser, f"{decahertz.api}/api/v1/ping", favicon) as page:
            page.set_content((EXAMPLES / "live.html").read_text(encoding="utf-8"))
            expect(page.locator("#link")).to_contain_text("live from ")
            expect(page.locator("#rows tr")).to_have_count(3)
            bid = page.locator("#rows td").nth(1)
            before = bid.inner_text()
            expect(bid).not_to_have_text(before)
            assert float(before) > 0
        browser.close()
