"""The embedded PostgreSQL, always a real one: start and stop, access, and refusals."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from storage.postgres.cluster import ClusterPaths
from storage.postgres.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    Installation,
    database_url,
    running_pid,
)
from storage.postgres.settings import server_options
from tests.embedded_server import (
    LIMIT_S,
    as_root,
    connected,
    create_data,
    gone,
    other_process,
    recall,
    remember,
    server_pid,
    user_of,
)

pytestmark = pytest.mark.timeout(60)


# Life


async def test_the_first_start_creates_a_durable_database_on_any_path_and_the_second_keeps_it(
    folder: Path, installation: Installation
) -> None:
    data_dir = folder / ("x" * 200 + ", ünï +%&?=" + os.fsdecode(b"\xff")) / "pg"
    assert running_pid(data_dir) is None
    first = EmbeddedPostgres(data_dir, installation=installation)
    url = await first.start()
    assert database_url(data_dir) == url
    assert running_pid(data_dir) == first.pid
    async with connected(url) as connection:
        expected = {
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
            "max_locks_per_transaction": "256",
        }
        found = {name: await connection.fetchval(f"SHOW {name}") for name in expected}
        assert found == expected
    await remember(url, 42)
    await first.stop()
    assert running_pid(data_dir) is None

    second = EmbeddedPostgres(data_dir, installation=installation)
    assert await second.start() == url
    assert await recall(url) == [42]
    await second.stop()


async def test_settings_of_the_caller_override_the_defaults(filled: Path, installation: Installation) -> None:
    settings = {"work_mem": "5MB", "shared_preload_libraries": "pg_stat_statements"}
    async with (
        EmbeddedPostgres(filled / "pg", installation=installation, settings=settings) as server,
        connected(server.url) as connection,
    ):
        assert await connection.fetchval("SHOW work_mem") == "5MB"
        assert await connection.fetchval("SHOW shared_preload_libraries") == "pg_stat_statements"


def test_the_locks_of_the_server_follow_its_tables(folder: Path) -> None:
    paths = ClusterPaths.of(folder)
    database = paths.cluster / "base" / "5"
    database.mkdir(parents=True)
    for number in range(6_000):
        (database / str(number)).touch()
        (database / f"{number}_fsm").touch()
    options = server_options(paths, Installation(folder, "18.1"), {"max_connections": "20"})
    assert "max_locks_per_transaction=600" in options
    assert "max_locks_per_transaction=70" in server_options(
        paths, Installation(folder, "18.1"), {"max_locks_per_transaction": "70"}
    )


def test_settings_that_keep_it_private_cannot_be_changed(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="listen_addresses"):
        EmbeddedPostgres(folder / "pg", settings={"listen_addresses": "*"})


async def test_it_is_started_only_once_and_stop_is_safe_without_start_and_twice(
    filled: Path, installation: Installation
) -> None:
    server = EmbeddedPostgres(filled / "pg", installation=installation)
    await server.stop()
    await server.start()
    pid = server.pid
    assert pid is not None
    with pytest.raises(EmbeddedPostgresError, match="only once"):
        await server.start()
    async with connected(server.url):
        pass
    await server.stop()
    await server.stop()
    assert server.pid is None
    assert not psutil.pid_exists(pid)


# Who can reach it


async def test_neither_the_network_nor_ctrl_c_in_the_terminal_reaches_it(
    filled: Path, installation: Installation
) -> None:
    async with EmbeddedPostgres(filled / "pg", installation=installation) as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)
        async with connected(server.url) as connection:
            assert await connection.fetchval("SHOW listen_addresses") == ""
            assert await connection.fetchval("SELECT inet_server_addr()") is None
        # The server's own account of where it listens: the socket's folder, then the network address.
        _, _, _, _, socket_folder, address, *_ = (
            (filled / "pg/cluster/postmaster.pid").read_text().splitlines()
        )
        assert (socket_folder, address) == (".", "")


@as_root
async def test_other_processes_of_the_servers_user_are_rejected(installation: Installation) -> None:
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        data_dir = Path(name) / "pg"
        for path in (Path(name), data_dir):  # so that only the access rules keep the user out
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        async with EmbeddedPostgres(data_dir, installation=installation) as server:
            assert server.pid is not None
            user = pwd.getpwnam(user_of(server.pid))
            psql = shutil.which("psql", path=os.pathsep.join((str(installation.prefix / "bin"), os.defpath)))
            assert psql is not None
            attempt = await asyncio.to_thread(
                subprocess.run,
                [psql, server.url, "-c", "SELECT 1"],
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
            assert 'Peer authentication failed for user "decahertz"' in attempt.stderr


@as_root
async def test_as_root_it_runs_as_an_ordinary_user_below_a_private_folder(
    folder: Path, installation: Installation
) -> None:
    (folder / "parent").mkdir(mode=0o700)
    before = [(path.stat().st_uid, path.stat().st_mode) for path in (folder, folder / "parent")]
    async with EmbeddedPostgres(folder / "parent/pg", installation=installation) as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).uids().effective != 0
        await remember(server.url, 1)
    assert [(path.stat().st_uid, path.stat().st_mode) for path in (folder, folder / "parent")] == before


@as_root
async def test_as_root_it_runs_as_the_owner_of_the_data(filled: Path, installation: Installation) -> None:
    subprocess.run(["chown", "-R", "daemon", str(filled / "pg/cluster")], check=True)  # noqa: ASYNC221 - short
    async with EmbeddedPostgres(filled / "pg", installation=installation) as server:
        assert server.pid is not None
        assert user_of(server.pid) == "daemon"


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
async def test_root_of_a_container_has_enough_capabilities(folder: Path, installation: Installation) -> None:
    kept = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap")
    bounded = ("setpriv", "--bounding-set", "-all," + ",".join(f"+{name}" for name in kept))
    async with other_process(folder / "pg", installation, *bounded) as process:
        pid = await server_pid(process)
        assert user_of(pid) != "root"
        process.terminate()
        await gone(pid)


# Refusals


async def test_a_second_server_on_the_same_data_is_refused(filled: Path, installation: Installation) -> None:
    async with EmbeddedPostgres(filled / "pg", installation=installation) as server:
        with pytest.raises(EmbeddedPostgresError, match=f"already in use by process {os.getpid()} "):
            await EmbeddedPostgres(filled / "pg", installation=installation).start()
        async with other_process(filled / "pg", installation) as second:
            _, said = await asyncio.wait_for(second.communicate(), LIMIT_S)
            assert f"already in use by process {os.getpid()} on {socket.gethostname()}" in said.decode()
        async with connected(server.url):
            pass


async def test_data_of_another_major_version_is_refused(filled: Path, installation: Installation) -> None:
    async with EmbeddedPostgres(filled / "pg", installation=installation):
        pass
    version = filled / "pg/cluster/PG_VERSION"
    version.write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match=f"made by PostgreSQL 12.* is {installation.version}"):
        await EmbeddedPostgres(filled / "pg", installation=installation).start()
    assert running_pid(filled / "pg") is None
    version.write_text(f"{installation.major}\n")
    async with EmbeddedPostgres(filled / "pg", installation=installation):
        pass


async def test_a_folder_with_something_else_in_it_is_refused(
    folder: Path, installation: Installation
) -> None:
    (folder / "pg/cluster").mkdir(parents=True)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder / "pg/cluster", nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(EmbeddedPostgresError, match="is not a data directory of PostgreSQL"):
        await EmbeddedPostgres(folder / "pg", installation=installation).start()


async def test_a_failed_start_reports_the_servers_message_in_one_line(
    filled: Path, installation: Installation
) -> None:
    server = EmbeddedPostgres(filled / "pg", installation=installation, settings={"work_mem": "much"})
    with pytest.raises(EmbeddedPostgresError) as caught:
        await server.start()
    assert 'FATAL:  invalid value for parameter "work_mem": "much"' in str(caught.value)
    assert str(filled / "pg/server.log") in str(caught.value)
    assert "\n" not in str(caught.value)


# Paths


@pytest.mark.parametrize("name", ["x" * 200, "comma,comma", "ünïcode +%&?=", os.fsdecode(b"\xff")])
async def test_every_path_works_for_asyncpg_and_psycopg(
    folder: Path, installation: Installation, name: str
) -> None:
    data_dir = create_data(folder / name / "pg", installation)
    async with EmbeddedPostgres(data_dir, installation=installation) as server:
        await remember(server.url, 1)
        async with await psycopg.AsyncConnection.connect(server.url) as connection:
            question = "SELECT value, current_database(), current_user FROM kept"
            row = await (await connection.execute(question)).fetchone()
            assert row == (1, "decahertz", "decahertz")
        assert running_pid(data_dir) == server.pid
