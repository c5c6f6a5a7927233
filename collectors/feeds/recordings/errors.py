"""Why a file cannot be replayed or imported."""

from __future__ import annotations

from pathlib import Path


class RecordingError(ValueError):
    """A file is no recording of events. ``str()`` of it is one line: the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        """Keep the parts."""
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnknownRecordingError(RecordingError):
    """Neither a capture of a known venue nor CSV with known columns."""


class BarsError(RecordingError):
    """The file holds bars: sums over events, from which the events cannot be had back."""
