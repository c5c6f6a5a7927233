"""The wheel that is built holds what it should, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def built(project: Path, target: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    subprocess.run([*command, str(project)], check=True, capture_output=True, timeout=110)
    (wheel,) = target.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.timeout(120)
def test_the_wheel_holds_the_packages_with_their_data(tmp_path: Path) -> None:
    with built(ROOT, tmp_path) as wheel:
        names = set(wheel.namelist())
        entry_points = next(wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"decahertz", "collectors", "storage", "exporter", "control", "providers", "api"}
    assert "decahertz/py.typed" in names
    page = {
        path.relative_to(ROOT).as_posix()
        for folder in ("page", "docs_page")
        for path in (ROOT / "api" / folder).rglob("*")
        if path.is_file()
    }
    assert "api/page/vendor/uplot/LICENSE.txt" in page
    assert "api/docs_page/vendor/swagger-ui/LICENSE.txt" in page
    assert page <= names
    assert any(name.startswith("storage/schema/migrations/") and name.endswith(".sql") for name in names)
    assert "market = collectors.market.collector:MarketCollector" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.timeout(120)
def test_the_clients_wheel_holds_the_client_alone(tmp_path: Path) -> None:
    with built(ROOT / "client", tmp_path) as wheel:
        names = wheel.namelist()
        metadata = next(wheel.read(name).decode() for name in names if name.endswith("METADATA"))
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert {name.removesuffix(".py") for name in packages} == {"decahertz_client"}
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    required = [line for line in required if "extra ==" not in line]
    assert [re.split(r"[^\w-]", line.split()[1])[0] for line in required] == ["msgpack"]
