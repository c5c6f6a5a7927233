"""A visitor of the demo: order requests, signals on request, headlines and market data, as a desk would."""

from __future__ import annotations

import itertools
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from decahertz_client import Client, ProblemError, ReaderError
from grafana.preview.demo import run

_STEP_SECONDS = 1.5
_VENUE, _STRATEGY = "synthetic", "demo"
_TRADED = (("BTC-USD", 0.2), ("ETH-USD", 3.0), ("EUR/USD", 10_000.0), ("SOL-USD", 40.0))
_GENERATORS = (
    ("moving_average_cross", {"fast": 3, "slow": 8}),
    ("z_score_reversion", {"window": 10, "entry": 1.2}),
)
_HEADLINES = (
    "Exchange reports record volume and strong demand",
    "Miners fear losses after a weak quarter",
    "Central bank holds rates",
    "Custodian halts withdrawals amid panic",
)


@contextmanager
def visiting(folder: Path, url: str) -> Iterator[None]:
    """Visits the recorder whose data is in the folder, until the end of the block."""
    key = folder / "key"
    run(
        folder,
        "keys",
        "create",
        "visitor",
        "--scope",
        "read",
        "--scope",
        "ingest",
        "--scope",
        "trade",
        "--output",
        str(key),
    )
    ended = threading.Event()
    text = key.read_text(encoding="ascii").strip()
    thread = threading.Thread(target=_visit, args=(url.rstrip("/"), text, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _visit(url: str, key: str, ended: threading.Event) -> None:
    chance = random.Random(1)  # noqa: S311 - which order comes next is not a secret
    with Client(url, source="visitor", key=key) as client:
        for number in itertools.count():
            if ended.wait(_STEP_SECONDS):
                return
            instrument, most = _TRADED[number % len(_TRADED)]
            _read(f"{url}/api/v1/data/recorder/{instrument}", key)
            generator, parameters = _GENERATORS[number % len(_GENERATORS)]
            place = {"venue": _VENUE, "instrument": instrument}
            _read(
                f"{url}/api/v1/signals/generate",
                key,
                {**place, "generator": generator, "timeframe": "1s", "parameters": parameters},
            )
            if number % 2:
                client.news(news_id=f"headline-{number}", headline=f"{chance.choice(_HEADLINES)} ({number})")
                continue
            with suppress(ReaderError, ProblemError):  # the page shows what was refused
                client.submit_order(
                    venue=_VENUE,
                    instrument=instrument,
                    kind="equity",
                    strategy=_STRATEGY,
                    side=chance.choice(("buy", "sell")),
                    quantity=round(most * chance.uniform(0.1, 1.0), 2),
                    order_type="market",
                )


def _read(url: str, key: str, body: dict[str, object] | None = None) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else msgspec.json.encode(body)
    with suppress(urllib.error.URLError, TimeoutError):  # a dashboard shows that, too
        urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10).close()  # noqa: S310 - the recorder
