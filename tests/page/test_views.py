"""Every view of the page in a real browser, against the demo: charts, keyboard, colours, narrow screens."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.watched import LIMIT_MS, watched
from tests.pipeline.running import ANSWER_LIMIT_SECONDS, RunningDecahertz, wait_until

pytestmark = pytest.mark.timeout(120)

VIEWS = (
    "overview",
    "market",
    "market/BTC-USD",
    "strategies",
    "strategies/momentum",
    "execution",
    "risk",
    "control",
    "providers",
    "system",
)
NARROW = 620
"""Below this width tables leave columns out."""
SCHEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")
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
FAINT = """
() => {
  const colour = (text) => {
    const parts = text.match(/[0-9.]+(e-[0-9]+)?/g).map(Number);
    const unit = text.startsWith("rgb") ? 255 : 1;
    return [parts[0] / unit, parts[1] / unit, parts[2] / unit, parts[3] ?? 1];
  };
  const over = ([r, g, b, a], back) => [r, g, b].map((value, at) => value * a + back[at] * (1 - a));
  const background = (element) => {
    if (element === null) return [1, 1, 1];
    const own = colour(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, background(element.parentElement));
  };
  const light = (parts) => {
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = parts.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = {};
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const back = background(element);
    const front = over(colour(getComputedStyle(element).color), back);
    const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05);
    count += 1;
    if (ratio < 4.5) faint[`${element.tagName}.${element.className}: ${texts.currentNode.data}`] = ratio;
  }
  return [count, faint];
}
"""
"""The number of texts in sight, and those with a contrast below 4.5, as WCAG 2.2 defines it for level AA."""
CUT = """
() => {
  const cut = (selector) => [...document.querySelectorAll(selector)].filter(
    (one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1
  );
  const names = cut(".scroll").map((one) => one.querySelector("table").getAttribute("aria-label"));
  return [...cut("button").map((one) => one.textContent), ...names];
}
"""
"""Buttons whose text is cut, and tables that are wider than their panel."""
DIGIT_WIDTHS = """
() => {
  const cell = document.createElement("span");
  document.getElementById("link").append(cell);
  const widths = [..."0123456789"].map((digit) => {
    cell.textContent = digit.repeat(20);
    return cell.getBoundingClientRect().width;
  });
  cell.remove();
  return widths;
}
"""
"""Width of each of the ten digits, twenty times."""


@pytest.mark.parametrize("width", [1440, 390])
def test_every_view_fits_its_screen_in_light_and_dark(
    demo: RunningDecahertz, browser: Browser, width: int
) -> None:
    with watched(
        browser,
        f"{demo.page}#/overview",
        color_scheme="dark",
        reduced_motion="reduce",  # colours change at once
        viewport={"width": width, "height": 844},
    ) as page:
        expect(page.locator("#link")).to_contain_text("Hz")
        for view in VIEWS:
            page.goto(f"{demo.page}#/{view}")
            expect(page.locator("#view .panel").first).to_be_visible()
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                expect(page.locator("html")).to_have_attribute("data-theme", scheme)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, view
                count, faint = page.evaluate(FAINT)
                assert count > 10, view
                assert faint == {}, (view, scheme)
            if width < NARROW:
                assert page.evaluate(CUT) == [], view
        for narrower in (1280, 1000):  # the header has the most to fit
            page.set_viewport_size({"width": min(width, narrower), "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= narrower
        widths = page.evaluate(DIGIT_WIDTHS)
        assert max(widths) - min(widths) < 0.5


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
        expect(page.get_by_text("Profit factor", exact=True)).to_be_visible()
        trades = page.get_by_role("table", name="Round trips").locator("tbody tr")
        trades.first.click()
        expect(page).to_have_url(re.compile("#/market/.*from="))
        expect(page.get_by_role("table", name="Fills").locator("tbody tr").first).to_contain_text(
            "market-maker"
        )


def test_signals_and_finished_orders_come_from_the_database_page_by_page(
    demo: RunningDecahertz, browser: Browser
) -> None:
    now_ns = time.time_ns()
    key = {"time_ns": now_ns, "strategy": "pager", "venue": "synthetic", "instrument": "BTC-USD"}
    order = {"type": "order", **key, "state": "cancelled", "side": "buy", "quantity": 1.0}
    orders = [{**order, "order_id": f"order-{number}"} for number in range(230)]
    signal = {"type": "signal", **key, "signal_id": "one", "direction": "buy", "strength": 0.5, "price": 1.5}
    send(demo, "pager", [signal, *orders])
    wait_until("the orders", 20, lambda: bool(demo.get("/api/v1/orders?order_id=order-229")["items"]))
    with watched(browser, f"{demo.page}#/execution") as page:
        panel = page.get_by_role("region", name="Finished orders")
        expect(panel.locator("h2 .note")).to_have_text(re.compile(r"^\d+\+$"))
        rows = panel.locator("tbody tr")
        page.locator("#filter").fill("pager")
        expect(rows.first).to_contain_text("pager")
        for _ in range(2):
            panel.locator(".scroll").evaluate("(element) => element.scrollTo(0, element.scrollHeight)")
            page.wait_for_timeout(500)
        expect(panel.locator("h2 .note")).to_have_text(re.compile(r"^[2-9]\d\d"))
        assert rows.count() < 100  # only rows in sight are in the document
        page.goto(f"{demo.page}#/market/BTC-USD?venue=synthetic")
        signals = page.get_by_role("table", name="Signals").locator("tbody tr")
        page.locator("#filter").fill("pager")
        expect(signals).to_have_count(1)
        expect(signals.first).to_contain_text("+0.50")


def test_risk_shows_limits_exposure_and_what_speaks_against_trading(
    demo: RunningDecahertz, browser: Browser
) -> None:
    with watched(browser, f"{demo.page}#/risk") as page:
        tile = page.locator(".tile").filter(has_text="Can trade")
        expect(tile.locator("strong")).to_have_text(re.compile("yes|no"))
        limits = page.get_by_role("table", name="Limits").locator("tbody tr")
        expect(limits.filter(has_text="market-maker")).to_contain_text("gross-exposure")
        expect(
            page.get_by_role("table", name="Net exposure by currency").locator("tbody tr").first
        ).to_be_visible()
        page.get_by_role("table", name="Risk of strategies").get_by_text("momentum").click()
        expect(page).to_have_url(re.compile("#/strategies/momentum"))


def test_each_table_of_quality_shows_its_figures(demo: RunningDecahertz, browser: Browser) -> None:
    with watched(browser, f"{demo.page}#/execution") as page:
        expect(page.get_by_role("table", name="Quality").locator("tbody tr").first).to_contain_text("%")
        page.get_by_role("button", name="Latency").click()
        latencies = page.get_by_role("table", name="Latency").locator("tbody tr")
        expect(latencies.filter(has_text="market-maker")).to_contain_text(re.compile(r"\d ms / .* · \d+"))
        page.get_by_role("button", name="Costs and markouts").click()
        costs = page.get_by_role("table", name="Costs and markouts").locator("tbody tr")
        expect(costs.filter(has_text="market-maker")).to_contain_text(re.compile(r"\d\.\d\d · \d+"))


def test_a_strategy_names_the_sample_of_each_statistic_or_why_it_has_no_value(
    demo: RunningDecahertz, browser: Browser
) -> None:
    with watched(browser, f"{demo.page}#/strategies/market-maker") as page:
        days = page.get_by_label("Statistics of days")
        expect(days).to_contain_text("a dispersion needs two days")
        expect(page.get_by_label("Statistics of round trips")).to_contain_text("round trips")
        expect(page.get_by_label("Money", exact=True)).to_contain_text("after fees, account currency")


def test_an_unknown_name_shows_no_figures_of_the_one_before(demo: RunningDecahertz, browser: Browser) -> None:
    with watched(browser, f"{demo.page}#/market/BTC-USD?venue=synthetic", expected="404") as page:
        mid = page.locator(".headline .big")
        expect(mid).to_have_text(re.compile(r"\d"))
        page.goto(f"{demo.page}#/market/NOPE")
        expect(page.locator(".headline .instrument")).to_have_text("NOPE")
        expect(mid).to_have_text("")
        assert set(page.locator(".figures dd").all_text_contents()) == {""}
        page.goto(f"{demo.page}#/strategies/momentum")
        tile = page.locator(".tile strong").first
        expect(tile).to_have_text(re.compile(r"\d"))
        page.goto(f"{demo.page}#/strategies/nobody")
        expect(tile).to_have_text("\N{EN DASH}")
        assert set(page.locator(".figures dd").all_text_contents()) <= {"", "\N{EN DASH}"}


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
    key = {"time_ns": time.time_ns(), "venue": "lab", "instrument": instrument}
    send(demo, "lab", [{"type": "quote", **key, "bid": 1, "ask": 2, "bid_size": 1, "ask_size": 1}])


def send(demo: RunningDecahertz, source: str, events: list[dict[str, Any]]) -> None:
    """Sends events as a trading process would."""
    batch = {"source": source, "epoch": time.time_ns(), "first_sequence": 1, "events": events}
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{demo.api}/api/v1/events",
        data=msgspec.json.encode(batch),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS) as answer:  # noqa: S310 - this machine
        assert answer.status == 200
