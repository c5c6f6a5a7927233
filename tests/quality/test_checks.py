"""The checks of scripts/check pass: style, types, direction of imports, derived files."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("decahertz", "collectors", "storage", "exporter", "api")


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports", "--no-logo"),
        ("python", "scripts/derive.py", "--check"),
    ],
    ids=lambda command: command[0],
)
def test_the_check_passes(command: tuple[str, ...]) -> None:
    done = tool(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def modules() -> list[str]:
    found = list(PACKAGES)
    for name in PACKAGES:
        package = importlib.import_module(name)
        found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{name}.")]
    return found


@pytest.mark.timeout(240)
def test_every_module_can_be_imported_first() -> None:
    """No module needs another one to have been imported before: there are no circles."""
    script = (
        "import gc, os, sys\n"
        "for name in sys.argv[1:]:\n"
        "    __import__(name)\n"  # what is not ours is imported once, and inherited by all
        "for name in list(sys.modules):\n"
        "    if name.partition('.')[0] in sys.argv[1:]:\n"
        "        del sys.modules[name]\n"
        "gc.freeze()\n"
        "for name in sys.argv[1:]:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        "            __import__(name)\n"
        "        except BaseException as error:\n"
        "            sys.stderr.write(f'{name}: {error!r}\\n')\n"
        "            os._exit(1)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]:\n"
        "        sys.exit(1)\n"
    )
    done = tool("python", "-W", "error", "-c", script, *modules())
    assert done.returncode == 0, done.stderr


def test_the_layers_of_the_import_contract_name_every_module_of_the_contract_package() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    package = importlib.import_module("decahertz")
    unnamed = [
        m.name for m in pkgutil.iter_modules(package.__path__, "decahertz.") if f"{m.name}" not in text
    ]
    assert unnamed == []
