"""The programs of docs/archive.md read the same day from the same archive."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.docs.commands import ROOT, blocks
from tests.pipeline.running import environment, run


async def test_pandas_polars_and_duckdb_read_the_same_day_in_three_lines_each(
    migrated_url: str, tmp_path: Path
) -> None:
    env = environment(tmp_path, DECAHERTZ_DATABASE_URL=migrated_url)
    for arguments in (
        ("import", str(ROOT / "examples" / "coinbase.ws")),
        ("archive", "archive", "--table", "ticks"),
    ):
        done = run(*arguments, env=env)
        assert done.returncode == 0, done.stderr
    connection = await asyncpg.connect(migrated_url)
    expected = await connection.fetch(
        "SELECT instrument, count(*), max(price) FROM ticks WHERE time::date = '2026-03-02' GROUP BY 1"
    )
    await connection.close()
    assert len(expected) > 1
    programs = [block.text for block in blocks("python") if block.page == "docs/archive.md"]
    assert [program.split()[1] for program in programs] == ["pandas", "polars", "duckdb"]
    assert all(len(list(filter(None, program.splitlines()))) == 3 for program in programs)
    for output in await asyncio.gather(*(shown(program, tmp_path) for program in programs)):
        for instrument, rows, price in expected:
            (line,) = [line for line in output.splitlines() if instrument in line]
            numbers = [float(text) for text in re.findall(r"[\d.]+", line.replace(instrument, ""))]
            assert numbers == [rows, pytest.approx(price)], output


async def shown(program: str, folder: Path) -> str:
    """The output of a program that is run in a folder."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=folder, stdout=pipe, stderr=pipe
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()
