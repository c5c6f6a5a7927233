"""The demo market and the demo trading process: API, metrics, WebSocket and database agree."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import websockets
from prometheus_client.parser import text_string_to_metric_families

from collectors.host.plugins import builtin_classes
from decahertz.clock import CYCLE_NS, to_datetime
from decahertz.event import Fill
from decahertz.round_trip import OpenRoundTrip, RoundTrip
from exporter.negotiation import Format
from tests.chaos.processes import missed_cycles
from tests.docs.commands import Curl
from tests.embedded_server import connected
from tests.exporter.parsing import families_in
from tests.pipeline.running import ROOT, RunningDecahertz, read, running, wait_until
from tests.servers import require

pytestmark = pytest.mark.timeout(150)


def folded(fills: list[dict[str, Any]]) -> list[RoundTrip]:
    """Round trips computed from a ``fills`` answer alone."""
    books: dict[tuple[str, str, str], OpenRoundTrip] = defaultdict(OpenRoundTrip)
    trades = []
    for item in sorted(fills, key=lambda f: (f["time_ns"], f["source"], f["epoch"], f["sequence"])):
        known = {k: v for k, v in item.items() if k in Fill.__struct_fields__}
        fill = msgspec.convert({"type": "fill", **known}, Fill)
        trade = books[fill.strategy, fill.venue, fill.instrument].add(fill)
        if trade is not None:
            trades.append(trade)
    return trades


def check_trades(decahertz: RunningDecahertz) -> int:
    """The ``trades`` answer equals the round trips of the ``fills`` answer; how many there are."""
    trades = decahertz.get_all("trades")
    newest = max(trade["closed_ns"] for trade in trades)
    fills = [f for f in decahertz.get_all("fills") if f["time_ns"] <= newest]
    computed = {t.trade_id: msgspec.to_builtins(t) for t in folded(fills) if t.closed_ns <= newest}
    answered = {t["trade_id"]: t for t in trades}
    assert answered.keys() == computed.keys()
    assert len({trade.pop("recorder") for trade in trades}) == 1
    for trade_id, trade in answered.items():
        assert trade["held_seconds"] == pytest.approx((trade["closed_ns"] - trade["opened_ns"]) / 1e9)
        whole = {name: trade[name] for name in computed[trade_id]}
        assert whole == pytest.approx(computed[trade_id]), trade_id
    return len(trades)


def exposed(decahertz: RunningDecahertz) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The series of ``/metrics``."""
    text = read(decahertz.metrics).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check_gauges(decahertz: RunningDecahertz) -> set[str]:
    """Gauges are the values that ``metrics/current`` shows before and after the scrape, or one in between."""
    catalogue = decahertz.get("/api/v1/metrics/catalogue")["items"]
    current = decahertz.get("/api/v1/metrics/current")
    recorder, before = ("recorder", current["recorder"]), current["items"]
    series = exposed(decahertz)
    after = {
        (i["collector"], *i["key"].values()): i for i in decahertz.get("/api/v1/metrics/current")["items"]
    }
    families = {
        (c["collector"], m["name"]): m["prometheus"] + ("_total" if m["kind"] == "counter" else "")
        for c in catalogue
        for m in c["metrics"]
        if m["prometheus"] is not None
    }
    agreed = set()
    for item in before:
        later = after.get((item["collector"], *item["key"].values()))
        for name, value in item["values"].items():
            if later is None or later["values"][name] != value or not isinstance(value, float):
                continue  # it moved while we looked: nothing to compare
            shown = series[families[item["collector"], name], frozenset([recorder, *item["key"].items()])]
            if shown != pytest.approx(value):  # it moved, and moved back
                check_sampled_between(decahertz, item, later["time_ns"], name, shown)
            agreed.add(item["collector"])
    return agreed


def check_sampled_between(
    decahertz: RunningDecahertz, item: dict[str, Any], end_ns: int, name: str, shown: float
) -> None:
    """A value was sampled between the item's time and ``end_ns``."""
    query = {"collector": item["collector"], "fields": name, "tier": "raw", **item["key"]}
    path = f"/api/v1/metrics/history?{urlencode(query)}&start={item['time_ns']}&end={end_ns + 1}"

    def is_complete() -> bool:
        (series,) = decahertz.get(path)["series"] or [{"time_ns": []}]
        return end_ns in series["time_ns"]

    wait_until("the samples of both answers in the database", 10, is_complete)
    (series,) = decahertz.get(path)["series"]
    assert pytest.approx(shown) in series["fields"][name], (item["key"], name)


def check_health(decahertz: RunningDecahertz) -> None:
    """``/metrics`` and ``/health`` show the same parts and feeds."""
    health = decahertz.get("/api/v1/health")
    series = exposed(decahertz)

    def labelled(family: str, label: str) -> dict[str, float]:
        return {dict(labels)[label]: v for (name, labels), v in series.items() if name == family}

    parts = [part["name"] for part in health["components"]]
    assert list(labelled("decahertz_component_health", "component")) == parts
    assert labelled("decahertz_feed_up", "feed") == {"synthetic": 1}
    assert labelled("decahertz_build_info", "version") == {health["version"]: 1}


def check_openmetrics(decahertz: RunningDecahertz) -> None:
    """Every unit of the product is one that OpenMetrics shows, and counters say since when they count."""
    _, body = Curl(decahertz.metrics, headers={"Accept": Format.OPENMETRICS.value}).send()
    families = families_in(body, Format.OPENMETRICS)
    units = {family.name: family.unit for family in families}
    assert units["decahertz_market_mid_price"] == "price"
    assert (
        units["decahertz_execution_submit_to_ack_seconds"]
        == units["decahertz_spool_age_seconds"]
        == "seconds"
    )
    now, dated = time.time(), set()
    for family in families:
        for sample in family.samples:
            if sample.name.endswith("_created"):
                assert now - 300 < sample.value <= now, sample
                dated.add(family.name)
    counting = {f.name for f in families if f.samples and f.type in ("counter", "histogram")}
    older = {f"decahertz_ledger_{count}" for count in ("emitted", "stored", "dropped", "expired")}
    assert counting - dated <= {*older, "process_cpu_seconds"}


def check_names(exposition: bytes) -> None:
    """docs/metrics.md has all metrics, and ``promtool check metrics`` prints nothing about them."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    documented = {name.strip("`") for cell in documented for name in cell.split(", ")}
    shown = set(re.findall(r"^# TYPE (\S+)", exposition.decode(), re.MULTILINE))
    samples = tuple(f"decahertz_{name}_" for name in builtin_classes("collectors"))
    assert shown - documented == set()
    missing = {name for name in documented - shown if not name.startswith(samples)}
    assert missing == {
        "decahertz_api_shared_cache_up",  # with api.redis_url
        "decahertz_api_certificate_expiry_timestamp_seconds",  # with api.tls_certificate
        "decahertz_read_replica_lag_seconds",  # with storage.read_url
    }
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"],
        input=exposition,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (checked.returncode, checked.stdout.decode()) == (0, "")


async def check_newest_rows(decahertz: RunningDecahertz) -> set[str]:
    """The values of ``metrics/current`` are in the database, under the same time."""
    items = decahertz.get("/api/v1/metrics/current")["items"]
    agreed = set()
    async with connected(decahertz.database) as connection:
        for item in items:
            keys = " AND ".join(f'"{name}" = ${n}' for n, name in enumerate(item["key"], 2))
            table = f"{item['collector']}_samples"
            query = f"SELECT * FROM {table} WHERE time = $1 AND {keys}"  # noqa: S608 - names of our own
            arguments = [to_datetime(item["time_ns"]), *item["key"].values()]
            async with asyncio.timeout(20):
                while not (found := await connection.fetch(query, *arguments)):  # noqa: ASYNC110 - from afar
                    await asyncio.sleep(0.05)
            assert len(found) == 1
            for name, value in item["values"].items():
                assert found[0][name] == value, (item["key"], name)
            agreed.add(item["collector"])
    return agreed


async def check_websocket(decahertz: RunningDecahertz, seconds: float) -> None:
    """``metrics:market:**`` brings every instrument in every cycle that the recorder did not miss."""
    times: dict[str, list[int]] = defaultdict(list)
    missed = -missed_cycles(decahertz.metrics).get("market", 0)
    async with websockets.connect(
        decahertz.websocket,
        subprotocols=[websockets.Subprotocol("decahertz.v1.json")],
        max_size=None,
    ) as socket:
        await socket.send('{"type": "subscribe", "topics": ["metrics:market:**"]}')
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = msgspec.json.decode(await socket.recv())
            if message["type"] == "update":
                assert message["conflated"] == 0
                times[message["topic"]].append(message["time_ns"])
    missed += missed_cycles(decahertz.metrics).get("market", 0)
    assert len(times) == 20
    for stamps in times.values():
        cycles = range(stamps[0], stamps[-1] + CYCLE_NS, CYCLE_NS)
        assert stamps == sorted(set(stamps))
        assert set(stamps) <= set(cycles)
        assert len(cycles) - len(stamps) <= missed
        assert len(stamps) + missed >= 10 * (seconds - 1)


async def test_the_demo_agrees_with_itself_everywhere_and_goes_on_after_ctrl_c(
    env: dict[str, str],
    data_dir: Path,
) -> None:
    with running("--demo", env=env, log=data_dir / "log") as decahertz:

        def strategies_trade() -> bool:
            trades = decahertz.get("/api/v1/trades?limit=500")["items"]
            return len({trade["strategy"] for trade in trades}) == 3

        wait_until("a trade of each strategy", 60, strategies_trade)
        everything = {"market", "strategy", "portfolio", "execution", "risk", "system"}
        assert check_gauges(decahertz) == everything
        assert await check_newest_rows(decahertz) == everything
        await check_websocket(decahertz, 3)
        trades_before = check_trades(decahertz)
        exposition = read(decahertz.metrics)
        check_openmetrics(decahertz)
        check_health(decahertz)
        took, output = decahertz.stop()
        assert decahertz.process.returncode == 0
        assert "stopped" in output
        assert took < 5

    with running("--demo", env=env, log=data_dir / "log") as decahertz:
        wait_until(
            "more trades than before",
            60,
            lambda: len(decahertz.get_all("trades")) > trades_before,
        )
        check_trades(decahertz)

    check_names(exposition)  # last: without promtool the test ends here
