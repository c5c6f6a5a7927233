"""Encodes rows as Parquet, one row group at a time. Needs pyarrow, from the extra ``parquet``."""

from __future__ import annotations

import asyncio
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

ROWS_OF_A_GROUP = 50_000


class ParquetMissingError(RuntimeError):
    """Raised when pyarrow is not installed."""

    def __init__(self) -> None:
        super().__init__("Parquet needs pyarrow: install decahertz with the extra 'parquet'")


def imported(module: str) -> Any:  # noqa: ANN401 - a library without types
    """A module of pyarrow. Raises :class:`ParquetMissingError`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ParquetMissingError from error


class ParquetPieces:
    """Turns rows into the bytes of a Parquet file, piece by piece, in a thread."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """``columns``: SQL types by name. Raises :class:`ParquetMissingError`."""
        self._arrow, parquet = imported("pyarrow"), imported("pyarrow.parquet")
        types = {
            "bigint": self._arrow.int64(),
            "double precision": self._arrow.float64(),
            "boolean": self._arrow.bool_(),
            "text": self._arrow.string(),
        }
        self._schema = self._arrow.schema([(name, types[sql_type]) for name, sql_type in columns.items()])
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._batches: list[Any] = []
        self._rows = 0

    async def add(self, records: Sequence[Any]) -> bytes:
        """Adds rows; returns the bytes that are ready, often none."""
        return await asyncio.to_thread(self._add, records)

    async def finish(self) -> bytes:
        """Returns the rest of the file."""
        return await asyncio.to_thread(self._finish)

    def _add(self, records: Sequence[Any]) -> bytes:
        arrays = [
            self._arrow.array(values, type=kind.type)
            for values, kind in zip(zip(*records, strict=True), self._schema, strict=True)
        ]
        self._batches.append(self._arrow.record_batch(arrays, schema=self._schema))
        self._rows += len(records)
        if self._rows >= ROWS_OF_A_GROUP:
            self._write()
        return self._sink.taken()

    def _write(self) -> None:
        table = self._arrow.Table.from_batches(self._batches, schema=self._schema)
        self._writer.write_table(table, row_group_size=self._rows)
        self._batches, self._rows = [], 0

    def _finish(self) -> bytes:
        if self._batches:
            self._write()
        self._writer.close()
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """Holds written bytes until they are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        piece = bytes(data)
        self._pieces.append(piece)
        self._size += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces = []
        return data
