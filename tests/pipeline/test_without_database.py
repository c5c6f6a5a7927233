"""A start without the database: what is recorded waits in the spool, and collectors catch up later."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.pipeline.running import ANSWER_LIMIT_SECONDS, RunningDecahertz, environment, running, wait_until
from tests.proxy import PostgresProxy

pytestmark = [pytest.mark.timeout(300)]
LIMIT_SECONDS = 60.0


@asynccontextmanager
async def started(env: dict[str, str], log: Path) -> AsyncIterator[RunningDecahertz]:
    """``decahertz up``; the event loop runs on meanwhile, as the proxy needs it."""
    manager = running(env=env, log=log)
    decahertz = await asyncio.to_thread(manager.__enter__)
    try:
        yield decahertz
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


def send(decahertz: RunningDecahertz, number: int, side: str, price: float, quantity: float = 1.0) -> None:
    fill = {
        "type": "fill",
        "time_ns": time.time_ns(),
        "strategy": "trend",
        "venue": "sim",
        "instrument": "BTC-USD",
        "order_id": f"o{number}",
        "fill_id": f"f{number}",
        "side": side,
        "price": price,
        "quantity": quantity,
    }
    batch = {"source": "desk", "epoch": 1, "first_sequence": number, "events": [fill]}
    request = urllib.request.Request(  # noqa: S310 - of this machine
        f"{decahertz.api}/api/v1/events", json.dumps(batch).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS) as answer:  # noqa: S310 - the same
        assert json.load(answer)["accepted"] == 1


def report(decahertz: RunningDecahertz, quantity: float) -> None:
    """Reports the position of the strategy."""
    position = {"type": "position", "time_ns": time.time_ns(), "strategy": "trend", "venue": "sim"}
    position |= {"instrument": "BTC-USD", "quantity": quantity}
    batch = {"source": "book", "epoch": 1, "first_sequence": 1, "events": [position]}
    request = urllib.request.Request(  # noqa: S310 - of this machine
        f"{decahertz.api}/api/v1/events", json.dumps(batch).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
        assert json.load(answer)["accepted"] == 1


async def report_a_position_that_differs_from_the_known_fills(decahertz: RunningDecahertz) -> None:
    """Reports a position of two, and waits until the watchdog has seen for two seconds that it differs."""
    await asyncio.to_thread(report, decahertz, 2.0)
    await until("the reported position to differ from the fills", lambda: breaks(decahertz) == 1)
    details = await asyncio.to_thread(health, decahertz)
    assert "catching up: strategy, " in details["sampler"]
    before = await asyncio.to_thread(sampled, decahertz)
    await until("more samples", lambda: sampled(decahertz) >= before + 20)


def sampled(decahertz: RunningDecahertz) -> int:
    """Samples that the strategy collector has returned."""
    collectors = decahertz.get("/api/v1/collectors")["collectors"]
    return int(next(c["samples"] for c in collectors if c["name"] == "strategy"))


def breaks(decahertz: RunningDecahertz) -> int:
    found = strategy(decahertz)
    return 0 if found is None else found["position_breaks"]


def refused(decahertz: RunningDecahertz, path: str) -> dict[str, Any]:
    """The decoded answer of a request that has to be answered with 503."""
    with pytest.raises(urllib.error.HTTPError) as failed:
        decahertz.get(path)
    assert failed.value.code == 503
    answer: dict[str, Any] = json.load(failed.value)
    return answer


def health(decahertz: RunningDecahertz) -> dict[str, str]:
    return {c["name"]: c["detail"] for c in decahertz.get("/api/v1/health")["components"] if c["detail"]}


def strategy(decahertz: RunningDecahertz) -> dict[str, Any] | None:
    """The newest sample of the strategy."""
    items = decahertz.get("/api/v1/metrics/current?collector=strategy")["items"]
    return items[0]["values"] if items else None


def is_ready(decahertz: RunningDecahertz) -> bool:
    try:
        return bool(decahertz.get("/api/v1/health/ready")["ready"])
    except urllib.error.HTTPError:
        return False


async def until(what: str, condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, what, LIMIT_SECONDS, condition)


async def test_a_recorder_starts_and_stops_without_its_database_and_loses_nothing(
    env: dict[str, str], data_dir: Path, migrated_url: str, tmp_path: Path
) -> None:
    log = data_dir / "log"
    async with PostgresProxy(migrated_url, tmp_path).running() as proxy:
        here = env | {"DECAHERTZ_DATABASE_URL": proxy.url}
        proxy.is_cut = True
        async with started(here, log) as decahertz:
            details = await asyncio.to_thread(health, decahertz)
            assert details["database"].startswith(
                "not open yet, the spool keeps what is recorded: connecting: cannot use"
            )
            assert "catching up: strategy, " in details["sampler"]
            assert not await asyncio.to_thread(is_ready, decahertz)
            problem = await asyncio.to_thread(refused, decahertz, "/api/v1/fills")
            assert problem["detail"].startswith("the database is not open yet (cannot use ")
            await asyncio.to_thread(send, decahertz, 1, "buy", 100.0)
            await until("the position", lambda: bool(strategy(decahertz)))

        async with started(here, log) as decahertz:
            await until("the position", lambda: (strategy(decahertz) or {}).get("open_positions") == 1)
            await asyncio.to_thread(send, decahertz, 2, "sell", 130.0)
            await until("the round trip", lambda: (strategy(decahertz) or {}).get("trades") == 1)
            proxy.is_cut = False
            await until("the database", lambda: is_ready(decahertz))
            await until("the backlog to be stored", lambda: spooled(decahertz) < 100)
            await until("samples", lambda: stored(decahertz, "samples:strategy") > 20)
            await until("health", lambda: not decahertz.problems())
            found = await asyncio.to_thread(strategy, decahertz)
            assert found is not None
            assert (found["trades"], found["realised_pnl"], found["open_positions"]) == (1, 30.0, 0)
            await until("the fills", lambda: len(decahertz.get_all("fills")) == 2)
    await check_samples(migrated_url)


async def test_collectors_get_the_stored_past_when_the_database_is_back(
    env: dict[str, str], data_dir: Path, migrated_url: str, tmp_path: Path
) -> None:
    log = data_dir / "log"
    async with PostgresProxy(migrated_url, tmp_path).running() as proxy:
        here = env | {"DECAHERTZ_DATABASE_URL": proxy.url}
        async with started(here, log) as decahertz:
            await asyncio.to_thread(send, decahertz, 1, "buy", 100.0, 3.0)
            await until("the fill", lambda: len(decahertz.get_all("fills")) == 1)

        proxy.is_cut = True
        other = tmp_path / "other"
        other.mkdir()
        there = environment(other, DECAHERTZ_DATABASE_URL=proxy.url, DECAHERTZ_API_PROCESSES="1")
        async with started(there, log) as decahertz:
            problem = await asyncio.to_thread(refused, decahertz, "/api/v1/fills")
            assert problem["detail"].startswith("the database is not open yet (cannot use ")
            await asyncio.to_thread(send, decahertz, 2, "sell", 110.0)
            await until("a short position", lambda: bool(strategy(decahertz)))
            found = await asyncio.to_thread(strategy, decahertz)
            assert found is not None
            assert (found["fills"], found["realised_pnl"]) == (1, 0.0)
            await report_a_position_that_differs_from_the_known_fills(decahertz)
            proxy.is_cut = False
            await until("the past", lambda: (strategy(decahertz) or {}).get("fills") == 2)
            assert breaks(decahertz) == 0
            await asyncio.to_thread(send, decahertz, 3, "sell", 120.0, 2.0)
            await until("the round trip", lambda: (strategy(decahertz) or {}).get("trades") == 1)
            found = await asyncio.to_thread(strategy, decahertz)
            assert found is not None
            assert (found["fills"], found["realised_pnl"], found["open_positions"]) == (3, 50.0, 0)
            await until("the database", lambda: is_ready(decahertz))
            await until("health", lambda: not decahertz.problems())
            assert "PositionBreak" not in log.read_text()

            proxy.is_cut = True
            second = tmp_path / "second"
            second.mkdir()
            async with PostgresProxy(migrated_url, second).running() as road:
                road.is_cut = True
                elsewhere = environment(second, DECAHERTZ_DATABASE_URL=road.url)
                proxy.is_cut = False
                async with started(elsewhere, second / "log") as late:
                    road.is_cut = False
                    await asyncio.to_thread(late.process.communicate, timeout=LIMIT_SECONDS)
                    assert late.process.returncode == 2
            last = (second / "log").read_text().splitlines()[-1]
            assert last.startswith("decahertz: recorder '")
            assert "is already running on host" in last


def spooled(decahertz: RunningDecahertz) -> int:
    streams = decahertz.get("/api/v1/ledger")["streams"]
    assert all(s["emitted"] == s["stored"] + s["spooled"] + sum(s["dropped"].values()) for s in streams)
    return sum(s["spooled"] for s in streams)


def stored(decahertz: RunningDecahertz, stream: str) -> int:
    streams = decahertz.get("/api/v1/ledger")["streams"]
    return sum(s["stored"] for s in streams if s["stream"] == stream)


async def check_samples(url: str) -> None:
    """Each cycle of both lives is stored once."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchrow(
            "SELECT count(*) AS samples, count(DISTINCT (time, strategy)) AS cycles FROM strategy_samples"
        )
    finally:
        await connection.close()
    assert found is not None
    assert found["samples"] == found["cycles"] > 20
