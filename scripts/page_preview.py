"""Draws the views of the page with real data: ``scripts/page-preview``."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from grafana.preview.demo import recorder

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "page"
COLOURS = 128
SETTLE_MS = 6000


@dataclass(frozen=True)
class Picture:
    """A view as it is drawn."""

    address: str
    scheme: str = "dark"
    size: tuple[int, int] = (1440, 900)


DRAWN = {
    "overview": Picture("#/overview"),
    "market": Picture("#/market", "light"),
    "instrument": Picture("#/market/SOL-USD?venue=synthetic&span=5m"),
    "candles": Picture("#/market/EUR%2FUSD?venue=synthetic&span=10m&mode=candles", "light"),
    "strategies": Picture("#/strategies"),
    "strategy": Picture("#/strategies/momentum?span=10m", "light"),
    "execution": Picture("#/execution"),
    "system": Picture("#/system", "light"),
    "narrow": Picture("#/market/NZD%2FUSD?venue=synthetic&span=5m", "dark", (390, 844)),
}


def main() -> int:
    """Parses the arguments and draws."""
    parser = argparse.ArgumentParser(prog="scripts/page-preview", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"pictures: {', '.join(DRAWN)}; default: all"
    )
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder of the pictures")
    parser.add_argument("--minutes", type=float, default=12.0, help="length of the demo run")
    parser.add_argument("--url", help="address of the page of a running recorder with the demo")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(DRAWN)
    if unknown:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}")
    program = shutil.which("chromium")
    if program is None:
        parser.error("chromium is not on PATH (Debian: apt-get install chromium)")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = arguments.url or demo(stack, arguments.minutes)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program)
        for name in arguments.names or DRAWN:
            file = arguments.out / f"{name}.png"
            save(draw(browser, url, DRAWN[name]), file)
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


def draw(browser: Browser, url: str, picture: Picture) -> bytes:
    """Opens a view, waits until it is full, and returns a picture of it."""
    width, height = picture.size
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=picture.scheme
    ) as context:
        page = context.new_page()
        page.goto(f"{url}{picture.address}")
        page.wait_for_timeout(SETTLE_MS)
        return page.screenshot()


def save(png: bytes, file: Path) -> None:
    """Writes a picture with few colours: a third of the size, and nobody sees it."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
