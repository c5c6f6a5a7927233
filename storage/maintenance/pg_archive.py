"""Archives of a database in PostgreSQL's custom format, made and read with PostgreSQL's own programs.

``pg_dump`` and ``pg_restore`` run as this process's user, whom the embedded server accepts on its socket
(:func:`storage.postgres.settings.access_files`), and end with this process, even after ``kill -9``. They read
an archive from standard input; this process shares the file position, which shows the progress.

The archive ends with a line that holds the SHA-256 of all bytes before it (:func:`seal`). ``pg_restore``
ignores that line, so an archive can be restored without this program; but it cannot detect a damaged table of
contents.
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
"""Called with the progress: (the step, its share done from 0 to 1)."""

_LOOK_EVERY_S = 0.1
_END_LIMIT_S = 5.0
_ERROR = re.compile(r"(?:error|FATAL): +(.*)")
_EXTENSION = re.compile(r"^\d+; \d+ \d+ EXTENSION - (\S+)", re.MULTILINE)
_TABLE = re.compile(r"^\d+; \d+ \d+ TABLE (\S+) (\S+)", re.MULTILINE)
_OURS = ("public", "schema_migrations")
"""A table of every Decahertz database."""
_SEAL = b"\ndecahertz sha256 %s\n"
_SEAL_BYTES = len(_SEAL % (64 * b"0"))
_PIECE = 1 << 20


class BackupError(RuntimeError):
    """Raised when a backup or a restore fails. ``str()`` of it is one line."""


class ArchiveError(BackupError):
    """Raised for a file that is not a complete Decahertz backup."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of contents of an archive."""

    tables: int
    extensions: frozenset[str]


def program(installation: Installation, name: str) -> str:
    """The path of a client program. Raises :class:`BackupError` if the installation lacks it."""
    path = installation.program(name)
    if not os.access(path, os.X_OK):
        raise BackupError(f"{installation.prefix} lacks the program bin/{name}")
    return path


async def run(
    argv: Sequence[str],
    on_line: Callable[[str], None] | None = None,
    *,
    archive: int | None = None,
    keep_output: bool = False,
) -> str:
    """Runs a client program to its end; returns its output if ``keep_output``.

    ``on_line`` receives the lines of its standard error; ``archive`` is the descriptor that it reads.
    Cancellation ends the program. Raises :class:`BackupError` with the program's first error.
    """
    launch = Launch(tuple(argv), os.getpid(), signal.SIGTERM)
    process = await asyncio.create_subprocess_exec(
        *launch.command(),
        stdin=asyncio.subprocess.DEVNULL if archive is None else archive,
        stdout=asyncio.subprocess.PIPE if keep_output else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=Launch.bare_environment(),
        start_new_session=True,  # Ctrl-C reaches only this process, which ends the program
        limit=1 << 20,
    )
    assert process.stderr is not None  # noqa: S101 - asked for above
    errors: list[str] = []

    async def listen(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            text = line.decode(errors="replace").rstrip()
            if found := _ERROR.search(text):
                errors.append(found[1])
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
        raise BackupError(f"{name} failed: {errors[0] if errors else f'exit code {code}'}")
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
    """Reads the table of contents. Raises :class:`ArchiveError` for a file that is not a Decahertz backup."""
    with opened(file) as descriptor:
        try:
            listing = await run(
                [program(installation, "pg_restore"), "--list"], archive=descriptor, keep_output=True
            )
        except BackupError as error:
            raise ArchiveError(f"{file} is not a backup: {error}") from error
    tables = {(found[1], found[2]) for found in _TABLE.finditer(listing)}
    if _OURS not in tables:
        raise ArchiveError(f"{file} is a backup of another program's database")
    return Contents(len(tables), frozenset(found[1] for found in _EXTENSION.finditer(listing)))


async def seal(file: Path) -> None:
    """Appends the digest to a finished archive, and syncs the file to disk."""
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
    """Reads the whole archive. Raises :class:`ArchiveError` if that fails.

    An archive that ``pg_dump`` wrote without this program has no digest, and is valid if it can be read.
    """
    contents = await read(installation, file)
    report("verifying", 0.0)
    if not await in_thread(_fits_seal, file):
        raise ArchiveError(f"{file} is damaged: its checksum does not match")
    argv = [program(installation, "pg_restore"), "--file=/dev/null"]
    try:
        await pass_through(argv, file, report, "verifying")
    except BackupError as error:
        raise ArchiveError(f"{file} is damaged: {error}") from error
    return contents


def _fits_seal(file: Path) -> bool:
    """Whether the archive has no digest, or a complete one at its end that matches."""
    with file.open("rb") as stream:
        size = max(0, os.fstat(stream.fileno()).st_size - _SEAL_BYTES)
        digest = _digest(stream, size)
        if stream.read() == _SEAL % digest:
            return True
        stream.seek(max(0, size - _PIECE))
        return _SEAL.partition(b"%")[0] not in stream.read()


async def pass_through(argv: Sequence[str], file: Path, report: Report, step: str) -> None:
    """Lets ``pg_restore`` read the archive, and reports its progress. Raises :class:`BackupError`."""
    with opened(file) as descriptor:
        size = max(1, os.fstat(descriptor).st_size)
        work = asyncio.ensure_future(run(argv, archive=descriptor))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_LOOK_EVERY_S)
                report(step, min(1.0, os.lseek(descriptor, 0, os.SEEK_CUR) / size))
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})


@contextmanager
def opened(file: Path) -> Iterator[int]:
    """The descriptor of an archive. Raises :class:`ArchiveError` if it cannot be opened."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ArchiveError(f"{file}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
