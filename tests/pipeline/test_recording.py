"""The Coinbase recording, replayed at its own pace through the whole product."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from decahertz.clock import CYCLE_NS
from tests.embedded_server import connected
from tests.pipeline.running import IS_LONG, RunningDecahertz, run, running, wait_until

pytestmark = [pytest.mark.recordings, pytest.mark.timeout(150)]
_SECONDS = 31.0 if IS_LONG else 10.0
"""How much of the recording is replayed; it has 30.8 s."""


def messages(recording: Path) -> list[tuple[float, dict[str, str]]]:
    """The messages of a capture with their times, read without any code of the product."""
    found = []
    for line in recording.read_text().splitlines():
        stamp, colon, text = line.partition(": ")
        if colon and stamp.replace(".", "").isdigit():
            found.append((float(stamp), json.loads(text)))
    return found


def beginning(recording: Path, end: float, target: Path) -> Path:
    """A copy without the messages from ``end`` on."""
    lines = recording.read_text().splitlines(keepends=True)
    stamps = [line.partition(": ")[0] for line in lines]
    target.write_text(
        "".join(
            line
            for line, stamp in zip(lines, stamps, strict=True)
            if not stamp.replace(".", "").isdigit() or float(stamp) < end
        )
    )
    return target


async def rows(url: str, query: str) -> list[asyncpg.Record]:
    """Asks the database directly."""
    async with connected(url) as connection:
        return await connection.fetch(query)


def replay_finished(decahertz: RunningDecahertz) -> bool:
    feeds = decahertz.get("/api/v1/collectors")["feeds"]
    return {feed["name"]: feed["state"] for feed in feeds} == {"replay": "finished"}


async def test_a_recording_replayed_at_its_pace_is_stored_exactly_once_and_sampled_on_every_tenth(
    env: dict[str, str],
    data_dir: Path,
    recordings: Path,
) -> None:
    whole = messages(recordings / "coinbase.ws")
    types = Counter(message["type"] for _, message in whole)
    assert (types["match"], types["ticker"]) == (97, 107)
    end = whole[0][0] + _SECONDS
    recording = beginning(recordings / "coinbase.ws", end, data_dir / "coinbase.ws")
    seen = [message for stamp, message in whole if stamp < end]
    matches = [m for m in seen if m["type"] == "match"]
    tickers = [m for m in seen if m["type"] == "ticker"]
    assert matches
    assert tickers
    arguments = ("--feeds-enabled", "replay", "--feeds-replay-file", str(recording))

    with running(*arguments, env=env, log=data_dir / "log") as decahertz:
        wait_until("the end of the replay", 60, lambda: replay_finished(decahertz))
        current = decahertz.get("/api/v1/metrics/current?collector=market")["items"]
        (missed,) = (
            one["skipped"]
            for one in decahertz.get("/api/v1/collectors")["collectors"]
            if one["name"] == "market"
        )
        decahertz.stop()

        again = running("--feeds-enabled", "", env=env, log=data_dir / "log")
        with again as second:
            ticks = await rows(second.database, "SELECT instrument, trade_id, price, size FROM ticks")
            sequences = await rows(
                second.database,
                "SELECT instrument, venue_sequence AS n FROM quotes WHERE venue_sequence IS NOT NULL",
            )
            samples = await rows(
                second.database,
                "SELECT instrument, time FROM market_samples ORDER BY instrument, time",
            )

    stored = Counter((row["instrument"], row["trade_id"]) for row in ticks)
    wanted = Counter((m["product_id"], str(m["trade_id"])) for m in matches)
    assert {key: stored[key] for key in wanted} == wanted
    assert Counter((r["instrument"], r["n"]) for r in sequences) == Counter(
        (m["product_id"], m["sequence"]) for m in tickers
    )

    last = {m["product_id"]: float(m["price"]) for m in seen if m["type"] in ("match", "last_match")}
    assert {item["key"]["instrument"]: item["values"]["last"] for item in current} == last

    by_instrument: dict[str, list[int]] = {}
    for row in samples:
        moment = row["time"]
        time_ns = int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
        by_instrument.setdefault(row["instrument"], []).append(time_ns)
    assert len(by_instrument) == 10
    for times in by_instrument.values():
        assert all(t % CYCLE_NS == 0 for t in times)
        run_times = [t for t in times if t <= times[0] + round((_SECONDS - 2) * 10**9)]
        grid = range(times[0], run_times[-1] + CYCLE_NS, CYCLE_NS)
        assert len(set(run_times)) == len(run_times)
        assert len(grid) - len(run_times) <= missed  # on a busy machine; tests/pipeline/test_soak.py has none


async def test_an_import_keeps_the_recorded_times_and_stores_the_same_file_once(
    env: dict[str, str],
    data_dir: Path,
    recordings: Path,
) -> None:
    recording = recordings / "btcusdt-trades-20210108.csv"
    first = run("import", str(recording), env=env)
    second = run("import", str(recording), env=env)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "2,002 lines: 2,001 stored, 0 already there, 0 refused" in first.stdout
    assert "2,002 lines: 0 stored, 2,001 already there, 0 refused" in second.stdout
    with running("--feeds-enabled", "", env=env, log=data_dir / "log") as decahertz:
        found = await rows(
            decahertz.database,
            "SELECT count(*) AS n, min(time_ns) AS first, max(price) AS high FROM ticks",
        )
    assert found[0]["n"] == 2001
    assert found[0]["first"] == 1_610_064_000_278_000_000  # 2021-01-08T00:00:00.278Z
    prices = [float(line.split(",")[2]) for line in recording.read_text().splitlines()[1:]]
    assert found[0]["high"] == max(prices)
