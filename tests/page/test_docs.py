"""Swagger UI in a real browser: it shows every route, asks this server only, and sends requests to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from api.pages import DOCS_FOLDER
from api.routes.table import ROUTES
from tests.page.watched import watched
from tests.pipeline.running import RunningDecahertz, environment, read, running

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def decahertz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """A recorder without feeds."""
    folder = tmp_path_factory.mktemp("docs")
    with running("--feeds-enabled", "", env=environment(folder), log=folder / "log") as started:
        yield started


def test_it_shows_every_route_and_a_request_is_sent_and_answered(
    decahertz: RunningDecahertz, browser: Browser
) -> None:
    asked: list[str] = []
    with watched(browser, f"{decahertz.api}/docs") as page:
        page.on("request", lambda request: asked.append(request.url))
        expect(page.locator(".opblock")).to_have_count(len(ROUTES))
        page.locator("#operations-ping-ping").get_by_role("button").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table .response .microlight code").first
        expect(answer).to_contain_text("time_ns")
        body: dict[str, Any] = msgspec.json.decode(answer.inner_text())
    assert body.keys() == decahertz.get("/api/v1/ping").keys()
    assert asked[-1].partition("?")[0] == f"{decahertz.api}/api/v1/ping"


def test_it_is_served_whole_with_its_licence_and_under_a_strict_policy(decahertz: RunningDecahertz) -> None:
    for path in DOCS_FOLDER.rglob("*"):
        if path.is_file():
            assert read(f"{decahertz.api}/docs/{path.relative_to(DOCS_FOLDER)}") == path.read_bytes()
    page = (DOCS_FOLDER / "index.html").read_text()
    assert page.count("<script") == page.count("<script defer src=")
    assert " style=" not in page
    assert "<style" not in page
