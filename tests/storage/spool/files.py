"""Spool files with something in them, and noise in their pages."""

from __future__ import annotations

import random
from pathlib import Path

from decahertz.ledger import Ledger
from decahertz.testing import START_NS, ManualClock
from storage.settings import SpoolSettings
from storage.spool.file import SpoolFile
from storage.spool.recovery import FILE_NAME
from tests.storage_examples import book, books, quotes

PAGE = 4096


def filled(folder: Path, batches: int) -> Path:
    """A closed spool with so many batches of 10 events, and as many of 10 samples."""
    file = SpoolFile(folder / FILE_NAME, SpoolSettings(), ManualClock(START_NS), Ledger())
    for number in range(batches):
        file.write(
            [quotes(10 * number + 1, 10 * number + 10)],
            [books(number, *(book(f"i{n}", gaps=number) for n in range(10)))],
        )
    file.close()
    return folder / FILE_NAME


def garble(path: Path, first_page: int, pages: int = 1) -> None:
    """Noise instead of these pages; the first of the file has the number 0."""
    noise = random.Random(first_page).randbytes(pages * PAGE)
    with path.open("r+b") as file:
        file.seek(first_page * PAGE)
        file.write(noise)
