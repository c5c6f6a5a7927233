"""Draws the views of the page with real data: ``scripts/page-preview``."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from grafana.preview.demo import recorder

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "page"
COLOURS = 128
SETTLE_MS = 2500


VIEWS = {
    "overview": "#/overview",
    "market": "#/market",
    "instrument": "#/market/{instrument}?venue={venue}&span=1m",
    "candles": "#/market/{instrument}?venue={venue}&span=3m&mode=candles&tf=5s",
    "strategies": "#/strategies",
    "strategy": "#/strategies/{strategy}?span=5m",
    "execution": "#/execution",
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
        url = arguments.url or demo(stack, arguments.minutes)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program)
        names = busiest(url)
        wanted = [(view, name) for view in arguments.names or VIEWS for name in SCREENS]
        # The overview shows the last minute: it is opened first and drawn last.
        wanted.sort(key=lambda picture: picture[0] == "overview")
        early = {
            picture: opened(browser, url, picture, names) for picture in wanted if picture[0] == "overview"
        }
        for picture in wanted:
            page = early.get(picture) or opened(browser, url, picture, names)
            page.wait_for_timeout(SETTLE_MS)
            file = arguments.out / f"{'-'.join(picture)}.png"
            save(page.screenshot(), file)
            page.context.close()
            print(file, f"{file.stat().st_size / 1024:.0f} KiB")
        browser.close()
    return 0


def demo(stack: ExitStack, minutes: float) -> str:
    """Runs a demo for some minutes; the address of its page."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decahertz-")))
    addresses = stack.enter_context(recorder(folder))
    print(f"a demo runs for {minutes:g} minutes", file=sys.stderr)
    time.sleep(minutes * 60)
    return addresses["Page"]


def busiest(url: str) -> dict[str, str]:
    """The instrument, venue and strategy with the most of the newest fills."""
    with urllib.request.urlopen(f"{url}api/v1/fills?limit=500", timeout=10) as answer:  # noqa: S310 - the recorder
        fills = msgspec.json.decode(answer.read())["items"]
    names = {name: Counter(one[name] for one in fills) for name in ("instrument", "venue", "strategy")}
    return {name: quote(found.most_common(1)[0][0], safe="") for name, found in names.items()}


def opened(browser: Browser, url: str, picture: tuple[str, str], names: dict[str, str]) -> Page:
    """Opens a view on a screen."""
    view, screen = VIEWS[picture[0]].format(**names), SCREENS[picture[1]]
    size: ViewportSize = {"width": screen.width, "height": screen.height}
    page = browser.new_context(viewport=size, color_scheme=screen.scheme).new_page()
    page.goto(url + view)
    return page


def save(png: bytes, file: Path) -> None:
    """Writes a picture with few colours: a third of the size, and nobody sees it."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
