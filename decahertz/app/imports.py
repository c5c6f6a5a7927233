"""``decahertz imports``: lists the files that were imported, and takes one back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from decahertz.app.database import open_database, refuse_without_database
from decahertz.app.start_error import StartError
from decahertz.words import counted
from storage.maintenance.imports import Import, UnknownImportError, list_imports, undo_import

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

_MAX_LIMIT = 100_000
_MAX_ID = 2**63


async def run_list(settings: Settings, *, limit: int, as_json: bool) -> int:
    """Prints the newest imports. Raises :class:`~decahertz.app.start_error.StartError`."""
    if not 1 <= limit <= _MAX_LIMIT:
        raise StartError(f"--limit must be between 1 and {_MAX_LIMIT:,}: {limit}")
    refuse_without_database(settings)
    async with open_database(settings, share=True) as (database, _):
        imports = await list_imports(database, limit)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(imports)).decode() + "\n")
        return 0
    for one in reversed(imports):
        sys.stdout.write(_line(one))
    sys.stdout.write(f"{counted(len(imports), 'import')}\n")
    return 0


async def run_undo(settings: Settings, import_id: int) -> int:
    """Deletes what an import has stored. Raises :class:`~decahertz.app.start_error.StartError`."""
    if not 0 < import_id < _MAX_ID:
        raise StartError("the number is out of range: use one that `decahertz imports` shows")
    refuse_without_database(settings)
    async with open_database(settings, share=True) as (database, _):
        try:
            rows = await undo_import(database, import_id)
        except UnknownImportError as error:
            raise StartError(str(error)) from error
    sys.stdout.write(f"import {import_id} was taken back: {counted(rows, 'row')} deleted\n")
    return 0


def _line(one: Import) -> str:
    state = "" if one.finished_at else ", not finished"
    if one.undone_at:
        state = f", taken back {one.undone_at:%Y-%m-%d %H:%M:%SZ}"
    return (
        f"{one.id}  {one.time:%Y-%m-%d %H:%M:%SZ}  {one.recorder}  {one.file}\n"
        f"    {one.reading}\n"
        f"    {counted(one.lines, 'line')}: {one.stored:,} stored, {one.already_there:,} already there,"
        f" {one.refused:,} refused, {one.without_events:,} without an event{state}\n"
    )
