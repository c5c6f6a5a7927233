"""Errors of recordings that cannot be replayed or imported."""

from __future__ import annotations

from pathlib import Path


class RecordingError(ValueError):
    """A file is not a recording of events. Its text is one line: the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnknownRecordingError(RecordingError):
    """The file is neither a capture of a known venue nor CSV with known columns."""


class BarsError(RecordingError):
    """The file holds bars, from which the events cannot be recovered."""


class RowError(ValueError):
    """A row is not understood; the text says which cell is wrong."""
