"""Reports the result of an import, line by line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from decahertz.app.output_file import target
from decahertz.app.start_error import StartError
from decahertz.words import counted
from storage.entry import Ack
from storage.write.result import DEAD_LETTER

_SHOWN = 10


class ImportReport:
    """Counts lines: stored, already there, refused and without events add up to those read."""

    def __init__(self, file: Path, refused_file: Path | None) -> None:
        """Refused lines are written to ``refused_file``, with numbers and reasons."""
        self.reading = ""
        self.import_id = 0
        self.lines = 0
        self.stored = 0
        self.already_there = 0
        self.refused = 0
        self.events = 0
        """Events stored."""
        self._file = file
        self._refused_file = refused_file
        self._without: Counter[str] = Counter()
        self._silent = self._repeated = 0
        self._first: list[str] = []
        self._stack = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        if self._refused_file is not None:
            path = target(self._refused_file, force=True)
            if path == self._file.resolve():
                raise StartError(f"--refused {self._refused_file} is the file to import")
            with self._refused_file_errors():
                stream = self._stack.enter_context(path.open("w", encoding="utf-8", newline=""))
            self._writer = csv.writer(stream)
            self._writer.writerow(("line", "reason", "content"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._refused_file_errors():
            self._stack.close()

    @contextmanager
    def _refused_file_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StartError(f"cannot write {self._refused_file}: {error.strerror}") from error

    @property
    def counts(self) -> dict[str, int]:
        """The counts as the table ``imports`` has them."""
        return {
            "lines": self.lines,
            "stored": self.stored,
            "already_there": self.already_there,
            "refused": self.refused,
            "without_events": self._without.total() + self._silent,
        }

    @property
    def has_events(self) -> bool:
        """Whether the file holds any event."""
        return self.stored + self.already_there > 0

    def refuse(self, line: int, reason: str, content: bytes = b"") -> None:
        """Counts a line that is not stored, and keeps the reason."""
        self.refused += 1
        if len(self._first) < _SHOWN:
            self._first.append(f"line {line:,}: {reason}")
        if self._writer is not None:
            with self._refused_file_errors():
                self._writer.writerow((line, reason, content.decode("utf-8", "replace").rstrip("\r\n")))

    def count_lines(self, lines: int, without_events: Mapping[str, int]) -> None:
        """Takes over the counts of the reader."""
        self.lines = lines
        self._without = Counter(without_events)

    def count_without_events(self, *, is_repeated: bool) -> None:
        """Counts a message without an event, or with one that the venue had sent before."""
        if is_repeated:
            self.already_there += 1
        else:
            self._silent += 1

    def count_stored(self, lines: Sequence[int], ack: Ack) -> None:
        """Counts the lines of a batch: several lines of one event each, or one line."""
        self.events += ack.stored
        refused = ack.dropped.get(DEAD_LETTER, 0)
        if len(lines) == 1:
            refused = 1 if refused and refused == ack.entry.rows else 0
            stored = 1 if ack.stored else 0
        else:
            stored = ack.stored
        for _ in range(refused):
            self.refuse(lines[0], "the database refuses it: see `decahertz dead-letters`")
        self.stored += stored
        self.already_there += len(lines) - stored - refused

    def text(self, *, is_dry_run: bool) -> str:
        """The report, for people."""
        counts = self.counts
        kinds = [f"{count:,} {name}" for name, count in sorted(self._without.items())]
        if self._silent:
            kinds.append(counted(self._silent, "message"))
        without = f" ({', '.join(kinds)})" if kinds else ""
        events = f" ({counted(self.events, 'event')})" if self.events != self.stored else ""
        summary = (
            f"{counted(self.lines, 'line')}: {self.stored:,} stored{events},"
            f" {self.already_there:,} already there,"
            f" {self.refused:,} refused, {counts['without_events']:,} without an event{without}"
        )
        lines = [f"{self._file.name}: {self.reading}", summary, *self._refusals()]
        if is_dry_run:
            lines.append("Dry run: nothing was stored.")
        elif self.stored:
            lines.append(f"`decahertz imports undo {self.import_id}` takes this import back.")
        return "\n".join(lines) + "\n"

    def stopped_text(self) -> str:
        """The report of an import that has ended before the end of the file; empty if it had not begun."""
        if not self.import_id:
            return ""
        without = self.counts["without_events"]
        rest = max(0, self.lines - self.stored - self.already_there - self.refused - without)
        summary = (
            f"stopped at line {self.lines:,}: {self.stored:,} stored, {self.already_there:,} already there,"
            f" {self.refused:,} refused, {without:,} without an event,"
            f" {rest:,} not confirmed as stored"
        )
        lines = [
            f"{self._file.name}: {self.reading}",
            summary,
            *self._refusals(),
            f"`decahertz imports undo {self.import_id}` takes this import back; importing again goes on.",
        ]
        return "\n".join(lines) + "\n"

    def strict_text(self) -> str:
        """The report of an import that a refused line has stopped."""
        lines = [
            f"{self._file.name}: {self.reading}",
            f"{counted(self.lines, 'line')}: {self.refused:,} refused, so nothing was stored (--strict)",
            *self._refusals(),
        ]
        return "\n".join(lines) + "\n"

    def _refusals(self) -> list[str]:
        lines = self._first.copy()
        more = self.refused - len(self._first)
        if more and self._refused_file is None:
            lines.append(f"and {more:,} more: --refused FILE writes all of them")
        if self.refused and self._refused_file is not None:
            lines.append(f"all of them: {self._refused_file}")
        return lines
