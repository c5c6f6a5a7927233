"""Recorders that share one database: a taken name, fail-over, and a holder that was paused."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collectors.execution.markouts import HORIZONS
from decahertz_client import Client
from storage.write.lease import LEASE_SECONDS
from tests.pipeline.running import (
    START_LIMIT_SECONDS,
    STOP_LIMIT_SECONDS,
    RunningDecahertz,
    await_welcome,
    command,
    environment,
    run,
    running,
    started,
    wait_until,
)

pytestmark = pytest.mark.timeout(180)

RECORDER = "desk-1"


def recorder_env(folder: Path, database_url: str, **more: str) -> dict[str, str]:
    folder.mkdir()
    return environment(
        folder,
        DECAHERTZ_DATABASE_URL=database_url,
        DECAHERTZ_RECORDER=RECORDER,
        DECAHERTZ_FEEDS_ENABLED="synthetic",
        **more,
    )


@contextmanager
def standing_by(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """``decahertz up --standby``, which waits for the name."""
    process = started(command("up", "--standby"), env, log)
    try:
        wait_until("the standby to wait", START_LIMIT_SECONDS, lambda: "lease_awaited" in log.read_text())
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=STOP_LIMIT_SECONDS)


def ask(url: str, question: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return int(row[0])


def newest_age(url: str) -> int:
    return ask(url, "SELECT coalesce(extract(epoch FROM now() - max(time)), 1e6)::int FROM market_samples")


def trade(decahertz: RunningDecahertz) -> dict[str, Any]:
    """Buy at 100 and let the market fall by 60 and recover by half; the figures of all that."""
    about: dict[str, Any] = {"venue": "paper", "instrument": "X"}
    order: dict[str, Any] = {**about, "strategy": "dip", "order_id": "1", "side": "buy", "quantity": 1}
    with Client(decahertz.api, source="bot") as client:
        for number, mid in enumerate((100, 40, 70)):
            client.quote(**about, bid=mid - 1, ask=mid + 1)
            if number == 0:
                client.order(**order, state="submitted")
                client.fill(**order, fill_id="1", price=101)
            assert client.flush(20)
            wait_until("the mark", 10, partial(is_marked, decahertz, mid))
    return current(decahertz)


def is_marked(decahertz: RunningDecahertz, mid: float) -> bool:
    exposure: float | None = current(decahertz)["strategy"]["exposure"]
    return exposure == mid


PASSING = {
    "verdict", "verdict_reason", "quote_rate", "age_seconds", "mark_age_seconds", "silent_seconds",
    "drawdown_seconds", "max_drawdown_seconds", "sampling_latency_seconds", "markouts_skipped",
    *(f"markout_{horizon}_{end}" for horizon in HORIZONS for end in ("bps", "observations")),
}  # fmt: skip
"""Metrics of the bot below that pass with the time. Sampling latency is one of them: if a kill loses the
cycle that sampled the last quote, the first cycle after the restart samples it."""


def current(decahertz: RunningDecahertz) -> dict[str, Any]:
    """Newest values of what the bot trades, by collector, without those that pass with the time."""
    items = decahertz.get("/api/v1/metrics/current?collector=strategy,execution,market")["items"]
    found = {
        item["collector"]: {name: value for name, value in item["values"].items() if name not in PASSING}
        for item in items
        if "dip" in item["key"].values() or "paper" in item["key"].values()
    }
    return {"strategy": {"exposure": None}, **found}


def test_a_taken_name_is_refused_in_one_line_and_its_killed_holder_starts_again_as_it_was(
    database_url: str, tmp_path: Path
) -> None:
    env = recorder_env(tmp_path / "one", database_url)
    with running(env=env, log=tmp_path / "log") as first:
        refused = run("up", env=recorder_env(tmp_path / "two", database_url))
        assert refused.returncode == 2
        holder = rf"on host \S+ \(process {first.process.pid}\)"
        assert re.fullmatch(
            rf"decahertz: recorder 'desk-1' is already running {holder};"
            r" choose another name with --recorder, or stop it\n",
            refused.stderr.splitlines(keepends=True)[-1],
        )
        assert "Traceback" not in refused.stderr
        component = {one["name"]: one["health"] for one in first.get("/api/v1/health")["components"]}
        assert component["recorder"] == "ok"
        figures = trade(first)
        first.process.kill()
        first.process.communicate()
    strategy, execution = figures["strategy"], figures["execution"]
    assert (strategy["max_drawdown"], strategy["drawdown"], strategy["equity"]) == (61, 31, None)
    assert (execution["slippage_arrival_bps"], figures["market"]["quotes"]) == (pytest.approx(100), 3)
    with running(env=env, log=tmp_path / "log") as again:
        wait_until("the figures", 10, lambda: current(again) == figures)
    assert "lease_awaited" not in (tmp_path / "log").read_text()


def test_a_standby_takes_over_from_a_killed_recorder_within_the_lease(
    database_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "standby.log"
    with (
        running(env=recorder_env(tmp_path / "one", database_url), log=tmp_path / "log") as first,
        standing_by(recorder_env(tmp_path / "two", database_url), log) as standby,
    ):
        first.process.kill()
        first.process.communicate()
        killed = time.monotonic()
        wait_until("the take-over", LEASE_SECONDS + 5, lambda: "lease_taken_over" in log.read_text())
        assert time.monotonic() - killed < LEASE_SECONDS + 3
        await_welcome(standby, log)
        wait_until("new samples", 30, lambda: newest_age(database_url) < 2)


def test_a_paused_recorder_cannot_write_after_a_take_over(database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "standby.log"
    with (
        running(env=recorder_env(tmp_path / "one", database_url), log=tmp_path / "log") as first,
        standing_by(recorder_env(tmp_path / "two", database_url), log) as standby,
    ):
        first.process.send_signal(signal.SIGSTOP)
        try:
            wait_until("the take-over", LEASE_SECONDS + 10, lambda: "lease_taken_over" in log.read_text())
            await_welcome(standby, log)
        finally:
            first.process.send_signal(signal.SIGCONT)
        output, _ = first.process.communicate(timeout=STOP_LIMIT_SECONDS)
        assert first.process.returncode == 2, output
        assert "another process has taken over recorder" in (tmp_path / "log").read_text()
        wait_until("new samples", 30, lambda: newest_age(database_url) < 2)
        twice = ask(
            database_url,
            "SELECT count(*) FROM (SELECT FROM market_samples GROUP BY time, recorder, venue, instrument"
            " HAVING count(*) > 1) AS twice",
        )
        assert twice == 0
