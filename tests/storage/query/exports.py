"""Exports for tests: run them, and read their files."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pyarrow.parquet
import pytest

from storage.database import Database
from storage.query.export import ExportRequest, Exports
from storage.query.export_format import ExportFormat
from tests.storage_examples import START_NS

BOTH = pytest.mark.parametrize("form", list(ExportFormat))


class SlowReader:
    """Waits with the first piece of an export until ``go`` is set."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, _: bytes) -> None:
        self.waiting.set()
        await self.go.wait()


async def exported(database: Database, question: ExportRequest, form: ExportFormat) -> bytes:
    pieces: list[bytes] = []

    async def keep(data: bytes) -> None:
        pieces.append(data)

    await Exports(database).run(question, form, keep)
    return b"".join(pieces)


def rows_of(data: bytes, form: ExportFormat, question: ExportRequest) -> list[dict[str, Any]]:
    """The rows of a file, with the types of the question's columns."""
    if form is ExportFormat.PARQUET:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        return rows
    convert: dict[str, Any] = {
        "bigint": int,
        "double precision": float,
        "boolean": lambda text: {"true": True, "false": False}[text],
        "text": str,
    }
    types = {column.name: convert[column.sql_type] for column in question.columns}
    read = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return [{name: types[name](text) if text else None for name, text in row.items()} for row in read]


async def fill_books(database: Database, rows: int) -> None:
    async with database.query() as connection:
        await connection.execute(
            "INSERT INTO book_samples (time, recorder, venue, instrument, mid, gaps, verdict)"
            " SELECT to_timestamp($1::bigint / 1e9) + n * interval '100 ms',"
            " 'desk', 'sim', n % 9, n, n, 'live'"
            " FROM generate_series(1, $2::bigint) AS n",
            START_NS,
            rows,
        )
