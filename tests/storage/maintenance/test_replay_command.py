"""``decahertz dead-letters replay`` leaves an entry in the audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from decahertz.app.dead_letters import run_list, run_replay
from decahertz.app.settings import load
from decahertz.event import Side
from storage.database import Database
from storage.entry import entry_of
from storage.settings import StorageSettings
from storage.write.dead_letters import dead_letters_of, save_dead_letters
from tests.storage_examples import RECORDER, arrival, fill


async def test_a_replay_is_audited(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(environ={}, arguments={"database_url": database_url, "data_dir": tmp_path})
    assert await run_list(settings, stream="", limit=10, as_json=False) == 0  # makes the tables
    database = Database(database_url, StorageSettings())
    await database.open()
    try:
        entry = entry_of(arrival(1, [fill(1, Side.BUY, 2, 100), fill(2, Side.SELL, 2, 110)]))
        async with database.query() as connection:
            await save_dead_letters(connection, RECORDER, dead_letters_of(entry, [1], "forbidden"))
            await connection.execute("ALTER TABLE fills ADD CONSTRAINT forbidden CHECK (price <> 110)")
            assert await run_replay(settings, [], stream="events:other") == 0
            assert await run_replay(settings, [], stream="") == 1
            await connection.execute("ALTER TABLE fills DROP CONSTRAINT forbidden")
            assert await run_replay(settings, [], stream="events:loop") == 0
            rows = await connection.fetch("SELECT * FROM audit ORDER BY time_ns")
    finally:
        await database.close()
    assert "1 stored, 0 refused again" in capsys.readouterr().out
    assert [(row["action"], row["target"], row["before"], row["after"]) for row in rows] == [
        ("dead_letters.replay", "all", '{"rows": 1}', '{"stored": 0, "refused": 1}'),
        ("dead_letters.replay", "events:loop", '{"rows": 1}', '{"stored": 1, "refused": 0}'),
    ]
    assert all(row["actor"].startswith("command line (") for row in rows)
