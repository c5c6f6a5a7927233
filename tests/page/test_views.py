"""Every view of the page in a real browser, against the demo: charts, keyboard, colours, narrow screens."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.watched import LIMIT_MS, watched
from tests.pipeline.running import RunningDecahertz

pytestmark = pytest.mark.timeout(120)

VIEWS = ("overview", "market", "market/BTC-USD", "strategies", "strategies/momentum", "execution", "system")
HOSTILE = "<img src=x onerror=document.title='owned'>"
DRAWN = """
() => {
  const canvas = document.querySelector(".plot canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] === 255) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
  }
  return colours.size;
}
"""
"""Number of opaque colours on the canvas of the chart."""
CONTRASTS = """
() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const parts = style.getPropertyValue(`--${name}`).trim().match(/[0-9a-f]{2}/gi).map((part) => {
      const value = parseInt(part, 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const found = {};
  for (const front of ["text", "muted", "accent", "up", "down", "warn", "good", "bad", "calm"]) {
    for (const back of ["panel", "back"]) {
      const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
      found[`${front} on ${back}`] = (bright + 0.05) / (dark + 0.05);
    }
  }
  return found;
}
"""
"""Contrast of every text colour with both backgrounds, as WCAG 2.2 defines it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_view_fits_its_screen(
    demo: RunningDecahertz, browser: Browser, scheme: str, width: int
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 844}}
    with watched(browser, f"{demo.page}#/overview", **options) as page:
        expect(page.locator("#link")).to_contain_text("Hz")
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        for view in VIEWS:
            page.goto(f"{demo.page}#/{view}")
            expect(page.locator("#view .panel").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        too_low = {name: ratio for name, ratio in page.evaluate(CONTRASTS).items() if ratio < 4.5}
        assert too_low == {}


def test_a_chart_draws_and_reads_the_tier_of_its_range(demo: RunningDecahertz, browser: Browser) -> None:
    with watched(browser, f"{demo.page}#/market/BTC-USD?venue=synthetic") as page:
        status = page.locator(".toolbar .status")
        expect(status).to_have_text("last 5m · every cycle (raw)")
        until_drawn(page)
        for name, resolution in (("15m", "(1s)"), ("7d", "(1m)"), ("1m", "(raw)")):
            page.get_by_role("button", name=name, exact=True).click()
            expect(status).to_contain_text(resolution)
            expect(page).to_have_url(re.compile(f"span={name}"))
        over = page.locator(".plot .u-over")
        over.hover()
        page.mouse.wheel(0, 2000)
        expect(status).to_contain_text("(1s)")
        page.keyboard.press("ArrowLeft")
        expect(page).to_have_url(re.compile(r"from=.*&to="))
        page.keyboard.press("l")
        page.keyboard.press("c")
        expect(status).to_contain_text("bars from ticks")
        until_drawn(page)


def test_fills_stand_on_the_chart_and_a_round_trip_leads_to_it(
    demo: RunningDecahertz, browser: Browser
) -> None:
    with watched(browser, f"{demo.page}#/strategies") as page:
        page.get_by_role("table", name="Strategies").get_by_text("market-maker").click()
        expect(page).to_have_url(re.compile("#/strategies/market-maker"))
        expect(page.get_by_text("Profit factor")).to_be_visible()
        trades = page.get_by_role("table", name="Round trips").locator("tbody tr")
        trades.first.click()
        expect(page).to_have_url(re.compile("#/market/.*from="))
        expect(page.get_by_role("table", name="Fills").locator("tbody tr").first).to_contain_text(
            "market-maker"
        )


def test_a_name_that_is_markup_stays_text(demo: RunningDecahertz, browser: Browser) -> None:
    send_quote(demo, HOSTILE)
    with watched(browser, f"{demo.page}#/market") as page:
        row = page.locator("tbody tr").filter(has_text=HOSTILE)
        expect(row).to_have_count(1)
        row.click()
        expect(page.locator(".headline .instrument")).to_have_text(HOSTILE)
        assert page.url.endswith(f"#/market/{quote(HOSTILE, safe='!*()' + chr(39))}?venue=lab")
        assert page.locator("#view img").count() == 0
        expect(page).to_have_title(f"{HOSTILE} · Decahertz")


def test_the_keyboard_filters_walks_and_opens(demo: RunningDecahertz, browser: Browser) -> None:
    with watched(browser, f"{demo.page}#/overview", timezone_id="Asia/Tokyo") as page:
        expect(page.locator("#link")).to_contain_text("Hz")
        page.keyboard.press("2")
        expect(page).to_have_url(re.compile("#/market$"))
        rows = page.locator("tbody tr")
        expect(rows.first).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("usd eth")
        expect(rows).to_have_count(1)
        page.keyboard.press("Enter")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.locator(".headline .instrument")).to_have_text("ETH-USD")
        utc = hour(page)
        page.keyboard.press("z")
        expect(page.locator("#zone")).to_have_text("Local")
        assert (hour(page) - utc) % 24 in (9, 10)
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("#/market$"))


def until_drawn(page: Page) -> None:
    """Waits for colours on the chart. The page's policy forbids the eval of ``wait_for_function``."""
    deadline = time.monotonic() + LIMIT_MS / 1000
    while page.evaluate(DRAWN) <= 2:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def hour(page: Page) -> int:
    """The hour that the header shows."""
    return int(page.locator("#clock").inner_text()[11:13])


def send_quote(demo: RunningDecahertz, instrument: str) -> None:
    """Sends one quote as a trading process would."""
    now_ns = time.time_ns()
    event = {"type": "quote", "time_ns": now_ns, "venue": "lab", "instrument": instrument, "bid": 1, "ask": 2}
    sizes = {"bid_size": 1, "ask_size": 1}
    batch = {"source": "lab", "epoch": now_ns, "first_sequence": 1, "events": [event | sizes]}
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{demo.api}/api/v1/events",
        data=msgspec.json.encode(batch),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - this machine
        assert answer.status == 200
