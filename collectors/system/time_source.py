"""The offset of the wall clock from its time source, as the kernel's clock discipline estimates it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_UNSYNCHRONISED, _NANOSECONDS = 0x0040, 0x2000
"""Bits of ``timex.status``: ``STA_UNSYNC`` and ``STA_NANO`` (adjtimex(2))."""
_RESERVED_BYTES = 256
"""More than the kernel writes after the fields that are read here."""


class _Timex(ctypes.Structure):
    """The first fields of ``struct timex``, and room for the others."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("others", ctypes.c_byte * _RESERVED_BYTES),
    )


def clock_offset_reader() -> Callable[[], float | None]:
    """Makes a reader of the offset in seconds.

    The reader returns ``None`` while no time source synchronises the clock, and outside of Linux.
    """
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)

    def read() -> float | None:
        if adjtimex is None:
            return None
        timex = _Timex()  # modes 0: the call only reads
        if adjtimex(ctypes.byref(timex)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return offset_seconds(timex.status, timex.offset)

    return read


def offset_seconds(status: int, offset: int) -> float | None:
    """Returns the offset that ``struct timex`` holds; ``None`` while the clock is not synchronised."""
    if status & _UNSYNCHRONISED:
        return None
    return offset / (1e9 if status & _NANOSECONDS else 1e6)
