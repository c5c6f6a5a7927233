"""Faults of the disk that the spool is on."""

from __future__ import annotations

import random
import sqlite3
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from decahertz.clock import to_datetime
from storage.postgres.embedded import Installation
from tests.chaos.world import LIMIT_SECONDS, SOURCE, World, live_through, now_ns, world
from tests.pipeline.running import IS_LONG, wait_until
from tests.small_disk import fill_up, small_disk

pytestmark = pytest.mark.timeout(3000 if IS_LONG else 120)
_FULL_SECONDS = 60.0 if IS_LONG else 3.0
_PAGE_BYTES = 4096


def answer_to_an_event(url: str) -> tuple[int, str | None]:
    """The status of ``POST /api/v1/events``, and its ``Retry-After``."""
    event = {"type": "log", "time_ns": now_ns(), "component": "probe", "level": "info", "message": "hello"}
    batch = {"source": "probe", "epoch": 1, "first_sequence": 1, "events": [event]}
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{url}/api/v1/events",
        data=msgspec.json.encode(batch),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - this machine
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Retry-After")


def test_the_disk_full(installation: Installation, folder: Path) -> None:
    with small_disk(folder / "data" / "spool"), world(folder, installation) as chaos:
        chaos.start_client()
        chaos.wait_acknowledged()
        filler = chaos.spool / "filler"
        fill_up(filler)
        # What is stored meanwhile makes room: after a refusal the next event may be accepted.
        answers: list[tuple[int, str | None]] = []

        def is_refused() -> bool:
            answers.append(answer_to_an_event(chaos.pipeline.url))
            return answers[-1][0] != 200

        wait_until("a refusal", LIMIT_SECONDS, is_refused)
        status, again = answers[-1]
        assert status == 503
        assert again is not None
        assert int(again) >= 1
        full_since = to_datetime(now_ns())
        live_through(_FULL_SECONDS)
        new = "SELECT 1 FROM system_samples WHERE time > $1 LIMIT 1"
        wait_until(
            "a sample that was taken meanwhile", LIMIT_SECONDS, lambda: bool(chaos.ask(new, full_since))
        )
        filler.unlink()
        chaos.wait_acknowledged()
        assert answer_to_an_event(chaos.pipeline.url)[0] == 200
        chaos.check()


def damage(file: Path, pages: int) -> None:
    """Overwrite some pages. Not the first, without which SQLite sees no database, and not the ledger's one.

    A ledger that is damaged itself cannot say what was lost.
    """
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or SQLite has some of them elsewhere as well
        (ledger,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ledger'").fetchone()
    others = [page for page in range(2, file.stat().st_size // _PAGE_BYTES + 1) if page != ledger]
    assert len(others) > 2 * pages
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    damaged = chance.sample(others, pages)
    sys.stdout.write(f"seed {seed}: pages {damaged} of {len(others)}\n")
    with file.open("r+b") as stream:
        for page in damaged:
            stream.seek((page - 1) * _PAGE_BYTES)
            stream.write(chance.randbytes(_PAGE_BYTES))


def crash_with_backlog(chaos: World) -> None:
    """Kills client and pipeline after 5,000 events that the database does not have."""
    chaos.start_client(rate=2000)
    chaos.wait_acknowledged()
    chaos.postgres.stop()
    chaos.wait_acknowledged(5000)
    chaos.emitter.kill()
    chaos.pipeline.kill()


def test_the_spool_damaged_while_a_backlog_waits(installation: Installation, folder: Path) -> None:
    with world(folder, installation) as chaos:
        crash_with_backlog(chaos)
        damage(chaos.spool / "spool.sqlite", 5)
        chaos.postgres.start()
        chaos.start_pipeline()
        chaos.start_client()
        chaos.wait_acknowledged()
        chaos.settle()
        lost = sum(chaos.ledger().streams[f"events:{SOURCE}"]["dropped"].values())
        sys.stdout.write(f"{lost} events lost with the pages they were on\n")
        chaos.check_events(lost)
        chaos.check_ledger()


def test_the_spool_damaged_when_nothing_waits(installation: Installation, folder: Path) -> None:
    with world(folder, installation) as chaos:
        chaos.start_client(rate=1000)
        chaos.wait_acknowledged(2000)
        chaos.settle()
        chaos.pipeline.kill()
        damage(chaos.spool / "spool.sqlite", 1)
        chaos.start_pipeline()
        chaos.start_client()
        chaos.wait_acknowledged()
        chaos.settle()
        chaos.check_events()


def test_the_log_of_the_spool_damaged_while_a_backlog_waits(installation: Installation, folder: Path) -> None:
    """SQLite ignores the log behind the damage: those transactions are lost and reported, and no others."""
    with world(folder, installation) as chaos:
        crash_with_backlog(chaos)
        log = chaos.spool / "spool.sqlite-wal"
        with log.open("r+b") as stream:
            stream.seek(_PAGE_BYTES)  # in the first page of the log
            (byte,) = stream.read(1)
            stream.seek(_PAGE_BYTES)
            stream.write(bytes([byte ^ 1]))
        chaos.postgres.start()
        at_risk = chaos.acknowledged() - chaos.stored_events()
        assert at_risk > 0
        chaos.start_pipeline()
        assert [file for file in chaos.spool.glob("*.damaged-*-wal") if file.stat().st_size]
        (spool,) = (c for c in chaos.pipeline.get("/api/v1/health")["components"] if c["name"] == "spool")
        assert spool["health"] == "degraded"
        assert "transactions lost" in spool["detail"]
        chaos.start_client()
        chaos.wait_acknowledged()
        chaos.settle()
        chaos.check_events(at_risk)
        assert chaos.watch.wrong == []
        assert chaos.ledger().wrong() == []
