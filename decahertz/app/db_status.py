"""``decahertz db status``: sizes, ages, roll-up lag, policies, spool and emitters."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec import Struct

from decahertz.app.backup import embedded_server
from decahertz.app.database import database_url, start_errors
from decahertz.clock import SystemClock, format_time
from decahertz.words import counted
from storage.database import Database
from storage.maintenance.disk import DiskForecast
from storage.maintenance.status import (
    DatabaseStatus,
    EmitterStatus,
    RecorderStatus,
    TableStatus,
    database_status,
)
from storage.spool.status import SpoolStatus, spool_status

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

Row: TypeAlias = tuple[str, ...]

_NONE = "-"
_EMITTERS_SHOWN = 20
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Status(Struct, frozen=True, kw_only=True):
    """The document that ``--json`` prints."""

    time_ns: int
    database: DatabaseStatus
    spool: SpoolStatus | None
    """``None`` without a spool file."""


async def run_status(settings: Settings, *, as_json: bool) -> int:
    """Prints the status of the database and of the spool.

    Starts the embedded database if it does not run. Raises :class:`~decahertz.app.start_error.StartError` if
    there is none or it is unreachable.
    """
    with start_errors():
        async with embedded_server(settings, share=True):
            database = Database(database_url(settings), settings.storage)
            try:
                await database.open()
                now_ns = SystemClock().time_ns()
                status = Status(
                    time_ns=now_ns,
                    database=await database_status(database, now_ns),
                    spool=await spool_status(settings.data_dir / "spool", now_ns),
                )
            finally:
                await database.close()
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(status)).decode() + "\n")
    else:
        _show(status)
    return 0


def _show(status: Status) -> None:
    blocks = [aligned(_facts(status), numeric=())]
    blocks += [
        f"{title}\n{aligned([columns, *rows], numeric)}" for title, columns, rows, numeric in _tables(status)
    ]
    sys.stdout.write("\n\n".join(blocks) + "\n")


def _facts(status: Status) -> Iterator[Row]:
    database, spool = status.database, status.spool
    extension = f" with TimescaleDB {database.timescaledb}" if database.timescaledb else ""
    yield "database", database.name
    yield "engine", f"PostgreSQL {database.version}{extension}"
    limit = database.disk.max_bytes if database.disk is not None else 0
    yield "size", size_text(database.bytes) + (f" of at most {size_text(limit)}" if limit else "")
    if database.disk is not None:
        yield "disk", _disk_text(database.disk)
    newest = min((samples.age_seconds for samples in database.samples), default=None)
    yield "newest sample", "none" if newest is None else f"{_age(newest)} old"
    yield "spool", _spool_text(spool)
    if spool is not None and spool.set_aside:
        yield "damaged spools", ", ".join(spool.set_aside)
    yield "dead letters", f"{database.dead_letters:,}"


def _disk_text(disk: DiskForecast) -> str:
    growth = disk.growth_bytes_per_day
    free = "" if disk.free_bytes is None else f"{size_text(disk.free_bytes)} free, "
    pace = "" if growth is None else f" at {'-' if growth < 0 else ''}{size_text(abs(growth))} a day"
    if disk.full_seconds is None:
        return f"{free}full: not known{pace}: {disk.reason}"
    return f"{free}full in {disk.full_seconds / _DAY:.1f} d{pace}"


def _spool_text(spool: SpoolStatus | None) -> str:
    if spool is None:
        return "none"
    if spool.problem:
        return f"{spool.path}: {spool.problem}"
    oldest = "" if spool.oldest_age_seconds is None else f", the oldest {_age(spool.oldest_age_seconds)} old"
    return f"{size_text(spool.bytes)}, {counted(spool.rows, 'row')} waiting{oldest}"


def _tables(status: Status) -> Iterator[tuple[str, Row, Sequence[Row], Sequence[int]]]:
    """Title, column names, rows, and the columns that hold numbers."""
    database = status.database
    columns: Row
    if database.recorders:
        columns = ("recorder", "host", "process", "held for", "lease")
        yield "Recorders", columns, [_recorder_row(one) for one in database.recorders], (2,)
    columns = ("table", "rows (estimate)", "size", "partitions", "compressed", "ratio")
    yield "Tables", columns, [_table_row(table) for table in database.tables], range(1, 6)
    if database.tiers:
        rows = [(t.relation, _age(t.lag_seconds), _or_none(t.dirty_buckets)) for t in database.tiers]
        yield "Roll-up", ("tier", "lag", "dirty buckets"), rows, (1, 2)
    if database.policies:
        columns = ("relation", "policy", "every", "failures", "last run", "settings")
        jobs = [
            (p.relation, p.name, _age(p.every_seconds), str(p.failures), p.last_run or _NONE, p.config)
            for p in database.policies
        ]
        yield "Policies", columns, jobs, (2, 3)
    if database.emitters:
        columns = ("source", "started", "stored", "highest", "gaps", "missing", "dropped by emitter")
        shown = _emitters_to_show(database.emitters)
        title = (
            f"Emitters ({len(shown)} of {len(database.emitters)}: those with gaps or drops, and the newest)"
        )
        yield title, columns, [_emitter_row(emitter) for emitter in shown], range(2, 6)


def aligned(rows: Iterable[Row], numeric: Sequence[int]) -> str:
    """A table as lines of text; ``numeric``: columns to align at the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in numeric else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _table_row(table: TableStatus) -> Row:
    ratio = f"{table.compression_ratio:.1f}" if table.compression_ratio is not None else _NONE
    return (
        table.name,
        f"{table.rows:,}",
        size_text(table.bytes),
        str(table.partitions) if table.partitions else _NONE,
        str(table.compressed_partitions) if table.compressed_partitions else _NONE,
        ratio,
    )


def _recorder_row(recorder: RecorderStatus) -> Row:
    seconds = recorder.expires_seconds
    lease = f"expires in {_age(seconds)}" if seconds > 0 else f"expired {_age(-seconds)} ago"
    return recorder.recorder, recorder.host, str(recorder.process_id), _age(recorder.held_seconds), lease


def _emitters_to_show(emitters: Sequence[EmitterStatus]) -> list[EmitterStatus]:
    notable = [emitter for emitter in emitters if emitter.gaps or emitter.dropped]
    rest = [emitter for emitter in emitters if not (emitter.gaps or emitter.dropped)]
    return (notable + rest)[:_EMITTERS_SHOWN]


def _emitter_row(emitter: EmitterStatus) -> Row:
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in sorted(emitter.dropped.items()))
    return (
        emitter.source,
        format_time(emitter.epoch)[:19],
        f"{emitter.stored:,}",
        f"{emitter.highest_sequence:,}",
        f"{emitter.gaps:,}",
        f"{emitter.missing:,}",
        dropped or _NONE,
    )


def _or_none(number: int | None) -> str:
    return _NONE if number is None else f"{number:,}"


def size_text(count: float) -> str:
    """A number of bytes with a unit: ``1.5 GiB``."""
    for unit in _UNITS:
        if count < _STEP or unit == _UNITS[-1]:
            break
        count /= _STEP
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def _age(seconds: float) -> str:
    for width, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * width:
            return f"{seconds / width:.1f} {unit}"
    return f"{seconds:.1f} s"
