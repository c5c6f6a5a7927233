"""A day in Prometheus: the series of a recorder with 100 instruments and 10 strategies, scraped every 15 s.

The series are those of a recorder that runs for some seconds. ``promtool`` makes the blocks: gauges swing
around the value that was scraped, unless it is 0 or 1, and counters grow by it in an hour.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.day_events import INSTRUMENTS, RECORDER, STRATEGIES, VENUE
from decahertz_client import Client
from grafana.preview.demo import recorder
from grafana.preview.stack import program, prometheus_of

SCRAPE_SECONDS = 15
_BLOCK_SECONDS = 7200
"""Blocks of Prometheus are two hours long; promtool reads its input once for each block."""
_RUN_SECONDS = 12.0
_INSTRUMENT = re.compile(r'instrument="([^"]+)"')
_HOST = re.compile(r'host="[^"]+"')
_GROWING = re.compile(r"_(total|bucket|count|sum)\{")
_SECONDS_AN_HOUR = 3600
Series = tuple[str, float, str]
"""Name with labels, the value that was scraped, and how it changes: steady, swings or grows."""


@contextmanager
def prometheus_with_a_day(folder: Path, end: int, progress: Callable[[str], None]) -> Iterator[str]:
    """A Prometheus with the scrapes of the 24 hours before ``end``; its address."""
    data = folder / "blocks"
    progress("series of a recorder")
    series = _series(folder)
    start = end - 86_400
    first = start - start % _BLOCK_SECONDS
    for block in range(first, end, _BLOCK_SECONDS):
        progress(f"scrapes of {len(series):,} series, block {(block - first) // _BLOCK_SECONDS + 1}")
        _write_block(folder / "scrapes", series, max(block, start), min(block + _BLOCK_SECONDS, end), data)
    with prometheus_of(folder, {"global": {"scrape_interval": "15s"}}, data) as url:
        yield url


def _series(folder: Path) -> list[Series]:
    """The series that a recorder exports."""
    options = ("--feeds-synthetic-instruments", str(INSTRUMENTS), "--feeds-synthetic-venues", VENUE)
    with recorder(folder, *options, "--recorder", RECORDER) as addresses:
        _trade(addresses["API"].removesuffix("/api/v1/health"))
        time.sleep(_RUN_SECONDS)
        with urllib.request.urlopen(addresses["Metrics"], timeout=10) as answer:  # noqa: S310 - a local address
            text = answer.read().decode()
    instruments = dict.fromkeys(_INSTRUMENT.findall(text))
    names = {name: f"I{number:02}" for number, name in enumerate(instruments)}
    text = _INSTRUMENT.sub(lambda match: f'instrument="{names[match[1]]}"', text)
    found = []
    for line in _HOST.sub('host="host"', text).splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found.append((name, float(value), _kind(name, float(value))))
    found += [(name, value, "steady") for name, value in _recorded(text).items()]
    return [*found, ('up{instance="127.0.0.1:9464",job="decahertz"}', 1.0, "steady")]


def _kind(name: str, value: float) -> str:
    if _GROWING.search(name):
        return "grows"
    return "steady" if value in (0.0, 1.0) else "swings"


def _recorded(text: str) -> dict[str, float]:
    """The series that a recording rule makes for a dashboard."""
    sums: dict[str, float] = {}
    for verdict, value in re.findall(
        r'^decahertz_market_verdict\{.*verdict="(\w+)".* (\S+)$', text, re.MULTILINE
    ):
        labels = f'recorder="{RECORDER}",venue="{VENUE}",decahertz_market_verdict="{verdict}"'
        name = f"recorder_venue:decahertz_market_verdict:sum{{{labels}}}"
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def _trade(api: str) -> None:
    """The strategies of the database, each with an order and its fill."""
    with Client(api, source="benchmark") as client:
        for number in range(STRATEGIES):
            strategy = f"s{number}"
            order = {"strategy": strategy, "venue": VENUE, "instrument": "BTC-USD", "order_id": "o"}
            client.equity(strategy=strategy, equity=1e6)
            client.risk(name="limit0", value=50.0, limit=100.0, strategy=strategy)
            client.order(**order, state="submitted", side="buy", quantity=1.0)  # type: ignore[arg-type] # texts
            client.order(**order, state="accepted", side="buy", quantity=1.0)  # type: ignore[arg-type] # texts
            client.fill(**order, fill_id="f", side="buy", price=100.0, quantity=1.0)  # type: ignore[arg-type] # texts
        client.flush(10)


def _write_block(scrapes: Path, series: list[Series], start: int, end: int, data: Path) -> None:
    with scrapes.open("w", encoding="utf-8") as file:
        for at in range(start, end, SCRAPE_SECONDS):
            factors = {
                "steady": 1.0,
                "swings": 1 + 0.05 * math.sin(at / 600),
                "grows": 1 + at % 86_400 / _SECONDS_AN_HOUR,
            }
            stamp = f" {at}\n"
            file.write("".join(f"{name} {value * factors[kind]!r}{stamp}" for name, value, kind in series))
        file.write("# EOF\n")
    command = [
        program("promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--quiet",
        str(scrapes),
        str(data),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    scrapes.unlink()
