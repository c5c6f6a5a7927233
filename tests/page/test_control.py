"""The view *Control*: halts, order requests and the form for a new one, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.watched import watched
from tests.pipeline.running import RunningDecahertz, environment, run, running, wait_until

pytestmark = pytest.mark.timeout(180)


def confirm(page: Page, button: str, reason: str = "") -> None:
    """Answers the dialog that asks before something is done."""
    dialog = page.get_by_role("dialog", name="Confirm")
    if reason:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_be_hidden()


def write_request(page: Page, **fields: str) -> None:
    """Fills in the form for a new request."""
    form = page.get_by_role("form", name="New request")
    for name, text in {"Strategy": "rebalance", "Venue": "synthetic", "Quantity": "0.5", **fields}.items():
        form.get_by_label(name, exact=True).fill(text)


def test_a_provider_is_shown_and_asked(demo: RunningDecahertz, browser: Browser) -> None:
    with watched(browser, f"{demo.page}#/providers", expected="404") as page:
        row = page.get_by_role("table", name="Providers").get_by_role("row", name="recorder")
        expect(row).to_contain_text("closed")
        form = page.get_by_role("form", name="Ask")
        form.get_by_label("Symbol", exact=True).fill("BTC-USD")
        form.get_by_role("button", name="Ask").click()
        answer = page.get_by_label("Answer")
        expect(answer).to_contain_text(re.compile(r"Price\d\d,\d{3}(\.\d+)? USD"))
        form.get_by_label("Symbol", exact=True).fill("NOPE")
        form.get_by_role("button", name="Ask").click()
        expect(answer).to_contain_text("unknown-name")


def test_it_is_off_without_a_key_and_then_halts_checks_submits_and_cancels(
    tmp_path: Path, browser: Browser
) -> None:
    env = environment(tmp_path)
    with (
        # A market and no trader: nobody takes requests.
        running("--feeds-enabled", "synthetic", env=env, log=tmp_path / "log") as market,
        watched(browser, f"{market.page}#/control") as page,
    ):
        halt = page.get_by_role("form", name="Halt")
        expect(page.get_by_text("no key has the scope trade")).to_be_visible()
        expect(halt.get_by_role("button")).to_be_disabled()
        made = run("keys", "create", "desk", "--scope", "trade", env=env)
        assert made.returncode == 0, made.stderr
        expect(page.get_by_text("no key has the scope trade")).to_be_hidden()

        halt.get_by_label("Halt", exact=True).select_option("strategy")
        halt.get_by_label("Strategy", exact=True).fill("rebalance")
        halt.get_by_role("button").click()
        confirm(page, "Halt now", "3 wrong fills")
        row = page.get_by_role("table", name="Halts").get_by_role("row", name="strategy rebalance")
        expect(row).to_contain_text("3 wrong fills")
        expect(page).to_have_url(re.compile("#/control$"))  # the digit was a letter, no shortcut

        wait_until(
            "a market of BTC-USD",
            30,
            lambda: any(item["key"]["instrument"] == "BTC-USD" for item in market_samples(market)),
        )
        form = page.get_by_role("form", name="New request")
        write_request(page, Instrument="BTC-USD")
        checks = page.get_by_role("list", name="Checks")
        form.get_by_role("button", name="Check").click()
        expect(checks).to_contain_text("halted")
        form.get_by_role("button", name="Submit").click()
        expect(checks).to_contain_text("halted")
        expect(page.get_by_role("dialog", name="Confirm")).to_be_hidden()

        row.click()
        confirm(page, "Resume", "they were right")
        expect(row).to_have_count(0)
        form.get_by_role("button", name="Submit").click()
        confirm(page, "Submit")
        expect(checks).to_contain_text("queued")
        (request,) = market.get("/api/v1/orders/requests")["items"]
        assert (request["body"]["quantity"], request["body"]["instrument"]) == (0.5, "BTC-USD")
        assert request["state"] == "queued"

        page.get_by_role("table", name="Open requests").get_by_role("row", name="rebalance").click()
        confirm(page, "Cancel the request", "not needed")
        finished = page.get_by_role("table", name="Finished requests").get_by_role("row", name="rebalance")
        expect(finished).to_contain_text("cancelled")
        (request,) = market.get("/api/v1/orders/requests")["items"]
        assert (request["state"], request["reason"]) == ("cancelled", "not needed")
        assert market.get("/api/v1/risk/halts")["items"] == []


def test_a_template_shows_its_versions_and_checks_and_is_submitted(tmp_path: Path, browser: Browser) -> None:
    env = environment(tmp_path)
    order = {
        "kind": "equity",
        "strategy": "rebalance",
        "venue": "synthetic",
        "instrument": "BTC-USD",
        "side": "buy",
        "quantity": 0.5,
        "order_type": "market",
    }
    content = {"name": "close of day", "order": order, "schedule": {"cron": "0 0 1 1 *"}}
    with (
        running("--feeds-enabled", "synthetic", env=env, log=tmp_path / "log") as market,
        watched(browser, f"{market.page}#/control") as page,
    ):
        made = run("keys", "create", "desk", "--scope", "trade", env=env)
        assert made.returncode == 0, made.stderr
        wait_until("orders can be given", 10, lambda: market.get("/api/v1/risk/halts")["is_enabled"])
        api = f"{market.api}/api/v1/templates"
        template = page.request.post(api, data=content).json()["template_id"]
        row = page.get_by_role("table", name="Templates").get_by_role("row", name="close of day")
        expect(row).to_contain_text("buy 0.500 market")
        changed = content | {"order": order | {"quantity": 2}}
        assert page.request.put(f"{api}/{template}", data=changed, headers={"If-Match": '"1"'}).ok
        expect(row).to_contain_text("buy 2 market")
        wait_until(
            "a market of BTC-USD",
            30,
            lambda: any(item["key"]["instrument"] == "BTC-USD" for item in market_samples(market)),
        )
        row.click()
        dialog = page.get_by_role("dialog", name="Confirm")
        expect(dialog).to_contain_text("0 0 1 1 *")
        expect(dialog.get_by_role("list", name="Versions").get_by_role("listitem")).to_have_count(2)
        expect(dialog.get_by_role("list", name="Checks now")).to_contain_text("halted")
        confirm(page, "Submit")
        (request,) = market.get("/api/v1/orders/requests")["items"]
        assert (request["template_id"], request["template_version"]) == (template, 2)
        assert request["body"]["quantity"] == 2


def market_samples(market: RunningDecahertz) -> list[dict[str, dict[str, str]]]:
    """The newest samples of the market."""
    items: list[dict[str, dict[str, str]]] = market.get("/api/v1/metrics/current?collector=market")["items"]
    return items
