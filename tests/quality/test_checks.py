"""The checks of scripts/check pass: style, types, direction of imports, derived files."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("decahertz", "collectors", "storage", "exporter", "control", "providers", "api")


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


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Names that are imported when the statements run, without those for type checkers and in functions."""
    for statement in statements:
        match statement:
            case ast.Import():
                yield from (alias.name for alias in statement.names)
            case ast.ImportFrom(module=str(module)):
                yield from (f"{module}.{alias.name}" for alias in statement.names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from imported(statement.orelse)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case _:
                for field in ("body", "orelse", "handlers", "finalbody"):
                    yield from imported(getattr(statement, field, ()))


def with_packages(name: str) -> Iterator[str]:
    """``a.b``, and the package ``a``, which is imported before."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def in_circles(names: Collection[str]) -> list[str]:
    """Modules that end up importing themselves, for example a package that imports from its own modules.

    Only there it matters which module of the circle is imported first.
    """
    needed = {
        name: {
            package
            for imports in (name.rpartition(".")[0], *imported(ast.parse(file_of(name).read_text()).body))
            for package in with_packages(imports)
            if package in names
        }
        for name in names
    }

    def reached(name: str) -> set[str]:
        found, waiting = set[str](), {name}
        while waiting:
            more = needed[waiting.pop()] - found
            found |= more
            waiting |= more
        return found

    return [name for name in names if name in reached(name)]


@pytest.mark.timeout(240)
def test_every_module_can_be_imported_first() -> None:
    """No module needs another one to have been imported before: circles of imports do no harm."""
    names = set(modules())
    circles = in_circles(names)
    assert "storage.spool" in circles  # a package that offers what its modules define
    script = (
        "import gc, os, sys\n"
        "packages = {name.partition('.')[0] for name in sys.argv[2:]}\n"
        "for name in packages:\n"
        "    __import__(name)\n"  # what is not ours is imported once, and inherited by all
        "for name in list(sys.modules):\n"
        "    if name.partition('.')[0] in packages:\n"
        "        del sys.modules[name]\n"
        "gc.freeze()\n"
        "def first(names):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        for name in names:\n"
        "            try:\n"
        "                __import__(name)\n"
        "            except BaseException as error:\n"
        "                sys.stderr.write(f'{name}: {error!r}\\n')\n"
        "                os._exit(1)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]:\n"
        "        sys.exit(1)\n"
        "first(sys.argv[2:])\n"
        "for name in sys.argv[1].split():\n"
        "    first([name])\n"
    )
    done = tool("python", "-W", "error", "-c", script, " ".join(circles), *sorted(names))
    assert done.returncode == 0, done.stderr


def test_the_layers_of_the_import_contract_name_every_module_of_the_contract_package() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    package = importlib.import_module("decahertz")
    unnamed = [
        m.name for m in pkgutil.iter_modules(package.__path__, "decahertz.") if f"{m.name}" not in text
    ]
    assert unnamed == []
