"""Files of an archive: their paths and manifests, how a day is written, and how a file is verified.

A day is ``table=quotes/day=2026-11-29/quotes-2026-11-29.parquet``, so that every reader of Hive-style paths
finds the table and the day. Its manifest is ``_manifest/table=quotes/quotes-2026-11-29.json``, and is written
last: a file without one does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from decahertz import __version__
from decahertz.clock import NS_PER_SECOND, format_time, from_datetime
from storage.database import first_line
from storage.maintenance.archive.store import StoreError, in_store
from storage.maintenance.archive.tables import DAY_NS, ArchivedTable
from storage.query.export import Exports
from storage.query.export_format import ExportFormat
from storage.query.parquet import imported
from storage.tiers.archived import start_of

if TYPE_CHECKING:
    from storage.maintenance.archive.store import Store

_SLICE_NS: Final = 3600 * NS_PER_SECOND
"""PostgreSQL sorts an hour of rows at once."""
_PIECE_BYTES: Final = 2**20
_ROWS_AT_ONCE: Final = 50_000


class VerificationError(RuntimeError):
    """Raised when a file that is read back is not what was written."""


class Manifest(Struct, frozen=True, kw_only=True):
    """Describes one file of an archive."""

    table: str
    day: str
    """Like ``2026-11-29``, UTC."""
    file: str
    """Path in the archive."""
    rows: int
    bytes: int
    sha256: str
    columns: dict[str, str]
    """SQL types by name."""
    written_at: str
    """RFC 3339."""
    version: str
    """Of the Decahertz that wrote it."""


def table_folder(table: str) -> str:
    """The folder with the days of a table."""
    return f"table={table}"


def manifest_folder(table: str) -> str:
    """The folder with the manifests of a table."""
    return f"_manifest/table={table}"


def file_of(table: str, day: date, part: int) -> str:
    """The path of a file."""
    return f"{table_folder(table)}/day={day}/{_name(table, day, part)}.parquet"


def manifest_of(table: str, day: date, part: int) -> str:
    """The path of its manifest."""
    return f"{manifest_folder(table)}/{_name(table, day, part)}.json"


def partial_of(path: str) -> str:
    """The temporary name of a file, which readers of folders skip."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/_{name}.partial"


def is_partial(path: str) -> bool:
    """Whether a path is a temporary name."""
    return path.endswith(".partial")


def _name(table: str, day: date, part: int) -> str:
    return f"{table}-{day}-{part}" if part else f"{table}-{day}"


async def write_day(
    exports: Exports,
    store: Store,
    table: ArchivedTable,
    day: date,
    path: str,
    now_ns: int,
    reached: Callable[[int], None],
) -> Manifest:
    """Writes the rows of a day under the temporary name of ``path``, and verifies the file.

    Raises :class:`VerificationError`, :class:`~storage.maintenance.archive.store.StoreError` and as
    :meth:`~storage.query.export.Exports.run`; then there is no file.
    """
    request, partial = table.rows_of(day), partial_of(path)
    digest, size = hashlib.sha256(), 0
    stream = await in_store(store, store.create, partial)

    def add(data: bytes) -> None:
        stream.write(data)
        digest.update(data)

    async def write(data: bytes) -> None:
        nonlocal size
        await in_store(store, add, data)
        size += len(data)

    try:
        rows = await exports.run(request, ExportFormat.PARQUET, write, reached, slice_ns=_SLICE_NS)
        await in_store(store, store.complete, stream)
        manifest = Manifest(
            table=table.name,
            day=str(day),
            file=path,
            rows=rows,
            bytes=size,
            sha256=digest.hexdigest(),
            columns={column.name: column.sql_type for column in request.columns},
            written_at=format_time(now_ns),
            version=__version__,
        )
        await in_store(store, verify, store, partial, manifest)
    except BaseException:
        with suppress(StoreError):
            await in_store(store, _abandon, store, stream, partial)
        raise
    return manifest


def verify(store: Store, path: str, manifest: Manifest) -> None:
    """Reads a file back: its bytes, and every value of every row, whose time is of its day. Blocks.

    Raises :class:`VerificationError`.
    """
    start_ns = from_datetime(start_of(date.fromisoformat(manifest.day)))
    with store.open(path) as stream:
        digest, size = hashlib.sha256(), 0
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    if (size, digest.hexdigest()) != (manifest.bytes, manifest.sha256):
        raise VerificationError(f"{manifest.file} has other bytes than were written")
    compute = imported("pyarrow.compute")
    rows = 0
    with store.open(path) as stream:
        for batch in _batches(stream, manifest.file):
            bounds = compute.min_max(batch.column("time_ns"))
            if bounds["min"].as_py() < start_ns or bounds["max"].as_py() >= start_ns + DAY_NS:
                raise VerificationError(f"{manifest.file} has rows of another day")
            rows += batch.num_rows
    if rows != manifest.rows:
        raise VerificationError(f"{manifest.file} has {rows:,} rows, and {manifest.rows:,} were written")


def _batches(stream: IO[bytes], name: str) -> Iterator[Any]:
    """All rows of a Parquet file, every value decoded."""
    parquet = imported("pyarrow.parquet")
    try:
        yield from parquet.ParquetFile(stream).iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False)
    except ValueError as error:  # pyarrow's
        raise VerificationError(f"{name} cannot be read: {first_line(error)}") from error


def manifests_in(store: Store, tables: Sequence[str]) -> list[str]:
    """The paths of all manifests of these tables; none named: of all tables. Blocks; raises ``OSError``."""
    folders = [manifest_folder(table) for table in tables] or ["_manifest"]
    return sorted(path for folder in folders for path in store.sizes(folder) if path.endswith(".json"))


def read_manifest(store: Store, path: str) -> Manifest | None:
    """A manifest; ``None``: there is none, or it is none of ours. Blocks; raises ``OSError``."""
    try:
        with store.open(path) as stream:
            return msgspec.json.decode(stream.read(), type=Manifest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def publish(store: Store, table: str, day: date, part: int, manifest: Manifest) -> None:
    """Gives a verified file its name, and writes its manifest. Blocks; raises ``OSError``."""
    store.rename(partial_of(manifest.file), manifest.file)
    path = manifest_of(table, day, part)
    stream = store.create(partial_of(path))
    stream.write(msgspec.json.format(msgspec.json.encode(manifest)))
    store.complete(stream)
    store.rename(partial_of(path), path)


def _abandon(store: Store, stream: IO[bytes], partial: str) -> None:
    stream.close()  # a store that speaks S3 has the file only now
    store.remove(partial)
