"""Reads the lines of a file, which may be compressed with gzip, with a limit on their length."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from collectors.feeds.recordings.errors import RecordingError

MOST_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is malformed. Snapshots of whole order books take some megabytes."""

_GZIP = b"\x1f\x8b"


class LineReader:
    """Iterates over the lines of one file, with their ends; ``None`` stands for a line that is too long.

    Raises :class:`~collectors.feeds.recordings.errors.RecordingError` where compressed data is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.offset = 0
        """Bytes of the file read so far."""
        self._path = path
        self._stack = ExitStack()
        self._file = self._stack.enter_context(path.open("rb"))
        self._is_compressed = self._file.peek(2)[:2] == _GZIP
        self._stream: BinaryIO = self._file
        if self._is_compressed:
            self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=self._file))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[bytes | None]:
        try:
            while line := self._read():
                if line.endswith(b"\n") or len(line) < MOST_LINE_BYTES:
                    yield line
                    continue
                while not line.endswith(b"\n") and (line := self._read()):
                    pass
                yield None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise RecordingError(self._path, f"the compressed data is damaged or cut off: {error}") from error

    def _read(self) -> bytes:
        line = self._stream.readline(MOST_LINE_BYTES)
        self.offset = self._file.tell() if self._is_compressed else self.offset + len(line)
        return line
