"""`decahertz check` finds what `decahertz up` will meet, and knows the recorder that runs already."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from decahertz.app import cli
from decahertz.app.cli import main
from storage.database import Database
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.pipeline.running import RunningDecahertz, run
from tests.postgres_server import PostgresServer
from tests.small_disk import small_disk

pytestmark = pytest.mark.timeout(90)
FREE = ("--api-port", "0", "--exporter-port", "0")


@pytest.fixture
def check(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process; exit code and output."""
    monkeypatch.setattr(cli, "configure_logs", lambda _: None)  # that of the process stays as it is

    def checked(*options: str, data_dir: Path = tmp_path / "data") -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["check", *FREE, "--data-dir", str(data_dir), *options])
        written = capfd.readouterr()
        assert "Traceback" not in written.err
        return int(ended.value.code or 0), written.out

    return checked


def test_a_data_folder_that_cannot_be_written_to_is_named(
    check: Callable[..., tuple[int, str]], tmp_path: Path, folder: Path
) -> None:
    assert check()[0] == 0
    assert not (tmp_path / "data").exists()
    file = tmp_path / "file"
    file.write_text("mine")
    for data_dir in (file, file / "below"):
        code, output = check(data_dir=data_dir)
        assert code == 2
        assert f"wrong  data_dir: {file} cannot be written to: Not a directory" in output
    with small_disk(folder / "disk"):
        subprocess.run(["mount", "-o", "remount,ro", str(folder / "disk")], check=True)
        code, output = check(data_dir=folder / "disk" / "data")
    assert code == 2
    assert f"wrong  data_dir: {folder}/disk cannot be written to: Read-only file system" in output


@pytest.mark.parametrize("table", ["orders", "market_samples"])
async def test_a_table_of_somebody_else_is_found_and_left_alone(
    table: str, check: Callable[..., tuple[int, str]], database_url: str
) -> None:
    server = PostgresServer(database_url)
    await server.execute(f"CREATE TABLE {table} (id integer NOT NULL, paid boolean)")
    code, output = await asyncio.to_thread(check, "--database-url", database_url)
    assert code == 2
    assert "wrong  database: " in output
    assert table in output.partition("wrong  database: ")[2].splitlines()[0]
    await server.execute(f"ALTER TABLE {table} RENAME TO theirs")
    code, output = await asyncio.to_thread(check, "--database-url", database_url)
    assert code == 0, output
    await server.execute("CREATE TABLE schema_migrations (mine text)")  # nothing of ours was left there


async def test_a_role_without_rights_is_told_what_it_lacks(
    check: Callable[..., tuple[int, str]], postgres_server: PostgresServer, tables_url: str, database_url: str
) -> None:
    role = f"role_{uuid.uuid4().hex}"
    await postgres_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")

    def with_role(url: str) -> str:
        return url.replace(url.partition("://")[2].partition("@")[0], f"{role}:hunter2", 1)

    async def found(url: str) -> str:
        code, output = await asyncio.to_thread(check, "--database-url", with_role(url))
        assert "hunter2" not in output
        problem = output.partition("wrong  database: ")[2].partition("\n")[0]
        assert (code == 2) is bool(problem), output
        return problem

    try:
        assert "permission denied for schema public" in await found(database_url)
        server = PostgresServer(tables_url)
        await server.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        assert "must be owner" in await found(tables_url)
        server = PostgresServer(database_url)
        await server.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        database = Database(with_role(database_url), StorageSettings())
        await migrate(database)
        assert await found(database_url) == ""
        await server.execute(f"REVOKE INSERT ON fills FROM {role}")
        assert await found(database_url) == "this role lacks the right to INSERT on the table fills"
    finally:
        await PostgresServer(tables_url).execute(f"DROP OWNED BY {role} CASCADE")
        await PostgresServer(database_url).execute(f"DROP OWNED BY {role} CASCADE")
        await postgres_server.execute(f"DROP ROLE {role}")


def test_ports_that_the_running_recorder_has_are_no_problem(
    idle: tuple[RunningDecahertz, dict[str, str]], tmp_path: Path
) -> None:
    decahertz, env = idle
    env = {
        **env,
        "DECAHERTZ_API_PORT": decahertz.api.rpartition(":")[2],
        "DECAHERTZ_EXPORTER_PORT": decahertz.metrics.rpartition(":")[2].partition("/")[0],
    }
    well = run("check", env=env)
    assert well.returncode == 0, well.stdout
    assert well.stdout.count("is in use by this recorder, which is running") == 2
    name = decahertz.get("/api/v1/health")["recorder"]
    other = run("check", "--data-dir", str(tmp_path), env=env)
    assert other.returncode == 2
    assert other.stdout.count(f"is in use by the recorder {name}") == 2
    # The name is taken as well, for a process on another data folder.
    elsewhere = ("check", "--data-dir", str(tmp_path), "--database-url", decahertz.database, *FREE)
    other = run(*elsewhere, env=env)
    assert other.returncode == 2
    assert f"recorder {name!r} is already running on host" in other.stdout
    other = run(*elsewhere, "--recorder", "b", env=env)
    assert other.returncode == 0, other.stdout
