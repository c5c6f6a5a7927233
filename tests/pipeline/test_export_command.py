"""``decahertz export`` writes an imported recording unchanged, and replaces only regular files."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.pipeline.running import environment, run

pytestmark = [pytest.mark.recordings, pytest.mark.timeout(150)]
RECORDING = "btcusdt-trades-20210108.csv"


@pytest.fixture(scope="module")
def imported(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command on a data folder with the recording in it."""
    env = environment(tmp_path_factory.mktemp("imported"))
    assert run("import", str(recordings / RECORDING), env=env).returncode == 0
    return env


def export(env: dict[str, str], file: Path, what: str, *options: str) -> tuple[int, str]:
    """Runs the command; returns its exit code, and the error or the output."""
    ended = run("export", str(file), what, *options, env=env)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()[-1] if ended.returncode else ended.stdout


def test_an_imported_recording_is_exported_as_it_was(
    imported: dict[str, str], recordings: Path, tmp_path: Path
) -> None:
    env = imported
    with (recordings / RECORDING).open() as stream:
        expected = [(float(r["price"]), float(r["quantity"]), r["trade_id"]) for r in csv.DictReader(stream)]

    code, said = export(env, tmp_path / "all.csv", "ticks", "--where", "instrument=BTCUSDT")
    assert (code, "all.csv" in said) == (0, True)
    with (tmp_path / "all.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(float(row["price"]), float(row["size"]), row["trade_id"]) for row in rows] == expected

    span = ("--start", rows[10]["time_ns"], "--end", rows[-1]["time_ns"])
    code, _ = export(env, tmp_path / "part.parquet", "ticks", "--fields", "price,size", *span)
    assert code == 0
    table = pyarrow.parquet.read_table(tmp_path / "part.parquet")
    assert table.column_names == ["time_ns", "recorder", "price", "size"]
    first, last = int(rows[10]["time_ns"]), int(rows[-1]["time_ns"])
    wanted = [row for row in rows if first <= int(row["time_ns"]) < last]
    assert table.column("price").to_pylist() == [float(row["price"]) for row in wanted]

    (tmp_path / "kept.csv").write_text("mine")
    refusals = {
        ("kept.csv", "ticks"): "--force",
        ("x.csv", "weather"): "neither a collector",
        ("x.csv", "ticks", "--fields", "prise"): "prise",
        ("x.csv", "ticks", "--where", "venue"): "column=value",
        ("x.csv", "ticks", "--start", "soon"): "--start",
        ("x.csv", "ticks", "--start", "2", "--end", "1"): "later",
        ("x.xlsx", "ticks"): "--format",
        ("missing/x.csv", "ticks"): "missing",
        ("x.csv", "market"): "no samples of market",
        ("x.csv", "ticks", "--start", "-5"): "--start: -5 is before 1970",
        ("x.csv", "ticks", "--end=-5"): "--end: -5 is before 1970",
    }
    for (name, what, *options), word in refusals.items():
        code, said = export(env, tmp_path / name, what, *options)
        assert (code, word in said) == (2, True), said
    assert (tmp_path / "kept.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.glob("*")) == ["all.csv", "kept.csv", "part.parquet"]
    assert export(env, tmp_path / "kept.csv", "ticks", "--force", "--format", "csv")[0] == 0
    assert (tmp_path / "kept.csv").read_bytes() == (tmp_path / "all.csv").read_bytes()


def test_only_a_regular_file_is_ever_replaced(imported: dict[str, str], tmp_path: Path) -> None:
    env = imported
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, word in {"pipe": "not a regular file", "folder": "a folder", "circle": "cannot write"}.items():
        for command in (
            ("export", str(tmp_path / name), "ticks", "--format", "csv"),
            ("backup", str(tmp_path / name)),
        ):
            refused = run(*command, "--force", env=env)
            assert refused.returncode == 2
            assert word in refused.stderr.splitlines()[-1]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    (tmp_path / "elsewhere").mkdir()
    kept = tmp_path / "elsewhere" / "kept.csv"
    kept.write_text("mine")
    (tmp_path / "link.csv").symlink_to(kept)
    code, said = export(env, tmp_path / "link.csv", "ticks")
    assert (code, "--force" in said) == (2, True)
    assert kept.read_text() == "mine"
    assert export(env, tmp_path / "link.csv", "ticks", "--force")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert kept.read_text().startswith("time_ns,")
    assert [path.name for path in kept.parent.iterdir()] == ["kept.csv"]
