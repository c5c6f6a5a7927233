"""Archives of a database in PostgreSQL's custom format, made and read with PostgreSQL's own programs.

``pg_dump`` and ``pg_restore`` run as ourselves, whom the embedded server lets in over its socket
(:func:`storage.postgres.settings.access_files`), and end when we do, by ``kill -9`` too. An archive is given
to ``pg_restore`` as its standard input: the position in the open file, which we share with the program, is
how far it has come.

Behind the archive follows a line with the SHA-256 of all before it (:func:`seal`). ``pg_restore`` does not
look there, and so has no need of us; but it cannot tell a damaged table of contents from a good one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from storage.postgres.installation import Installation
from storage.postgres.launcher import Launch
from storage.postgres.process import in_thread

Report: TypeAlias = Callable[[str, float], None]
"""Told how far the work is: (what is being done, share of it from 0 to 1)."""

_LOOK_EVERY_S = 0.1
_END_LIMIT_S = 5.0
_ERROR = re.compile(r"(?:error|FATAL): +(.*)")
_EXTENSION = re.compile(r"^\d+; \d+ \d+ EXTENSION - (\S+)", re.MULTILINE)
_TABLE = re.compile(r"^\d+; \d+ \d+ TABLE (\S+) (\S+)", re.MULTILINE)
_OURS = ("public", "schema_migrations")
"""The table that every database of ours has."""
_SEAL = b"\ndecahertz sha256 %s\n"
_SEAL_BYTES = len(_SEAL % (64 * b"0"))
_PIECE = 1 << 20


class BackupError(RuntimeError):
    """A backup cannot be made, or not be restored. ``str()`` of it is one line."""


class ArchiveError(BackupError):
    """The file is no whole backup of ours."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive says is in it."""

    tables: int
    extensions: frozenset[str]


def program(installation: Installation, name: str) -> str:
    """The path of a client program. Raises :class:`BackupError` where the installation has none."""
    path = installation.program(name)
    if not os.access(path, os.X_OK):
        raise BackupError(f"{installation.prefix} has no program bin/{name}")
    return path


async def run(
    argv: Sequence[str],
    on_line: Callable[[str], None] | None = None,
    *,
    archive: int | None = None,
    keep_output: bool = False,
) -> str:
    """Run a client program to its end; returns what it printed, where that is kept.

    ``on_line`` gets the lines of its standard error; ``archive`` is the descriptor it reads. Cancelled, it
    ends the program. Raises :class:`BackupError` with what the program complained of.
    """
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}  # none of our secrets
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    launch = Launch(tuple(argv), environment, os.getpid(), signal.SIGTERM)
    process = await asyncio.create_subprocess_exec(
        *launch.command(),
        stdin=asyncio.subprocess.DEVNULL if archive is None else archive,
        stdout=asyncio.subprocess.PIPE if keep_output else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us; we end the program
        limit=1 << 20,
    )
    assert process.stderr is not None  # noqa: S101 - asked for above
    complaints: list[str] = []

    async def listen(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            text = line.decode(errors="replace").rstrip()
            if found := _ERROR.search(text):
                complaints.append(found[1])
            if on_line is not None:
                on_line(text)

    try:
        output, _ = await asyncio.gather(_all(process.stdout), listen(process.stderr))
        code = await process.wait()
    finally:
        if process.returncode is None:
            await _end(process)
    if code != 0:
        name = os.path.basename(argv[0])  # noqa: PTH119 - a word of a command line
        said = complaints[0] if complaints else f"exit code {code}"
        raise BackupError(f"{name} failed: {said}")
    return output


async def _all(stream: asyncio.StreamReader | None) -> str:
    return "" if stream is None else (await stream.read()).decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _END_LIMIT_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def read(installation: Installation, file: Path) -> Contents:
    """What the archive says is in it. Raises :class:`ArchiveError` for what is no archive of ours."""
    with opened(file) as descriptor:
        try:
            listing = await run(
                [program(installation, "pg_restore"), "--list"], archive=descriptor, keep_output=True
            )
        except BackupError as error:
            raise ArchiveError(f"{file} is no backup: {error}") from error
    tables = {(found[1], found[2]) for found in _TABLE.finditer(listing)}
    if _OURS not in tables:
        raise ArchiveError(f"{file} is a backup of another program's database")
    return Contents(len(tables), frozenset(found[1] for found in _EXTENSION.finditer(listing)))


async def seal(file: Path) -> None:
    """Add the digest to a finished archive, and bring all of it to the disk."""
    await in_thread(_seal, file)


def _seal(file: Path) -> None:
    with file.open("r+b") as stream:
        digest = _digest(stream, os.fstat(stream.fileno()).st_size)
        stream.write(_SEAL % digest)
        stream.flush()
        os.fsync(stream.fileno())


def _digest(stream: BinaryIO, size: int) -> bytes:
    sha256 = hashlib.sha256()
    while size > 0 and (piece := stream.read(min(size, _PIECE))):
        sha256.update(piece)
        size -= len(piece)
    return sha256.hexdigest().encode()


async def verify(installation: Installation, file: Path, report: Report) -> Contents:
    """Read all of the archive, to the last row. Raises :class:`ArchiveError` where that is impossible.

    An archive that somebody else made with ``pg_dump`` has no digest, and is taken where it can be read.
    """
    contents = await read(installation, file)
    report("verifying", 0.0)
    if not await in_thread(_fits_seal, file):
        raise ArchiveError(f"{file} is damaged: it is not what was written")
    argv = [program(installation, "pg_restore"), "--file=/dev/null"]
    try:
        await pass_through(argv, file, report, "verifying")
    except BackupError as error:
        raise ArchiveError(f"{file} is damaged: {error}") from error
    return contents


def _fits_seal(file: Path) -> bool:
    """Whether the archive is as its digest says, if it has one, at its end and whole."""
    with file.open("rb") as stream:
        size = max(0, os.fstat(stream.fileno()).st_size - _SEAL_BYTES)
        digest = _digest(stream, size)
        if stream.read() == _SEAL % digest:
            return True
        stream.seek(max(0, size - _PIECE))
        return _SEAL.partition(b"%")[0] not in stream.read()


async def pass_through(argv: Sequence[str], file: Path, report: Report, what: str) -> None:
    """Let ``pg_restore`` read the archive, and report how far it is. Raises :class:`BackupError`."""
    with opened(file) as descriptor:
        size = max(1, os.fstat(descriptor).st_size)
        work = asyncio.ensure_future(run(argv, archive=descriptor))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_LOOK_EVERY_S)
                report(what, min(1.0, os.lseek(descriptor, 0, os.SEEK_CUR) / size))
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})


@contextmanager
def opened(file: Path) -> Iterator[int]:
    """The descriptor of an archive. Raises :class:`ArchiveError` where it cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ArchiveError(f"{file}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
