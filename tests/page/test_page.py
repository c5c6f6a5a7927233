"""The page in a real browser, against the demo."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import Browser, expect

from tests.page.watched import watched
from tests.pipeline.running import ANSWER_LIMIT_SECONDS, RunningDecahertz

pytestmark = pytest.mark.timeout(120)
INSTRUMENTS = 20

CHANGES = """
async (selector) => {
  const cell = document.querySelector(selector);
  let changes = 0;
  const observer = new MutationObserver((records) => { changes += records.length; });
  observer.observe(cell, { characterData: true, childList: true, subtree: true });
  await new Promise((resolve) => setTimeout(resolve, 4000));
  observer.disconnect();
  return changes;
}
"""
"""How often the text of a cell changes within four seconds."""


def cycles(demo: RunningDecahertz) -> int:
    """Cycles of the market so far."""
    (market,) = (one for one in demo.get("/api/v1/collectors")["collectors"] if one["name"] == "market")
    return int(market["samples"]) // INSTRUMENTS


def test_the_market_moves_ten_times_a_second(demo: RunningDecahertz, browser: Browser) -> None:
    with watched(browser, f"{demo.page}#/market") as page:
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(INSTRUMENTS)
        first = rows.first
        expect(first.locator("td.verdict")).to_contain_text("live")
        # Both at once: the next cycle may change them.
        bid, ask, *_ = first.evaluate(
            "(row) => [...row.querySelectorAll('td.price')].map((one) => one.innerText)"
        )
        assert 0 < float(bid.replace(",", "")) < float(ask.replace(",", ""))
        expect(page.locator("#link")).to_contain_text("Hz")
        for _ in range(5):  # a browser that gets no time from a busy machine draws less often
            before = cycles(demo)
            # The age of the newest quote is another one at every cycle.
            changes = page.evaluate(CHANGES, "tbody tr td:nth-child(12)")
            passed = cycles(demo) - before
            if passed > 20 and changes > 0.7 * passed:
                break
        else:
            pytest.fail(f"{changes} changes in {passed} cycles")


def test_the_overview_shows_health_ledger_feeds_and_strategies(
    demo: RunningDecahertz, browser: Browser
) -> None:
    assert demo.welcome.splitlines()[1].split()[0] == "Page"
    with watched(browser, demo.page) as page:
        expect(page).to_have_title("Overview · Decahertz")
        tiles = page.locator(".tile")
        expect(tiles.filter(has_text="Health").locator("strong")).to_have_text(re.compile("ok|degraded"))
        expect(tiles.filter(has_text="Ledger").locator("strong")).to_contain_text("stored")
        expect(tiles.filter(has_text="Instruments").locator("strong")).to_have_text("20")
        expect(page.get_by_role("table", name="Feeds")).to_contain_text("synthetic")
        expect(page.get_by_role("table", name="Strategies")).to_contain_text("momentum")


def test_a_browser_revalidates_the_files_and_lets_nothing_else_in(demo: RunningDecahertz) -> None:
    with urllib.request.urlopen(f"{demo.page}page/app.js", timeout=ANSWER_LIMIT_SECONDS) as answer:  # noqa: S310 - this machine
        headers = answer.headers
    assert headers["Content-Type"] == "text/javascript; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    again = urllib.request.Request(f"{demo.page}page/app.js", headers={"If-None-Match": headers["ETag"]})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(again, timeout=ANSWER_LIMIT_SECONDS)  # noqa: S310 - this machine
    for path in ("page/../app.py", "page/%2e%2e/app.py", "page/app.py", "page/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{demo.page}{path}", timeout=ANSWER_LIMIT_SECONDS)  # noqa: S310 - this machine
