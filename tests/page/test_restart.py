"""The page while its server restarts."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.page.watched import watched
from tests.pipeline.running import environment, running
from tests.servers import free_port

pytestmark = pytest.mark.timeout(120)


def test_the_page_says_that_it_is_old_and_goes_on_by_itself(tmp_path: Path, browser: Browser) -> None:
    port = str(free_port())
    settings = environment(tmp_path, DECAHERTZ_API_PORT=port)
    log = tmp_path / "log"
    with contextlib.ExitStack() as stack:
        with running("--demo", env=settings, log=log) as first:
            away = "ERR_CONNECTION_REFUSED|Error in connection establishment|closed before"
            page = stack.enter_context(watched(browser, f"{first.page}#/execution", expected=away))
            sent: list[str] = []
            page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
            fills = page.get_by_role("table", name="Fills").locator("tbody tr")
            expect(fills.first).to_be_visible()
            expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("#banner")).to_contain_text("Connection lost; trying again")
        expect(page.locator("body.old")).to_be_visible()
        before = fills.first.inner_text()
        with running("--demo", env=settings, log=log):
            expect(page.locator("#link")).to_contain_text("Hz")
            expect(page.locator("#banner")).to_be_hidden()
            expect(fills.first).not_to_have_text(before)
            assert sum('"type":"resume"' in frame for frame in sent) == 1
