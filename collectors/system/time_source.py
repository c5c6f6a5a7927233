"""The offset of the wall clock from its time source, and the bound of its error.

chronyd knows both best; without it the kernel's clock discipline has them, if a time source synchronises it.
Otherwise nothing is known.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable

from msgspec import Struct

_UNSYNCHRONISED, _NANOSECONDS = 0x0040, 0x2000
"""Bits of ``timex.status``: ``STA_UNSYNC`` and ``STA_NANO`` (adjtimex(2))."""
_RESERVED_BYTES = 256
"""More than the kernel writes after the fields that are read here."""
_CHRONYC_SECONDS = 2.0
_CHRONYC_FIELDS = 14
_CORRECTION, _ROOT_DELAY, _ROOT_DISPERSION, _LEAP = 4, 10, 11, 13
"""Fields of ``chronyc -c tracking``."""


class ClockError(Struct, frozen=True):
    """How far the wall clock is from its time source; ``None``: not known.

    ``offset_seconds`` is positive if the clock is slow. The true time is within ``bound_seconds`` of the
    clock: the offset, half of the delay to the source, and the dispersion since the last measurement.
    """

    offset_seconds: float | None = None
    bound_seconds: float | None = None


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


def clock_error_reader() -> Callable[[], ClockError]:
    """Makes a reader of the clock's error; it runs ``chronyc`` where that is installed."""
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    chronyc = shutil.which("chronyc")

    def read() -> ClockError:
        if chronyc is not None and (found := _ask_chronyc(chronyc)) is not None:
            return found
        if adjtimex is None:
            return ClockError()
        timex = _Timex()  # modes 0: the call only reads
        if adjtimex(ctypes.byref(timex)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return kernel_error(timex.status, timex.offset, timex.maxerror)

    return read


def kernel_error(status: int, offset: int, maximum: int) -> ClockError:
    """Returns what ``struct timex`` holds; nothing is known while the clock is not synchronised.

    ``maximum`` is the bound in microseconds.
    """
    if status & _UNSYNCHRONISED:
        return ClockError()
    return ClockError(offset / (1e9 if status & _NANOSECONDS else 1e6), maximum / 1e6)


def chrony_error(line: str) -> ClockError | None:
    """Returns what a line of ``chronyc -c tracking`` says; ``None`` if chronyd is not synchronised.

    The bound is that of chronyc(1): offset, dispersion and half of the delay.
    """
    fields = line.strip().split(",")
    if len(fields) < _CHRONYC_FIELDS or fields[_LEAP] == "Not synchronised":
        return None
    try:
        offset, delay, dispersion = (float(fields[n]) for n in (_CORRECTION, _ROOT_DELAY, _ROOT_DISPERSION))
    except ValueError:
        return None
    return ClockError(offset, abs(offset) + dispersion + delay / 2)


def _ask_chronyc(command: str) -> ClockError | None:
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [command, "-n", "-c", "tracking"],
            capture_output=True,
            text=True,
            timeout=_CHRONYC_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # not running, or not ours to ask
        return None
    return chrony_error(answer.stdout)
