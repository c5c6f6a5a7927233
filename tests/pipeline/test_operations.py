"""Backup, restore and status of the embedded database, by the command."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from decahertz.clock import to_datetime
from storage.postgres.embedded import EmbeddedPostgres
from tests.embedded_server import connected
from tests.pipeline.running import Forked, RunningDecahertz, environment, run, running, wait_until

pytestmark = pytest.mark.timeout(150)
SECOND_NS = 10**9
# Tables whose rows change, or go when they are no longer needed.
_CHANGING = frozenset(
    {
        *("orders", "instruments", "open_round_trips", "emitters", "emitter_drops", "stored_batches"),
        *("recorders", "tier_state", "tier_generations"),
    }
)
_LATER_FILLED = {"trades": "(to_jsonb(t) - '{mae,mfe,mids,excursion_reason,excursion_due_ns}'::text[])::text"}
"""Rows without the columns that a worker fills in some seconds later."""
_TABLES = """
SELECT c.relname AS name, array_agg(a.attname::text) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
GROUP BY c.relname ORDER BY c.relname
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A data folder of the demo, stopped, a backup from while it ran, and when that was begun (ns)."""
    folder = tmp_path_factory.mktemp("recorded")
    env, file = environment(folder), folder / "running.backup"
    with running("--demo", env=env, log=folder / "log") as decahertz:
        wait_until("a trade", 60, lambda: bool(decahertz.get("/api/v1/trades?limit=1")["items"]))
        first_ns = time.time_ns()
        wait_until("some rows after it", 60, lambda: time.time_ns() > first_ns + 3 * SECOND_NS)
        begun_ns = time.time_ns()
        made = run("backup", str(file), env=env)
        assert made.returncode == 0, made.stderr
        assert decahertz.process.poll() is None
        decahertz.stop()
    return folder, file, begun_ns


@asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the database of a data folder on which nothing runs."""
    async with (
        EmbeddedPostgres(data_dir / "postgres") as server,
        connected(server.url) as connection,
    ):
        yield connection


async def rows(
    connection: asyncpg.Connection[asyncpg.Record], *, before_ns: int | None = None
) -> dict[str, Counter[str]]:
    """Every row of every table as text; with ``before_ns`` only what has a time, and before it."""
    found = {}
    for table in await connection.fetch(_TABLES):
        name, columns, where, values = table["name"], table["columns"], "", []
        if before_ns is not None:
            column = "received_ns" if "received_ns" in columns else "time"
            if column not in columns or name in _CHANGING:
                continue
            where = f" WHERE {column} < $1"
            values = [before_ns if column == "received_ns" else to_datetime(before_ns)]
        row = _LATER_FILLED.get(name, "t::text")
        records = await connection.fetch(f"SELECT {row} AS row FROM {name} AS t{where}", *values)  # noqa: S608 - names out of the catalogue
        found[name] = Counter(record["row"] for record in records)
    return found


async def add_precious(data_dir: Path) -> None:
    """Stores something that no command may destroy unasked."""
    async with opened(data_dir) as connection:
        await connection.execute("CREATE TABLE precious AS SELECT 7 AS value")


async def all_rows(data_dir: Path, *, before_ns: int | None = None) -> dict[str, Counter[str]]:
    async with opened(data_dir) as connection:
        return await rows(connection, before_ns=before_ns)


def without_roll_up(found: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Rows as they were stored; the roll-up changes the tables of the tiers until the hour has ended."""
    parts = ("_rolled", "_dirty", "_1s_packed")
    return {name: rows for name, rows in found.items() if not any(part in name for part in parts)}


async def test_a_backup_made_under_load_holds_every_row_of_before_it(
    recorded: tuple[Path, Path, int], env: dict[str, str], data_dir: Path
) -> None:
    original, file, begun_ns = recorded
    restored = run("restore", str(file), env=env)
    assert restored.returncode == 0, restored.stderr
    settled_ns = begun_ns - 2 * SECOND_NS  # what is older was stored when the backup began
    there = without_roll_up(await all_rows(original, before_ns=settled_ns))
    assert {name for name, found in there.items() if found} >= {
        "market_samples_recent",
        "quotes_recent",
        "fills",
    }
    assert without_roll_up(await all_rows(data_dir, before_ns=settled_ns)) == there


async def test_a_restored_database_equals_the_original_and_is_recorded_into_further(
    recorded: tuple[Path, Path, int], env: dict[str, str], data_dir: Path
) -> None:
    original, _, _ = recorded
    file = data_dir / "stopped.backup"
    made = run("backup", str(file), env=environment(original))
    assert made.returncode == 0, made.stderr
    assert run("restore", str(file), env=env).returncode == 0
    before = await all_rows(original)
    assert await all_rows(data_dir) == before
    with running("--feeds-enabled", "", env=env, log=data_dir / "log") as decahertz:
        trades = decahertz.get("/api/v1/trades?limit=500")["items"]
    assert len(trades) == min(500, before["trades"].total())


async def test_a_backup_of_another_programs_database_is_refused(env: dict[str, str], data_dir: Path) -> None:
    await add_precious(data_dir)
    file = data_dir / "foreign"
    assert run("backup", str(file), env=env).returncode == 2
    assert not file.exists()


def test_a_backup_is_for_its_owner_only_and_does_not_replace_a_file_unasked(
    recorded: tuple[Path, Path, int], data_dir: Path
) -> None:
    env, file = environment(recorded[0]), data_dir / "a.backup"
    assert run("backup", str(file), env=env).returncode == 0
    assert file.stat().st_mode & 0o077 == 0
    first = file.read_bytes()
    again = run("backup", str(file), env=env)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert file.read_bytes() == first
    assert run("backup", str(file), "--force", env=env).returncode == 0
    assert [path.name for path in data_dir.iterdir()] == ["a.backup"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backup", "/nowhere/at/all"], "/nowhere/at/all"),
        (["backup", "file", "--database-url", "postgresql://me@127.0.0.1:1/mine"], "pg_dump"),
        (["restore", "missing.backup"], "missing.backup"),
        (["restore", "missing.backup", "--database-url", "postgresql://me@127.0.0.1:1/mine"], "pg_restore"),
    ],
)
def test_an_impossible_command_is_refused_in_one_line(
    recorded: tuple[Path, Path, int], arguments: list[str], words: str
) -> None:
    refused = run(*arguments, env=environment(recorded[0]))
    assert refused.returncode == 2
    lines = [line for line in refused.stderr.splitlines() if line.startswith("decahertz: ")]
    assert len(lines) == 1, refused.stderr
    assert words in lines[0]


@pytest.mark.parametrize(
    "command",
    ["backup file", "db status", "export x.csv ticks", "dead-letters list", "dead-letters replay"],
)
def test_where_no_database_is_none_is_made(env: dict[str, str], data_dir: Path, command: str) -> None:
    refused = run(*command.split(), "--data-dir", str(data_dir / "typo"), env=env)
    assert (refused.returncode, "no database" in refused.stderr) == (2, True)
    assert list(data_dir.iterdir()) == []


async def test_existing_data_stays_without_force(
    recorded: tuple[Path, Path, int], env: dict[str, str], data_dir: Path
) -> None:
    await add_precious(data_dir)
    refused = run("restore", str(recorded[1]), env=env)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    async with opened(data_dir) as connection:
        assert await connection.fetchval("SELECT value FROM precious") == 7
    forced = run("restore", str(recorded[1]), "--force", env=env)
    assert forced.returncode == 0, forced.stderr
    async with opened(data_dir) as connection:
        assert await connection.fetchval("SELECT to_regclass('precious')") is None
        assert await connection.fetchval("SELECT count(*) FROM quotes")
        names = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'decahertz%'")
        assert [row["datname"] for row in names] == ["decahertz"]


async def test_a_damaged_backup_is_refused_before_anything_is_touched(
    recorded: tuple[Path, Path, int], env: dict[str, str], data_dir: Path
) -> None:
    good = recorded[1].read_bytes()
    damaged = {"cut": good[:-1000], "text": b"buy low", "empty": b""}
    damaged |= {"last byte cut": good[:-1], "one byte more": good + b"\0", "half its digest": good[:-40]}
    for position in (len(good) // 50, len(good) // 10, len(good) // 2, len(good) * 9 // 10):
        flipped = bytearray(good)
        flipped[position] ^= 0x10
        damaged[f"flipped at {position}"] = bytes(flipped)
    await add_precious(data_dir)
    for name, data in damaged.items():
        file = data_dir / "damaged"
        file.write_bytes(data)
        refused = run("restore", str(file), "--force", env=env)
        assert refused.returncode == 2, name
        assert refused.stderr.count("\ndecahertz: ") + refused.stderr.startswith("decahertz: ") == 1
        async with opened(data_dir) as connection:
            assert await connection.fetchval("SELECT value FROM precious") == 7, name


async def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one(
    recorded: tuple[Path, Path, int], env: dict[str, str], data_dir: Path
) -> None:
    expected = (await all_rows(recorded[0]))["schema_migrations"]
    await add_precious(data_dir)
    for _ in range(4):
        process = Forked(["restore", str(recorded[1]), "--force"], env, data_dir / "restore.log")
        await asyncio.sleep(random.uniform(0.1, 0.9))  # the fault: at any moment
        process.kill()
        process.communicate()
        async with opened(data_dir) as connection:
            is_old = await connection.fetchval("SELECT to_regclass('precious')") is not None
            if not is_old:
                assert (await rows(connection))["schema_migrations"] == expected
    whole = run("restore", str(recorded[1]), "--force", env=env)
    assert whole.returncode == 0, whole.stderr


def test_a_restore_into_a_database_in_use_names_the_process(
    idle: tuple[RunningDecahertz, dict[str, str]], tmp_path: Path
) -> None:
    decahertz, env = idle
    file = tmp_path / "file"
    assert run("backup", str(file), env=env).returncode == 0
    refused = run("restore", str(file), "--force", env=env)
    assert refused.returncode == 2
    assert str(decahertz.process.pid) in refused.stderr
    assert decahertz.problems() == []


def test_unknown_dead_letters_are_reported(recorded: tuple[Path, Path, int]) -> None:
    env = environment(recorded[0])
    assert run("dead-letters", env=env).stdout == "0 dead letters\n"
    ended = run("dead-letters", "replay", "7", env=env)
    assert (ended.returncode, "not found" in ended.stdout) == (1, True), ended.stdout
    for arguments in (("list", "--limit", "-1"), ("replay", "0"), ("replay", str(2**63))):
        ended = run("dead-letters", *arguments, env=env)
        assert ended.returncode == 2, ended.stderr
        assert "Traceback" not in ended.stderr


async def test_the_status_agrees_with_the_database(recorded: tuple[Path, Path, int]) -> None:
    env = environment(recorded[0])
    answered = run("db", "status", "--json", env=env)
    assert answered.returncode == 0, answered.stderr
    status = msgspec.json.decode(answered.stdout)
    database = status["database"]
    async with opened(recorded[0]) as connection:
        assert database["bytes"] == pytest.approx(
            await connection.fetchval("SELECT pg_database_size(current_database())"), rel=0.1
        )
        assert database["version"] == await connection.fetchval("SHOW server_version")
        newest = await connection.fetchval("SELECT max(time) FROM market_samples")
        emitters = await connection.fetch("SELECT source, epoch FROM emitters")
    spool = status["spool"]
    assert (spool["problem"], spool["rows"], spool["oldest_age_seconds"]) == ("", 0, None)
    assert spool["bytes"] > 0
    times = {samples["table"]: samples for samples in database["samples"]}
    assert to_datetime(times["market_samples"]["newest_ns"]) == newest
    assert {(e["source"], e["epoch"]) for e in database["emitters"]} == {tuple(row) for row in emitters}
    assert all(e["gaps"] == 0 and e["stored"] == e["highest_sequence"] for e in database["emitters"])
    assert {table["name"] for table in database["tables"]} >= {
        "quotes_recent",
        "fills",
        "market_samples_recent",
        "trades",
    }

    text = run("db", "status", env=env).stdout
    for word in ("PostgreSQL", "market_samples", "market_samples_1h", "demo-trader", "newest sample"):
        assert word in text


def test_the_status_works_while_everything_runs(idle: tuple[RunningDecahertz, dict[str, str]]) -> None:
    decahertz, env = idle
    told = run("db", "status", env=env)
    assert told.returncode == 0, told.stderr
    assert decahertz.problems() == []
    elsewhere = run("db", "status", "--database-url", decahertz.database, "--json", env=env)
    assert msgspec.json.decode(elsewhere.stdout)["database"]["name"] == decahertz.database
