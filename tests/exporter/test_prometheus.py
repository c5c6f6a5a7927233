"""The exposition in front of Prometheus itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import ClientError, ClientSession
from prometheus_client import Counter, Histogram

from collectors.host.plugins import builtin_classes
from decahertz.sample import schema_of
from decahertz.testing import ManualClock
from exporter.exposition import Exposition, Source
from exporter.negotiation import Format
from exporter.settings import ExporterSettings
from tests.exporter.conftest import Rig
from tests.exporter.samples import LIMITS, BookSample, Verdict, batch_of, book
from tests.servers import require

COLLECTORS = builtin_classes("collectors")
LIMIT_SECONDS = 40
ROOT = Path(__file__).parents[2]
ODD = 'say "hi"\\now\n{é😀}\x00\r'


async def checked(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_promtool_finds_nothing_to_say_about_a_scrape(rig: Rig, session: ClientSession) -> None:
    promtool = require("promtool")
    Counter("decahertz_part_things", "Things.", registry=rig.registry)
    Histogram("decahertz_part_wait_seconds", "Waits.", registry=rig.registry)
    rig.publish(book(ODD, mid=1e22, spread_bps=-0.5, depth=2**63, gaps=1, crossed=True, verdict=Verdict.LIVE))
    async with session.get(f"{rig.url}/metrics") as response:
        body = await response.read()

    assert await checked(promtool, "check", "metrics", stdin=body) == (0, "")


@pytest.mark.parametrize("name", COLLECTORS)
async def test_promtool_finds_nothing_to_say_about_a_built_in_collector(name: str) -> None:
    promtool = require("promtool")
    collector = COLLECTORS[name](ManualClock(), COLLECTORS[name].options_type())
    schema = schema_of(collector.sample_type)
    key = dict.fromkeys(schema.key, "a")
    values = {field.name: field.states[0] if field.states else 1 for field in schema.metrics}
    sample = msgspec.convert({**key, **values}, collector.sample_type, strict=False)
    for histogram in collector.histograms:
        histogram.of(*histogram.key).observe(0.5)
    exposition = Exposition([Source(schema, collector.histograms)], ODD, LIMITS)
    exposition.take(batch_of(sample), 0)
    frame = exposition.freeze(0)[schema.collector]
    body = b"".join(exposition.render(schema.collector, frame, Format.TEXT))

    assert body.count(b" histogram\n") == len(collector.histograms)
    assert await checked(promtool, "check", "metrics", stdin=body) == (0, "")


async def test_the_scrape_configuration_that_is_shipped_is_valid() -> None:
    promtool = require("promtool")

    code, output = await checked(promtool, "check", "config", str(ROOT / "prometheus.yml"))

    assert code == 0, output


def test_the_window_of_extremes_covers_two_of_the_scrapes_that_are_shipped() -> None:
    shipped = yaml.safe_load((ROOT / "prometheus.yml").read_text(encoding="utf-8"))
    interval = float(shipped["global"]["scrape_interval"].removesuffix("s"))
    assert ExporterSettings().window_seconds >= 2 * interval


@pytest.fixture
async def prometheus(rig: Rig, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a Prometheus that scrapes the rig every second and drops what the shipped one drops."""
    program = require("prometheus")
    shipped = yaml.safe_load((ROOT / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"][0]
    job = {
        "job_name": "decahertz",
        "static_configs": [{"targets": [rig.url.removeprefix("http://")]}],
        "metric_relabel_configs": shipped["metric_relabel_configs"],
    }
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
    file = tmp_path / "prometheus.yml"
    file.write_bytes(msgspec.json.encode(config))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        await process.wait()


async def query(session: ClientSession, prometheus: str, expression: str) -> list[Any]:
    """The result of an instant query, as soon as there is one."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                async with session.get(
                    f"{prometheus}/api/v1/query", params={"query": expression}
                ) as response:
                    answer = msgspec.json.decode(await response.read())
                if answer["status"] == "success" and answer["data"]["result"]:
                    return list(answer["data"]["result"])
            except (ClientError, msgspec.DecodeError):
                pass  # it is starting, or not ready: it says so in plain text
            await asyncio.sleep(0.1)


async def publish_each_cycle(rig: Rig, sample: BookSample) -> None:
    while True:
        rig.publish(sample)
        await asyncio.sleep(0.1)


async def test_prometheus_scrapes_samples_and_answers_queries_about_them(
    rig: Rig, session: ClientSession, prometheus: str
) -> None:
    sample: BookSample = book(ODD, mid=1.25, gaps=2**53 + 2, crossed=False, verdict=Verdict.STALE)
    publishing = asyncio.create_task(publish_each_cycle(rig, sample))
    [mid] = await query(session, prometheus, "decahertz_book_mid_price")
    [gaps] = await query(session, prometheus, "decahertz_book_gaps_total")
    [verdict] = await query(session, prometheus, 'decahertz_book_verdict{decahertz_book_verdict="stale"}')
    [up] = await query(session, prometheus, "up")

    publishing.cancel()
    async with session.get(f"{prometheus}/api/v1/label/__name__/values") as response:
        names = msgspec.json.decode(await response.read())["data"]
    assert not [name for name in names if name.endswith("_created")]
    assert mid["metric"]["instrument"] == ODD
    assert float(mid["value"][1]) == 1.25
    assert float(gaps["value"][1]) == 2**53 + 2
    assert verdict["value"][1] == "1"
    assert up["value"][1] == "1"
