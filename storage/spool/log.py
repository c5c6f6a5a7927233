"""Mending a log that SQLite would read in part only.

The format is the one of https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a header, then frames.
Each frame is a page and says which, and has the two *salts* of the header, which are others each time the log
begins anew; the frame that ends a transaction gives the size of the database too. Each checksum covers all
that comes before, so one bit that fell over hides everything behind it, although it is there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683
"""In which order of bytes the words are that the checksums add up."""
_FORMAT = 3007000
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_FRAME_START, _FRAME_END = struct.Struct(">2I"), struct.Struct(">4I")
_MASK = 0xFFFFFFFF
_MOST_PAGES = 2**26
"""More than a spool has: 256 GiB."""

_Salts = tuple[int, int]
_Sum = tuple[int, int]


def mend_log(log: Path, mended: Path, page_bytes: int) -> bool:
    """Write another log that has all frames up to the last end of a transaction, as they are, and is valid.

    What fell over within a page does so in the database then. A frame whose own head is damaged is left out.
    ``False`` where there is no transaction at all. Raises ``OSError``.
    """
    with log.open("rb") as source:
        salts = _salts(source, page_bytes)
        if salts is None:
            return False
        frames = list(_frames(source, page_bytes, salts))
        while frames and not frames[-1][2]:
            frames.pop()
        if not frames:
            return False
        with mended.open("wb") as target:
            checksum = _write_header(target, page_bytes, salts)
            for offset, page, pages in frames:
                source.seek(offset + _FRAME.size)
                content = source.read(page_bytes)
                start = _FRAME_START.pack(page, pages)
                checksum = _add(_add(checksum, start, "<"), content, "<")
                target.write(start + _FRAME_END.pack(*salts, *checksum) + content)
            target.flush()
            os.fsync(target.fileno())
    return True


def _salts(source: BinaryIO, page_bytes: int) -> _Salts | None:
    """Those of the header, or, where it is damaged, those of the first frame that can be one."""
    header = source.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, *_, salt1, salt2, sum1, sum2 = _HEADER.unpack(header)
    order = {_MAGIC_LITTLE: "<", _MAGIC_BIG: ">"}.get(magic, "<")
    if _add((0, 0), header[: -struct.calcsize(">2I")], order) == (sum1, sum2):
        return salt1, salt2
    return next((salts for _, _, _, salts in _heads(source, page_bytes)), None)


def _frames(source: BinaryIO, page_bytes: int, salts: _Salts) -> Iterator[tuple[int, int, int]]:
    """Offset, page, and pages of the database, if it ends a transaction, of each frame with these salts.

    Behind them are frames of a time before the log began anew.
    """
    for offset, page, pages, found in _heads(source, page_bytes):
        if found == salts:
            yield offset, page, pages


def _heads(source: BinaryIO, page_bytes: int) -> Iterator[tuple[int, int, int, _Salts]]:
    """What all frames that are there in full say of themselves, but for those that cannot be."""
    end = source.seek(0, os.SEEK_END)
    size = _FRAME.size + page_bytes
    for offset in range(_HEADER.size, end - size + 1, size):
        source.seek(offset)
        page, pages, salt1, salt2, _, _ = _FRAME.unpack(source.read(_FRAME.size))
        if 0 < page <= _MOST_PAGES and pages <= _MOST_PAGES:
            yield offset, page, pages, (salt1, salt2)


def _write_header(target: BinaryIO, page_bytes: int, salts: _Salts) -> _Sum:
    start = struct.pack(">6I", _MAGIC_LITTLE, _FORMAT, page_bytes, 0, *salts)
    checksum = _add((0, 0), start, "<")
    target.write(start + _FRAME_START.pack(*checksum))
    return checksum


def _add(checksum: _Sum, data: bytes, order: str) -> _Sum:
    """The checksum of SQLite's logs, continued."""
    one, two = checksum
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return one, two
