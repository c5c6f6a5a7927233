"""Draws the views of the page with real data: ``scripts/page-preview``."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from grafana.preview.demo import recorder, run

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "page"
COLOURS = 256
SETTLE_MS = 2500
MINUTE_MS = 62_000
_ATTEMPTS = 20
_REQUESTS: tuple[tuple[str, str, float, dict[str, Any]], ...] = (
    ("ETH-USD", "sell", 2.5, {"order_type": "limit", "limit_price": 3100.5, "priority": "high"}),
    ("SOL-USD", "buy", 40, {"order_type": "market", "priority": "urgent"}),
    ("BTC-USD", "buy", 0.25, {"order_type": "limit", "limit_price": 61250}),
    ("AVAX-USD", "sell", 120, {"order_type": "market", "priority": "low"}),
)


VIEWS = {
    "overview": "#/overview",
    "market": "#/market",
    "instrument": "#/market/{instrument}?venue={venue}&span=1m",
    "candles": "#/market/{instrument}?venue={venue}&span=3m&mode=candles&tf=5s",
    "strategies": "#/strategies",
    "strategy": "#/strategies/{strategy}?span=5m",
    "execution": "#/execution",
    "risk": "#/risk",
    "control": "#/control",
    "providers": "#/providers",
    "system": "#/system",
}


@dataclass(frozen=True)
class Screen:
    """How a view is drawn."""

    scheme: Literal["light", "dark"]
    width: int = 1440
    height: int = 900


SCREENS = {"light": Screen("light"), "dark": Screen("dark"), "narrow": Screen("dark", 390, 844)}


def main() -> int:
    """Parses the arguments and draws."""
    parser = argparse.ArgumentParser(prog="scripts/page-preview", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"views: {', '.join(VIEWS)}; default: all")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder of the pictures")
    parser.add_argument("--minutes", type=float, default=12.0, help="length of the demo run")
    parser.add_argument("--url", help="address of the page of a running recorder with the demo")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(VIEWS)
    if unknown:
        parser.error(f"there is no view {', '.join(sorted(unknown))}")
    program = shutil.which("chromium")
    if program is None:
        parser.error("chromium is not on PATH (Debian: apt-get install chromium)")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decahertz-")))
        url = arguments.url or demo(stack, folder, arguments.minutes)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program)
        names = busiest(url)
        wanted = arguments.names or list(VIEWS)
        # The overview shows the last minute, and no other page is drawn in it. Control makes a halt: last.
        late = ("overview", "control")
        for view in sorted(wanted, key=lambda name: late.index(name) if name in late else -1):
            if view == "control" and not arguments.url:
                submit_requests(folder, url)
            page = opened(browser, url, view, names)
            page.wait_for_timeout(MINUTE_MS if view == "overview" else 0)
            for name, screen in SCREENS.items():
                page.emulate_media(color_scheme=screen.scheme)
                page.set_viewport_size({"width": screen.width, "height": screen.height})
                page.wait_for_timeout(SETTLE_MS)
                file = arguments.out / f"{view}-{name}.png"
                save(page.screenshot(), file)
                print(file, f"{file.stat().st_size / 1024:.0f} KiB")
            page.context.close()
        browser.close()
    return 0


def demo(stack: ExitStack, folder: Path, minutes: float) -> str:
    """Runs a demo for some minutes; the address of its page."""
    addresses = stack.enter_context(recorder(folder))
    print(f"a demo runs for {minutes:g} minutes", file=sys.stderr)
    time.sleep(minutes * 60)
    return addresses["Page"]


def submit_requests(folder: Path, url: str) -> None:
    """Makes a key that permits to trade, some order requests, templates, and a halt."""
    run(folder, "keys", "create", "desk", "--scope", "trade", "--output", str(folder / "key"))
    body = {"kind": "equity", "strategy": "rebalance", "venue": "synthetic", "time_in_force": "day"}
    for instrument, side, quantity, more in _REQUESTS:
        trade = {"instrument": instrument, "side": side, "quantity": quantity}
        post(f"{url}api/v1/orders", {**body, **trade, **more})
    newest = get(f"{url}api/v1/orders/requests?limit=1")["items"][0]["request_id"]
    post(f"{url}api/v1/orders/{newest}", None, "DELETE")
    for name, schedule in (("hedge at the close", {"cron": "55 15 * * 1-5"}), ("reduce by half", None)):
        order = {**body, "instrument": "ETH-USD", "side": "sell", "quantity": 4, "order_type": "market"}
        post(f"{url}api/v1/templates", {"name": name, "order": order, "schedule": schedule})
    halt = {"scope": "instrument", "instrument": "DOT-USD", "reason": "the venue announced maintenance"}
    post(f"{url}api/v1/risk/halts", halt)


def post(url: str, body: object, method: str = "POST") -> None:
    """Sends a request; for some seconds the recorder may not know the key yet."""
    data = None if body is None else msgspec.json.encode(body)
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - the recorder
    for attempt in range(_ATTEMPTS):
        try:
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - the recorder
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_IMPLEMENTED or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(1)
        else:
            return


def busiest(url: str) -> dict[str, str]:
    """The instrument, venue and strategy with the most of the newest fills."""
    fills = get(f"{url}api/v1/fills?limit=500")["items"]
    names = {name: Counter(one[name] for one in fills) for name in ("instrument", "venue", "strategy")}
    return {name: quote(found.most_common(1)[0][0], safe="") for name, found in names.items()}


def get(url: str) -> Any:  # noqa: ANN401 - any answer
    """The decoded answer of the recorder."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the recorder
        return msgspec.json.decode(answer.read())


def opened(browser: Browser, url: str, view: str, names: dict[str, str]) -> Page:
    """Opens a view."""
    page = browser.new_context().new_page()
    page.goto(url + VIEWS[view].format(**names))
    if view == "providers":
        page.get_by_label("Symbol").fill("BTC-USD")
        page.get_by_role("button", name="Ask").click()
    return page


def save(png: bytes, file: Path) -> None:
    """Writes a picture with few colours: a third of the size, and nobody sees it."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
