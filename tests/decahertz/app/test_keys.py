"""``decahertz keys`` against a real database: what it prints, stores, refuses and leaves in the audit log."""

from __future__ import annotations

import asyncio
import re
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.security.keys import matches, parse_key
from decahertz.app.cli import main
from storage.database import Database
from storage.query.audit import AuditFilter, newest_entries
from storage.settings import StorageSettings
from storage.write.api_keys import ApiKeyStore


async def run(url: str, folder: Path, *tokens: str) -> int:
    """Runs the command as a user does; its exit status."""

    def command() -> int:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *tokens, "--database-url", url, "--data-dir", str(folder)])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return await asyncio.to_thread(command)


async def test_a_key_is_created_listed_and_revoked_and_each_change_is_audited(
    migrated_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(migrated_url, tmp_path, "create", "trading process", "--scope", "ingest,read") == 0
    made = capsys.readouterr()
    key = parse_key(made.out.strip())
    assert key is not None
    assert key.secret not in made.err
    assert f"Key {key.id} (trading process): read, ingest; never expires." in made.err
    file = tmp_path / "viewer.key"
    options = ("--scope", "read", "--expires", "90d", "--output", str(file))
    assert await run(migrated_url, tmp_path, "create", "viewer", *options) == 0
    assert capsys.readouterr().out == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = parse_key(file.read_text("utf-8").strip())
    assert other is not None

    assert await run(migrated_url, tmp_path, "revoke", key.id) == 0
    assert "is revoked" in capsys.readouterr().out
    assert await run(migrated_url, tmp_path, "revoke", key.id) == 0
    assert "was revoked before" in capsys.readouterr().out
    assert await run(migrated_url, tmp_path, "revoke", "unknown") == 1
    assert "no key 'unknown'" in capsys.readouterr().err

    assert await run(migrated_url, tmp_path, "list", "--json") == 0
    listed: list[dict[str, Any]] = msgspec.json.decode(capsys.readouterr().out)
    assert [(each["name"], each["state"], each["scopes"]) for each in listed] == [
        ("trading process", "revoked", ["read", "ingest"]),
        ("viewer", "valid", ["read"]),
    ]
    assert await run(migrated_url, tmp_path, "list") == 0
    assert re.search(rf"{other.id}  valid +read .*viewer  \(never used\)", capsys.readouterr().out)

    database = Database(migrated_url, StorageSettings())
    await database.open()
    try:
        stored = await ApiKeyStore(database).all()
        entries, _ = await newest_entries(database, AuditFilter(), 100, None)
        async with database.query() as connection:
            rows = [str(dict(row)) for row in await connection.fetch("SELECT * FROM audit")]
            rows += [str(dict(row)) for row in await connection.fetch("SELECT * FROM api_keys")]
    finally:
        await database.close()
    assert matches(key.secret, stored[0].hash)
    assert not any(secret in row for row in rows for secret in (key.secret, other.secret))
    assert [(entry.action, entry.target) for entry in reversed(entries)] == [
        ("key.create", key.id),
        ("key.create", other.id),
        ("key.revoke", key.id),  # once: the second one changed nothing
    ]
    assert all(re.fullmatch(r"command line \(.+\)", entry.actor) for entry in entries)
    assert entries[-1].after == {"name": "trading process", "scopes": ["read", "ingest"], "expires_ns": None}
    assert entries[0].before == {"revoked_ns": None}
    assert entries[0].after == {"revoked_ns": stored[0].revoked_ns}


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (("create", "x"), "at least one scope"),
        (("create", "x", "--scope", "write"), "'write' is not a scope"),
        (("create", "x", "--scope", "public"), "'public' is not a scope"),
        (("create", " x", "--scope", "read"), "name of a key"),
        (("create", "x", "--scope", "read", "--expires", "soon"), "neither like 90d"),
        (("create", "x", "--scope", "read", "--expires", "2020-01-01T00:00:00Z"), "not in the future"),
        (("revoke",), "Name the keys to revoke"),
    ],
)
async def test_a_wrong_command_says_what_is_wrong_and_stores_nothing(
    migrated_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tokens: tuple[str, ...],
    reason: str,
) -> None:
    assert await run(migrated_url, tmp_path, *tokens) == 2
    shown = capsys.readouterr()
    assert reason in shown.err
    assert shown.out == ""
    database = Database(migrated_url, StorageSettings())
    await database.open()
    try:
        assert await ApiKeyStore(database).all() == []
    finally:
        await database.close()


async def test_a_key_is_not_written_over_a_file(
    migrated_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "taken"
    file.write_text("mine", "utf-8")
    options = ("create", "x", "--scope", "read", "--output", str(file))
    assert await run(migrated_url, tmp_path, *options) == 2
    assert "exists already" in capsys.readouterr().err
    assert file.read_text("utf-8") == "mine"
