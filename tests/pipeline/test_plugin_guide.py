"""docs/plugins.md, followed to the letter: the plugin it makes is installed as a distribution and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import pytest
import websockets

from collectors.host.plugins import load_generators, load_scorer
from control.signals.service import Evaluation, Generators, InvalidEvaluationError
from decahertz.bar import Bar
from decahertz.clock import Clock
from decahertz.collector import BaseCollector, NoOptions
from decahertz.event import Direction
from decahertz.signal_generator import Decision
from decahertz.testing import check_collector
from decahertz.trading_days import TradingDays
from tests.embedded_server import connected
from tests.pipeline.running import ROOT, RunningDecahertz, command, read, running

pytestmark = pytest.mark.timeout(120)


def code_of(name: str, language: str) -> str:
    """The file of this name, as the guide shows it."""
    guide = (ROOT / "docs" / "plugins.md").read_text()
    block = re.search(rf"^`{re.escape(name)}`:\n\n```{language}\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert block, name
    return block[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the guide's example is installed from its wheel."""
    source, target = tmp_path_factory.mktemp("imbalance"), tmp_path_factory.mktemp("installed")
    for name, language in (("imbalance.py", "python"), ("pyproject.toml", "toml")):
        (source / name).write_text(code_of(name, language))
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, *install, str(target), str(source)], check=True, timeout=60)
    return target


def test_the_guides_collector_has_at_most_forty_lines() -> None:
    assert sum(1 for line in code_of("imbalance.py", "python").splitlines() if line.strip()) <= 40


async def test_the_guides_collector_with_a_histogram_passes_the_conformance_suite() -> None:
    guide = (ROOT / "docs" / "plugins.md").read_text()
    block = re.search(r"^```python\n(from decahertz.histogram.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert block
    scope: dict[str, Any] = {}
    code = compile(code_of("imbalance.py", "python") + block[1], "guide", "exec", dont_inherit=True)
    exec(code, scope)  # noqa: S102 - code of our own
    made: list[Any] = []

    def make(clock: Clock) -> BaseCollector[Any]:
        made.append(scope["TimedCollector"](clock, NoOptions()))
        return made[-1]  # type: ignore[no-any-return] # executed above

    await check_collector(make)
    (histogram,) = made[0].histograms
    assert histogram.bounds == (0.001, 0.01, 0.1, 1.0)
    assert any(sum(observations.counts) for one in made for observations in one.histograms[0].series.values())


async def test_its_table_its_gauge_and_its_topic_appear(
    env: dict[str, str],
    data_dir: Path,
    installed: Path,
) -> None:
    env = {
        **env,
        "PYTHONPATH": os.pathsep.join([str(installed), env.get("PYTHONPATH", "")]),
        "DECAHERTZ_COLLECTORS_ENABLED": "market,strategy,portfolio,execution,risk,system,imbalance",
    }
    checked = check(env)
    assert "ok     collector imbalance: 2 metrics, from decahertz-imbalance" in checked, checked
    log = data_dir / "log"
    with running("--feeds-enabled", "synthetic", env=env, log=log, is_forked=False) as decahertz:
        topic = await first_topic(decahertz)
        assert topic.startswith("metrics:imbalance:")
        venue, instrument = topic.split(":")[2:]
        recorder = decahertz.get("/api/v1/health")["recorder"]
        labels = f'{{recorder="{recorder}",venue="{venue}",instrument="{instrument}"}}'
        exposition = read(decahertz.metrics).decode()
        assert f"decahertz_imbalance_imbalance_ratio{labels} " in exposition
        assert f"decahertz_imbalance_quotes_total{labels} " in exposition
        assert await stored_rows(decahertz, venue, instrument)
        names = {c["collector"] for c in decahertz.get("/api/v1/metrics/catalogue")["items"]}
        assert "imbalance" in names


def test_the_guides_generator_is_loaded_and_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "momentum.py").write_text(code_of("momentum.py", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    guide = (ROOT / "docs" / "plugins.md").read_text()
    declared = re.search(r'^momentum = "(.*)"$', guide, re.MULTILINE)
    assert declared
    point = EntryPoint("momentum", declared[1], "decahertz.signals")
    (loaded,) = load_generators(["momentum"], [point]).plugins
    generators = Generators([loaded], TradingDays())
    prices = (100.0, 101.0, 102.0)
    bars = [
        Bar(time_ns=n, open=v, high=v, low=v, close=v, volume=1.0, trades=1, vwap=v)
        for n, v in enumerate(prices)
    ]

    def decide(parameters: dict[str, object]) -> Decision:
        evaluation = Evaluation(
            generator="momentum",
            venue="v",
            instrument="i",
            timeframe="1m",
            strategy="s",
            parameters=parameters,
        )
        return generators.make(evaluation).decide(bars)

    assert decide({"bars": 2}).direction is Direction.BUY
    assert decide({"bars": "2", "percent": "2.5"}).direction is None
    assert decide({}).reason == "there are too few bars"
    with pytest.raises(InvalidEvaluationError, match="percent"):
        decide({"percent": -1})


def test_the_guides_scorer_is_loaded_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keywords.py").write_text(code_of("keywords.py", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    (loaded,) = load_scorer("own", [EntryPoint("own", "keywords:Keywords", "decahertz.scorers")]).plugins
    assert loaded.scorer.score("Bitcoin surges") == 0.6
    assert loaded.scorer.score("Nothing happens") is None


def check(env: dict[str, str]) -> str:
    """The output of ``decahertz check``, in a new interpreter: it reads PYTHONPATH when it starts."""
    return subprocess.run(command("check"), env=env, stdout=subprocess.PIPE, text=True, check=False).stdout


async def first_topic(decahertz: RunningDecahertz) -> str:
    async with websockets.connect(decahertz.websocket, max_size=None) as socket:
        await socket.send('{"type": "subscribe", "topics": ["metrics:imbalance:**"]}')
        while True:
            message = msgspec.json.decode(await socket.recv())
            if message["type"] == "update":
                return str(message["topic"])


async def stored_rows(decahertz: RunningDecahertz, venue: str, instrument: str) -> int:
    query = "SELECT count(*) FROM imbalance_samples WHERE venue = $1 AND instrument = $2"
    deadline = time.monotonic() + 10
    async with connected(decahertz.database) as connection:
        while not (count := int(await connection.fetchval(query, venue, instrument))):
            assert time.monotonic() < deadline
    return count
