"""``decahertz export``: writes samples or events to a CSV or Parquet file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from collectors.host.plugins import load_collectors
from decahertz.app.database import open_database, refuse_without_database
from decahertz.app.output_file import target
from decahertz.app.start_error import StartError
from decahertz.app.time_option import time_option
from decahertz.clock import SystemClock, format_time
from decahertz.event import EVENT_BY_TABLE
from storage.database import DatabaseError, DatabaseTimeoutError
from storage.query.export import (
    ExportRequest,
    Exports,
    ExportStoppedError,
    UnknownColumnError,
    events_request,
    samples_request,
)
from storage.query.export_format import ExportFormat
from storage.query.parquet import ParquetMissingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from decahertz.app.settings import Settings

_LATEST_NS = 2**63 - 1


class Wanted(Struct, frozen=True, kw_only=True):
    """The arguments of the command."""

    what: str
    """A collector or an event table."""
    form: ExportFormat | None = None
    """``None``: by the file name."""
    fields: Sequence[str] = ()
    where: Sequence[str] = ()
    """``column=value``; several values of a column are alternatives."""
    start: str = ""
    end: str = ""


async def run_export(settings: Settings, file: Path, wanted: Wanted, *, force: bool) -> int:
    """Writes the file under a temporary name, and renames it when it is complete.

    Raises :class:`~decahertz.app.start_error.StartError`.
    """
    request = _request(settings, wanted)
    form = wanted.form or _form_of(file)
    path = await asyncio.to_thread(target, file, force=force)
    partial = path.with_name(path.name + ".partial")
    refuse_without_database(settings)
    async with open_database(settings, share=True) as (database, _):
        with _errors(wanted.what, file):
            exports = Exports(database)
            try:
                with _bar(file.name, await _bounds(exports, request)) as reached:
                    size = await _write(exports, request, form, partial, reached)
                await asyncio.to_thread(partial.replace, path)
            finally:
                await asyncio.to_thread(partial.unlink, missing_ok=True)
    sys.stdout.write(f"{file}: {size:,} bytes\n")
    return 0


async def _write(
    exports: Exports,
    request: ExportRequest,
    form: ExportFormat,
    file: Path,
    reached: Callable[[int], None],
) -> int:
    size = 0
    with await asyncio.to_thread(file.open, "wb") as stream:

        async def write(data: bytes) -> None:
            nonlocal size
            await asyncio.to_thread(stream.write, data)
            size += len(data)

        await exports.run(request, form, write, reached)
    return size


def _request(settings: Settings, wanted: Wanted) -> ExportRequest:
    start_ns = time_option("start", wanted.start) or 0
    end_ns = time_option("end", wanted.end)
    end_ns = _LATEST_NS if end_ns is None else end_ns
    if start_ns > end_ns:
        raise StartError("--start is later than --end: swap them")
    tables = sorted(EVENT_BY_TABLE)
    plugins = load_collectors(settings.collectors.enabled, settings.sources, SystemClock()).plugins
    schemas = {loaded.schema.collector: loaded.schema for loaded in plugins}
    keys = _filter(wanted.where)
    try:
        if wanted.what in schemas:
            return samples_request(schemas[wanted.what], wanted.fields, keys, start_ns, end_ns)
        if wanted.what in tables:
            return events_request(wanted.what, wanted.fields, keys, start_ns, end_ns)
    except UnknownColumnError as error:
        raise StartError(f"{wanted.what}: {error}") from error
    raise StartError(
        f"{wanted.what!r} is neither a collector ({', '.join(sorted(schemas))})"
        f" nor an event table ({', '.join(tables)})"
    )


def _filter(where: Sequence[str]) -> Mapping[str, Sequence[str]]:
    keys: dict[str, list[str]] = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not equals:
            raise StartError(f"--where must have the form column=value: {text}")
        keys.setdefault(name, []).append(value)
    return keys


def _form_of(file: Path) -> ExportFormat:
    try:
        return ExportFormat(file.suffix.removeprefix("."))
    except ValueError as error:
        raise StartError(f"{file} does not end with .csv or .parquet: choose with --format") from error


async def _bounds(exports: Exports, request: ExportRequest) -> tuple[int, int] | None:
    """The time range of the progress bar; ``None`` if it takes too long to find."""
    try:
        return await exports.bounds(request)
    except DatabaseTimeoutError:
        return None


@contextmanager
def _errors(what: str, file: Path) -> Iterator[None]:
    try:
        yield
    except ExportStoppedError as error:
        raise StartError(f"{file}: {error.__cause__}") from error
    except asyncpg.UndefinedTableError as error:
        raise StartError(f"there are no samples of {what} yet: has its collector run?") from error
    except OSError as error:
        raise StartError(f"cannot write {file}: {error.strerror or error}") from error
    except (ParquetMissingError, DatabaseError) as error:
        raise StartError(str(error)) from error


@contextmanager
def _bar(name: str, bounds: tuple[int, int] | None) -> Iterator[Callable[[int], None]]:
    """Shows the time that the export has reached."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        first, last = bounds or (0, 0)
        task = bars.add_task(name, total=max(1, last - first) if bounds else None, at="")

        def reached(time_ns: int) -> None:
            bars.update(task, completed=time_ns - first, at=format_time(time_ns)[:19])

        yield reached
        if bounds:
            bars.update(task, completed=max(1, last - first))
