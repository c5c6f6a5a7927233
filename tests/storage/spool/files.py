"""Makes, damages and reads spool files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from decahertz.event import Arrival
from decahertz.ledger import Ledger
from decahertz.testing import START_NS, ManualClock
from storage.entry import Entry
from storage.settings import SpoolSettings
from storage.spool.recovery import FILE_NAME, Recovery, open_spool, replace_file
from tests.storage_examples import account_of, book, books, quotes

PAGE = 4096


class OpenedFile:
    """A spool file and its ledger; a damaged file is replaced."""

    def __init__(self, folder: Path, clock: ManualClock | None = None, **settings: float) -> None:
        self.clock = clock or ManualClock(START_NS)
        self.ledger = Ledger()
        self._settings = SpoolSettings(**settings)  # type: ignore[arg-type]  # numbers by name
        self._folder = folder
        self.recovery: Recovery | None
        self.file, self.recovery = open_spool(folder, self._settings, self.clock, self.ledger)

    def replace(self) -> Recovery:
        """Replaces the file, as the spool's thread does when it turns out to be damaged."""
        self.file, self.recovery = replace_file(
            self._folder, self._settings, self.clock, self.ledger, "damaged", self.file
        )
        return self.recovery

    def account(self, stream: str) -> tuple[int, int, int, dict[str, int]]:
        return account_of(self.ledger.read(), stream)

    def ids(self) -> list[int]:
        return [row[0] for row in self.file.connection.execute("SELECT id FROM entries ORDER BY id")]


def events_of(entries: Sequence[Entry]) -> list[int]:
    """The sequences of all events, sorted."""
    batches = [entry.content.batch for entry in entries if isinstance(entry.content, Arrival)]
    return sorted(n for batch in batches for n in range(batch.first_sequence, batch.last_sequence + 1))


def filled(folder: Path, batches: int) -> Path:
    """A closed spool with this number of batches of 10 events, and as many of 10 samples."""
    for name, content in _filled(batches).items():
        (folder / name).write_bytes(content)
    return folder / FILE_NAME


@cache
def _filled(batches: int) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        file = OpenedFile(Path(folder)).file
        for number in range(batches):
            file.write(
                [quotes(10 * number + 1, 10 * number + 10)],
                [books(number, *(book(f"i{n}", gaps=number) for n in range(10)))],
            )
        file.close()
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def garble(path: Path, first_page: int, pages: int = 1) -> None:
    """Overwrite pages with noise; the first page of the file has the number 0."""
    noise = random.Random(first_page).randbytes(pages * PAGE)
    with path.open("r+b") as file:
        file.seek(first_page * PAGE)
        file.write(noise)
