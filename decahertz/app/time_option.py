"""A time in the options of a command."""

from __future__ import annotations

from decahertz.app.start_error import StartError
from decahertz.clock import TimeFormatError, parse_time


def time_option(name: str, text: str) -> int | None:
    """The time in nanoseconds, or ``None`` for an empty text.

    Raises :class:`~decahertz.app.start_error.StartError`, which names the option.
    """
    if not text:
        return None
    try:
        time_ns = parse_time(text)
    except TimeFormatError as error:
        raise StartError(f"--{name}: {error}") from error
    if time_ns < 0:
        raise StartError(f"--{name}: {text} is before 1970-01-01")
    return time_ns
